select
    tenant_id,
    account_id,
    created_at
from {{ source('app', 'tenant_accounts') }}
