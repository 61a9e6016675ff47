select
    id as attachment_id,
    account_id,
    message_id,
    case file_type
        when 0 then 'image'
        when 1 then 'audio'
        when 2 then 'video'
        when 3 then 'file'
        when 4 then 'location'
        when 5 then 'fallback'
        when 6 then 'share'
        when 7 then 'story_mention'
        when 8 then 'contact'
        when 9 then 'ig_reel'
        when 10 then 'ig_post'
        when 11 then 'ig_story'
        when 12 then 'embed'
    end as file_type,
    extension,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'attachments') }}
where _deleted_at is null
