select
    id as contact_inbox_id,
    contact_id,
    inbox_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'contact_inboxes') }}
where _deleted_at is null
