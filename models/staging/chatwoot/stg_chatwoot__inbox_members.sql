select
    id as inbox_member_id,
    user_id,
    inbox_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'inbox_members') }}
where _deleted_at is null
