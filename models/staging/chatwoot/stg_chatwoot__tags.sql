select
    id as tag_id,
    name as tag_name
from {{ source('chatwoot', 'tags') }}
where _deleted_at is null
