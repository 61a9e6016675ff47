select
    inbox_id,
    settings_md5
from {{ source('app', 'built_inboxes') }}
