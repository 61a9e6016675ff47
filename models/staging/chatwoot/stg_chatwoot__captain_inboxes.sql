select
    id as captain_inbox_id,
    captain_assistant_id as assistant_id,
    inbox_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'captain_inboxes') }}
where _deleted_at is null
