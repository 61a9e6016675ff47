select
    id as account_id,
    name as account_name,
    locale as locale_code,
    case status
        when 0 then 'active'
        when 1 then 'suspended'
    end as account_status,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'accounts') }}
where _deleted_at is null
