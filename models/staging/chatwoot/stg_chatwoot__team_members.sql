select
    id as team_member_id,
    team_id,
    user_id,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'team_members') }}
where _deleted_at is null
