select
    id as agent_bot_inbox_id,
    account_id,
    inbox_id,
    agent_bot_id as bot_id,
    coalesce(status, 0) = 0 as is_active,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'agent_bot_inboxes') }}
where _deleted_at is null
