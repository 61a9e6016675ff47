select
    id as message_id,
    account_id,
    inbox_id,
    conversation_id,
    sender_id,
    source_id,
    {{ json_value('content_attributes', 'automation_rule_id') }} as automation_rule_id,
    additional_attributes ->> 'campaign_id' as campaign_id,
    case message_type
        when 0 then 'incoming'
        when 1 then 'outgoing'
        when 2 then 'activity'
        when 3 then 'template'
    end as message_type,
    case content_type
        when 0 then 'text'
        when 1 then 'input_text'
        when 2 then 'input_textarea'
        when 3 then 'input_email'
        when 4 then 'input_select'
        when 5 then 'cards'
        when 6 then 'form'
        when 7 then 'article'
        when 8 then 'incoming_email'
        when 9 then 'input_csat'
        when 10 then 'integrations'
        when 11 then 'sticker'
        when 12 then 'voice_call'
    end as content_type,
    case status
        when 0 then 'sent'
        when 1 then 'delivered'
        when 2 then 'read'
        when 3 then 'failed'
    end as delivery_status,
    sender_type,
    content,
    private as is_private,
    coalesce({{ json_value('content_attributes', 'deleted') }} = 'true', false) as is_deleted,
    coalesce(
        {{ json_value('content_attributes', 'external_echo') }} not in ('', 'false'), false
    ) as is_external_echo,
    {{ utc_time('created_at') }} as created_at,
    {{ utc_time('updated_at') }} as updated_at
from {{ source('chatwoot', 'messages') }}
where _deleted_at is null
