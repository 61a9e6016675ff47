select
    id as channel_id,
    account_id,
    instagram_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'channel_facebook_pages') }}
where _deleted_at is null
