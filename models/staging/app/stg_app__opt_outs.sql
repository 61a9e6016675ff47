select
    tenant_id,
    contact_id,
    reason as opt_out_reason,
    created_at
from {{ source('app', 'opt_outs') }}
