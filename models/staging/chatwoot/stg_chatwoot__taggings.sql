select
    id as tagging_id,
    tag_id,
    taggable_id,
    tagger_id,
    taggable_type,
    tagger_type,
    context,
    {{ utc_time('created_at') }} as created_at
from {{ source('chatwoot', 'taggings') }}
where _deleted_at is null
