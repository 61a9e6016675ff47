{# By conversation, so that only what changed is followed from its creation on. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    meta={'touched_dates': ['date']},
    indexes=[
        {'columns': ['conversation_id', 'date'], 'unique': true},
        {'columns': ['tenant_id', 'date', 'inbox_id']},
    ],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

conversation_messages as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}
    {{ only_touched('where') }}

),

events as (

    select * from {{ ref('int_events_deduplicated') }}
    where
        event_name in ('conversation_opened', 'conversation_resolved')
        {{ only_touched('and') }}

),

observed as (

    select * from {{ ref('int_conversation_states_observed') }}
    {{ only_touched('where') }}

),

states as (

    select
        conversations.conversation_id,
        observed.conversation_status as status,
        observed.observed_at as valid_from,
        row_number() over (
            partition by conversations.conversation_id order by observed.observed_at
        ) = 1 as is_first_observed
    from observed
    inner join conversations on observed.conversation_id = conversations.conversation_id

),

first_states as (

    select
        conversation_id,
        status,
        valid_from
    from states
    where is_first_observed

),

resolved as (

    select distinct conversation_id from events
    where event_name = 'conversation_resolved'

),

-- Until it was first seen, a conversation is open from its creation, and as its events say.
estimated as (

    select
        conversations.conversation_id,
        1 as step_order,
        0 as event_id,
        true as is_open,
        least(conversations.created_at, first_states.valid_from) as step_at
    from conversations
    left join first_states on conversations.conversation_id = first_states.conversation_id

    union all

    select
        events.conversation_id,
        2 as step_order,
        events.event_id,
        events.event_name = 'conversation_opened' as is_open,
        events.event_at as step_at
    from events
    left join first_states on events.conversation_id = first_states.conversation_id
    where events.event_at <= coalesce(first_states.valid_from, 'infinity')

    union all

    -- Imports write no events: what was found closed without one was so since its last message.
    select
        conversations.conversation_id,
        3 as step_order,
        0 as event_id,
        false as is_open,
        coalesce(conversation_messages.last_message_at, conversations.created_at) as step_at
    from conversations
    inner join first_states on conversations.conversation_id = first_states.conversation_id
    left join conversation_messages
        on conversations.conversation_id = conversation_messages.conversation_id
    left join resolved on conversations.conversation_id = resolved.conversation_id
    where
        first_states.status not in ('open', 'pending')
        and resolved.conversation_id is null
        and coalesce(conversation_messages.last_message_at, conversations.created_at)
        <= first_states.valid_from

),

steps as (

    select * from estimated

    union all

    select
        conversation_id,
        4 as step_order,
        0 as event_id,
        coalesce(status in ('open', 'pending'), false) as is_open,
        valid_from as step_at
    from states

),

-- What a step adds to the count of open ones: 1, 0 or -1.
changes as (

    select
        conversation_id,
        is_open::integer - lag(is_open::integer, 1, 0) over conversation_steps as delta,
        step_at,
        row_number() over conversation_steps = 1 as is_first
    from steps
    window conversation_steps as (
        partition by conversation_id order by step_at, step_order, event_id
    )

),

final as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.inbox_id,
        -- a broken clock must not make days without end
        greatest(
            (changes.step_at at time zone conversations.tenant_timezone)::date, date '2000-01-01'
        ) as date,
        sum(changes.delta)::integer as delta,
        min(first_states.valid_from) as observed_at
    from changes
    inner join conversations on changes.conversation_id = conversations.conversation_id
    left join first_states on changes.conversation_id = first_states.conversation_id
    group by
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.inbox_id,
        greatest(
            (changes.step_at at time zone conversations.tenant_timezone)::date, date '2000-01-01'
        )
    -- of days that change nothing the first alone: the inbox's days begin with it
    having sum(changes.delta) <> 0 or bool_or(changes.is_first)

)

select * from final
