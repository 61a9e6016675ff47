-- In the events, and in the flags of the conversation.
with events as (

    select
        tenant_id,
        conversation_id,
        bool_or(stage = 'lead') as has_lead,
        bool_or(stage = 'visit_scheduled') as has_visit,
        bool_or(stage = 'converted') as has_conversion
    from {{ ref('fct_funnel_events') }}
    group by tenant_id, conversation_id

),

conversations as (

    select * from {{ ref('fct_conversations') }}

)

select
    events.tenant_id,
    events.conversation_id
from events
where
    not events.has_lead
    or (events.has_conversion and not events.has_visit)

union all

select
    conversations.tenant_id,
    conversations.conversation_id
from conversations
where
    (conversations.is_converted and not conversations.is_visit_scheduled)
    or (conversations.is_visit_scheduled and not conversations.is_qualified)
    or (conversations.is_qualified and not conversations.is_lead)
