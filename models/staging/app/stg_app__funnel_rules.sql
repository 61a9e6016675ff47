select
    tenant_id,
    id as rule_id,
    stage,
    kind as rule_kind,
    value as rule_value,
    updated_at
from {{ source('app', 'funnel_rules') }}
