-- In the same tenant and inbox: a message never stands with another tenant than its conversation.
with conversations as (

    select * from {{ ref('fct_conversations') }}

),

parts as (

    select
        'fct_messages' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('fct_messages') }}

    union

    select
        'fct_replies' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('fct_replies') }}

    union

    select
        'fct_conversation_events' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('fct_conversation_events') }}

    union

    select
        'fct_backlog_intervals' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('fct_backlog_intervals') }}

    union

    select
        'snap_conversations' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('snap_conversations') }}

    union

    select
        'fct_funnel_events' as mart,
        tenant_id,
        conversation_id,
        inbox_id
    from {{ ref('fct_funnel_events') }}

)

select
    parts.mart,
    parts.tenant_id,
    parts.conversation_id
from parts
left join conversations
    on
        parts.tenant_id = conversations.tenant_id
        and parts.conversation_id = conversations.conversation_id
        and parts.inbox_id = conversations.inbox_id
where conversations.conversation_id is null
