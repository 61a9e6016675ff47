with conversations as (

    select * from {{ ref('fct_conversations') }}

),

events as (

    select * from {{ ref('fct_conversation_events') }}
    where event_kind in ('opened', 'resolved')

),

states as (

    select
        *,
        row_number() over (
            partition by tenant_id, conversation_id order by valid_from
        ) = 1 as is_first_observed
    from {{ ref('snap_conversations') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

first_states as (

    select
        tenant_id,
        conversation_id,
        status,
        valid_from
    from states
    where is_first_observed

),

-- Until it was first seen, a conversation is open from its creation, and as its events say.
estimated as (

    select
        conversations.tenant_id,
        conversations.inbox_id,
        conversations.conversation_id,
        1 as step_order,
        true as is_open,
        least(conversations.created_at, first_states.valid_from) as step_at
    from conversations
    left join first_states
        on
            conversations.tenant_id = first_states.tenant_id
            and conversations.conversation_id = first_states.conversation_id

    union all

    select
        events.tenant_id,
        events.inbox_id,
        events.conversation_id,
        2 as step_order,
        events.event_kind = 'opened' as is_open,
        events.event_at as step_at
    from events
    left join first_states
        on
            events.tenant_id = first_states.tenant_id
            and events.conversation_id = first_states.conversation_id
    where events.event_at <= coalesce(first_states.valid_from, 'infinity')

    union all

    -- Imports write no events: what was found closed without one was so since its last message.
    select
        conversations.tenant_id,
        conversations.inbox_id,
        conversations.conversation_id,
        3 as step_order,
        false as is_open,
        coalesce(conversations.last_message_at, conversations.created_at) as step_at
    from conversations
    inner join first_states
        on
            conversations.tenant_id = first_states.tenant_id
            and conversations.conversation_id = first_states.conversation_id
    where
        first_states.status not in ('open', 'pending')
        and conversations.resolution_count = 0
        and coalesce(conversations.last_message_at, conversations.created_at)
        <= first_states.valid_from

),

steps as (

    select * from estimated

    union all

    select
        tenant_id,
        inbox_id,
        conversation_id,
        4 as step_order,
        coalesce(status in ('open', 'pending'), false) as is_open,
        valid_from as step_at
    from states

),

-- What a step adds to the count of open ones: 1, 0 or -1.
changes as (

    select
        tenant_id,
        inbox_id,
        is_open::integer - lag(is_open::integer, 1, 0) over (
            partition by tenant_id, conversation_id order by step_at, step_order
        ) as delta,
        step_at
    from steps

),

days_of_change as (

    select
        changes.tenant_id,
        changes.inbox_id,
        -- a broken clock must not make days without end
        greatest(
            (changes.step_at at time zone tenants.timezone)::date, date '2000-01-01'
        ) as date,
        sum(changes.delta) as delta
    from changes
    inner join tenants on changes.tenant_id = tenants.tenant_id
    group by
        changes.tenant_id,
        changes.inbox_id,
        greatest((changes.step_at at time zone tenants.timezone)::date, date '2000-01-01')

),

-- The last day is that of the last load that brought something, so no day is there by the clock.
last_load as (

    select coalesce(max(loaded_at), max(created_at)) as loaded_at
    from {{ ref('int_conversations_scoped_to_tenants') }}

),

first_observed as (

    select
        tenant_id,
        inbox_id,
        min(valid_from) as observed_at
    from states
    group by tenant_id, inbox_id

),

spans as (

    select
        days_of_change.tenant_id,
        days_of_change.inbox_id,
        min(days_of_change.date) as first_date,
        (min(first_observed.observed_at) at time zone min(tenants.timezone))::date
            as observed_from,
        (max(last_load.loaded_at) at time zone min(tenants.timezone))::date as last_date
    from days_of_change
    inner join tenants on days_of_change.tenant_id = tenants.tenant_id
    left join first_observed
        on
            days_of_change.tenant_id = first_observed.tenant_id
            and days_of_change.inbox_id = first_observed.inbox_id
    cross join last_load
    group by days_of_change.tenant_id, days_of_change.inbox_id

),

calendar as (

    select
        spans.tenant_id,
        spans.inbox_id,
        spans.observed_from,
        series.midnight::date as date
    from spans
    cross join lateral generate_series(spans.first_date, spans.last_date, interval '1 day')
        as series (midnight)

),

final as (

    select
        calendar.tenant_id,
        calendar.date,
        calendar.inbox_id,
        sum(coalesce(days_of_change.delta, 0)) over (
            partition by calendar.tenant_id, calendar.inbox_id order by calendar.date
        )::bigint as open_conversations,
        coalesce(calendar.date < calendar.observed_from, true) as is_estimated
    from calendar
    left join days_of_change
        on
            calendar.tenant_id = days_of_change.tenant_id
            and calendar.inbox_id = days_of_change.inbox_id
            and calendar.date = days_of_change.date

)

select * from final
