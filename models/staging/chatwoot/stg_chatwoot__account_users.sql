select
    id as account_user_id,
    account_id,
    user_id,
    case role
        when 0 then 'agent'
        when 1 then 'administrator'
    end as account_role,
    case availability
        when 0 then 'online'
        when 1 then 'offline'
        when 2 then 'busy'
    end as availability,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'account_users') }}
where _deleted_at is null
