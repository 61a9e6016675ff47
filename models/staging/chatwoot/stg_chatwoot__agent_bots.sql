select
    id as bot_id,
    account_id,
    name as bot_name,
    case bot_type
        when 0 then 'webhook'
    end as bot_type,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'agent_bots') }}
where _deleted_at is null
