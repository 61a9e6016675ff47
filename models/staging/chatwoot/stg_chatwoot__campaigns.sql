select
    id as campaign_id,
    display_id,
    account_id,
    inbox_id,
    title as campaign_title,
    case campaign_type
        when 0 then 'ongoing'
        when 1 then 'one_off'
    end as campaign_type,
    case campaign_status
        when 0 then 'active'
        when 1 then 'completed'
    end as campaign_status,
    enabled as is_enabled,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'campaigns') }}
where _deleted_at is null
