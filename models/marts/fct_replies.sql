{{ config(meta={'touched_dates': ['replied_date']}) }}

with waits as (

    select * from {{ ref('int_waits_found_in_messages') }}
    where
        ended_by = 'agent'
        {{ only_touched('and') }}

),

in_working_hours as (

    select * from {{ ref('int_intervals_timed_in_working_hours') }}
    where
        interval_kind = 'wait'
        {{ only_touched('and') }}

),

final as (

    select
        waits.tenant_id,
        waits.conversation_id,
        waits.inbox_id,
        waits.agent_id,
        {{ seconds_between('waits.waiting_since', 'waits.ended_at') }} as wait_seconds,
        in_working_hours.business_seconds as wait_business_seconds,
        row_number() over (
            partition by waits.tenant_id, waits.conversation_id order by waits.waiting_since
        ) = 1 as is_first,
        (waits.ended_at at time zone waits.tenant_timezone)::date as replied_date,
        waits.waiting_since,
        waits.ended_at as replied_at
    from waits
    left join in_working_hours
        on
            waits.tenant_id = in_working_hours.tenant_id
            and waits.conversation_id = in_working_hours.conversation_id
            and waits.waiting_since = in_working_hours.started_at

)

select * from final
