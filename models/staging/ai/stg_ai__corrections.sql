select
    tenant_id,
    conversation_id,
    transcript_sha256,
    sentiment,
    intent,
    lead_class,
    corrected_by,
    lead_score,
    visit_scheduled as has_visit_scheduled,
    corrected_at
from {{ source('ai', 'corrections') }}
