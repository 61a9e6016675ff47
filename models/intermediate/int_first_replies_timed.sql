with conversations as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}
    where first_reply_at is not null

),

handoffs as (

    select * from {{ ref('int_events_deduplicated') }}
    where event_name in (
        'conversation_bot_handoff', 'conversation_captain_inference_handoff'
    )

),

started as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.first_contact_message_at,
        coalesce(max(handoffs.event_at), conversations.first_contact_message_at) as started_at,
        conversations.first_reply_at
    from conversations
    left join handoffs
        on
            conversations.tenant_id = handoffs.tenant_id
            and conversations.conversation_id = handoffs.conversation_id
            and handoffs.event_at between
            conversations.first_contact_message_at and conversations.first_reply_at
    group by
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.first_contact_message_at,
        conversations.first_reply_at

),

final as (

    select
        tenant_id,
        conversation_id,
        {{ seconds_between('started_at', 'first_reply_at') }} as first_reply_seconds,
        first_contact_message_at,
        started_at,
        first_reply_at
    from started

)

select * from final
