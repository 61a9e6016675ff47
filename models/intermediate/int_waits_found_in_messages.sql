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
        tenant_timezone,
        event_at as step_at
    from resolves

),

-- A step belongs to the wait that the next agent message or resolve ends. At the same instant the
-- message comes first: whoever sends and resolves at once has replied.
numbered as (

    select
        *,
        count(*) filter (where step_kind <> 'contact') over (
            partition by conversation_id
            order by step_at, step_kind = 'resolve', step_id
            rows between unbounded preceding and 1 preceding
        ) as wait_number
    from steps

),

waits as (

    select
        min(tenant_id) as tenant_id,
        conversation_id,
        max(inbox_id) as inbox_id,
        max(agent_id) as agent_id,
        max(step_kind) filter (where step_kind <> 'contact') as ended_by,
        max(tenant_timezone) as tenant_timezone,
        min(step_at) filter (where step_kind = 'contact') as waiting_since,
        max(step_at) filter (where step_kind <> 'contact') as ended_at
    from numbered
    group by conversation_id, wait_number

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
    where waiting_since is not null
    order by
        conversation_id asc,
        waiting_since asc,
        ended_at desc nulls first

)

select * from final
