select
    id as team_id,
    account_id,
    name as team_name,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'teams') }}
where _deleted_at is null
