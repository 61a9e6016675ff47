select
    id as tenant_id,
    slug,
    name as tenant_name,
    segment,
    timezone,
    currency,
    status as tenant_status,
    plan,
    created_at,
    updated_at
from {{ source('app', 'tenants') }}
