{# A table because replies and conversations both read it: 1.7 s for 250,000 messages. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[{'columns': ['conversation_id', 'waiting_since'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    where
        sender_kind in ('contact', 'agent')
        {{ only_touched('and') }}

),

resolves as (

    select * from {{ ref('int_events_deduplicated') }}
    where
        event_name = 'conversation_resolved'
        {{ only_touched('and') }}

),

steps as (

    select
        tenant_id,
        conversation_id,
        message_id as step_id,
        inbox_id,
        agent_id,
        sender_kind as step_kind,
        false as is_resolve,
        tenant_timezone,
        created_at as step_at
    from messages

    union all

    select
        tenant_id,
        conversation_id,
        event_id as step_id,
        inbox_id,
        null::bigint as agent_id,
        'resolve' as step_kind,
        true as is_resolve,
        tenant_timezone,
        event_at as step_at
    from resolves

),

-- At the same instant the message comes first: whoever sends and resolves at once has replied.
ordered as (

    select
        *,
        lag(step_kind) over in_order as previous_kind
    from steps
    window in_order as (
        partition by conversation_id order by step_at, is_resolve, step_id
    )

),

-- Where a wait begins, the contact's first message, and where it ends: they take turns.
turns as (

    select * from ordered
    where (step_kind = 'contact') <> (coalesce(previous_kind, 'agent') = 'contact')

),

followed as (

    select
        *,
        lead(agent_id) over in_order as next_agent_id,
        lead(step_kind) over in_order as next_kind,
        lead(step_at) over in_order as next_at
    from turns
    window in_order as (
        partition by conversation_id order by step_at, is_resolve, step_id
    )

),

waits as (

    select
        tenant_id,
        conversation_id,
        inbox_id,
        next_agent_id as agent_id,
        next_kind as ended_by,
        tenant_timezone,
        step_at as waiting_since,
        next_at as ended_at
    from followed
    where step_kind = 'contact'

),

-- Imports write whole seconds: two waits may begin in the same one. The longer is the true one.
final as (

    select distinct on (conversation_id, waiting_since)
        tenant_id,
        conversation_id,
        inbox_id,
        agent_id,
        ended_by,
        tenant_timezone,
        waiting_since,
        ended_at
    from waits
    order by
        conversation_id asc,
        waiting_since asc,
        ended_at desc nulls first

)

select * from final
