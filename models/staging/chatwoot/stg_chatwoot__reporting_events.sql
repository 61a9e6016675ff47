select
    id as event_id,
    account_id,
    inbox_id,
    conversation_id,
    user_id,
    name as event_name,
    value as value_seconds,
    value_in_business_hours as value_business_seconds,
    _deleted_at is not null as is_deleted_at_source,
    {{ utc_time('event_start_time') }} as event_started_at,
    {{ utc_time('event_end_time') }} as event_at,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'reporting_events') }}
