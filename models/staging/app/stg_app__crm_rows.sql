select
    tenant_id,
    id as crm_row_id,
    phone as crm_phone,
    email as crm_email,
    converted_on as converted_date,
    imported_at
from {{ source('app', 'crm_rows') }}
