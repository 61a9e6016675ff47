select
    id as user_id,
    name as user_name,
    display_name,
    type as user_type,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'users') }}
where _deleted_at is null
