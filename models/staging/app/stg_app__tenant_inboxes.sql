select
    tenant_id,
    inbox_id,
    created_at
from {{ source('app', 'tenant_inboxes') }}
