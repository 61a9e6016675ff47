select
    id as working_hour_id,
    inbox_id,
    account_id,
    day_of_week,
    open_hour,
    open_minutes,
    close_hour,
    close_minutes,
    closed_all_day as is_closed_all_day,
    open_all_day as is_open_all_day,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'working_hours') }}
where _deleted_at is null
