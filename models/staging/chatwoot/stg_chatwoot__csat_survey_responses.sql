select
    id as csat_response_id,
    account_id,
    conversation_id,
    message_id,
    contact_id,
    assigned_agent_id as agent_id,
    review_notes_updated_by_id,
    feedback_message,
    csat_review_notes,
    rating,
    {{ utc_time('review_notes_updated_at') }} as review_notes_updated_at,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'csat_survey_responses') }}
where _deleted_at is null
