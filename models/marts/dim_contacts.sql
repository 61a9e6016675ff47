{{ config(
    incremental_strategy='touched_contacts',
    pre_hook="{{ take_touched('contacts') }}",
) }}

-- Chatwoot's own dates and counts of a contact mix all who share the account; these come from the
-- tenant's conversations alone.
with conversations as (

    select * from {{ ref('fct_conversations') }}
    {{ only_touched_contacts('where') }}

),

conversation_messages as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}
    {% if is_incremental() %}
    where conversation_id = any(array(select conversations.conversation_id from conversations))
    {% endif %}

),

final as (

    select
        conversations.tenant_id,
        conversations.contact_id,
        max(conversations.contact_name) as name,
        max(conversations.contact_phone) as phone,
        max(conversations.contact_email) as email,
        count(*) as conversation_count,
        min(conversations.created_at) as first_conversation_at,
        max(conversations.created_at) as last_conversation_at,
        min(conversation_messages.first_message_at) as first_message_at,
        max(conversation_messages.last_message_at) as last_message_at
    from conversations
    left join conversation_messages
        on
            conversations.tenant_id = conversation_messages.tenant_id
            and conversations.conversation_id = conversation_messages.conversation_id
    where conversations.contact_id is not null
    group by conversations.tenant_id, conversations.contact_id

)

select * from final
