with events as (

    select * from {{ ref('int_events_deduplicated') }}
    where event_name in ('conversation_resolved', 'conversation_opened')

),

-- Old releases never wrote opened events: then a reopening shows only in the next resolve.
source_events as (

    select exists(
        select 1 from {{ ref('stg_chatwoot__reporting_events') }}
        where event_name = 'conversation_opened'
    ) as has_opened

),

followed as (

    select
        *,
        lead(event_name) over (
            partition by tenant_id, conversation_id order by event_at, event_id
        ) as next_event_name
    from events

),

resolved as (

    select
        tenant_id,
        conversation_id,
        count(*) as resolution_count,
        count(*) filter (where next_event_name = 'conversation_opened') as reopened_count,
        min(event_at) as first_resolved_at,
        max(event_at) as last_resolved_at
    from followed
    where event_name = 'conversation_resolved'
    group by tenant_id, conversation_id

),

final as (

    select
        resolved.tenant_id,
        resolved.conversation_id,
        resolved.resolution_count,
        case
            when source_events.has_opened then resolved.reopened_count
            else greatest(resolved.resolution_count - 1, 0)
        end as reopen_count,
        resolved.first_resolved_at,
        resolved.last_resolved_at
    from resolved
    cross join source_events

)

select * from final
