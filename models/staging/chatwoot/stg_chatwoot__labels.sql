select
    id as label_id,
    account_id,
    title as label,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'labels') }}
where _deleted_at is null
