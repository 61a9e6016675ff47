select
    id as conversation_id,
    display_id,
    account_id,
    inbox_id,
    contact_id,
    contact_inbox_id,
    assignee_id as agent_id,
    assignee_agent_bot_id as assignee_bot_id,
    team_id,
    campaign_id,
    sla_policy_id,
    case status
        when 0 then 'open'
        when 1 then 'resolved'
        when 2 then 'pending'
        when 3 then 'snoozed'
    end as conversation_status,
    case priority
        when 0 then 'low'
        when 1 then 'medium'
        when 2 then 'high'
        when 3 then 'urgent'
    end as priority,
    identifier,
    cached_label_list,
    additional_attributes ->> 'type' as source_type,
    nullif(btrim(additional_attributes ->> 'referer'), '') as referrer_url,
    {{ utm_value("(additional_attributes ->> 'referer')", 'utm_source') }} as utm_source,
    {{ utm_value("(additional_attributes ->> 'referer')", 'utm_medium') }} as utm_medium,
    {{ utm_value("(additional_attributes ->> 'referer')", 'utm_campaign') }} as utm_campaign,
    custom_attributes,
    {{ loaded_at() }} as loaded_at,
    {{ utc_time('waiting_since') }} as chatwoot_waiting_since,
    {{ utc_time('first_reply_created_at') }} as chatwoot_first_reply_at,
    {{ utc_time('snoozed_until') }} as snoozed_until,
    {{ utc_time('last_activity_at') }} as last_activity_at,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'conversations') }}
where _deleted_at is null
