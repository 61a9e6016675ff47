select
    tenant_id,
    contact_id,
    key_sha256
from {{ source('app', 'opt_out_keys') }}
