select
    id as assistant_id,
    account_id,
    name as assistant_name,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'captain_assistants') }}
where _deleted_at is null
