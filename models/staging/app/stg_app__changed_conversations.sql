select
    id as change_id,
    conversation_id,
    source_table,
    is_claimed,
    changed_at
from {{ source('app', 'changed_conversations') }}
