select
    id as inbox_id,
    account_id,
    channel_id,
    name as inbox_name,
    channel_type,
    timezone as inbox_timezone,
    working_hours_enabled,
    csat_survey_enabled,
    lock_to_single_conversation,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'inboxes') }}
where _deleted_at is null
