select
    id as channel_id,
    account_id,
    case medium
        when 0 then 'sms'
        when 1 then 'whatsapp'
    end as medium,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'channel_twilio_sms') }}
where _deleted_at is null
