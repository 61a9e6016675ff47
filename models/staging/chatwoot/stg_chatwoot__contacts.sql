select
    id as contact_id,
    account_id,
    company_id,
    nullif(btrim(name), '') as contact_name,
    nullif(btrim(middle_name), '') as middle_name,
    nullif(btrim(last_name), '') as last_name,
    case when phone_number ~ '^\+[1-9][0-9]{1,14}$' then phone_number end as contact_phone,
    nullif(btrim(email), '') as contact_email,
    identifier,
    location,
    country_code,
    case contact_type
        when 0 then 'visitor'
        when 1 then 'lead'
        when 2 then 'customer'
    end as contact_type,
    custom_attributes,
    blocked as is_blocked,
    {{ loaded_at() }} as loaded_at,
    {{ utc_time('last_activity_at') }} as last_activity_at,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'contacts') }}
where _deleted_at is null
