select
    id as conversation_participant_id,
    account_id,
    user_id,
    conversation_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'conversation_participants') }}
where _deleted_at is null
