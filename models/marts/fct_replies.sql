with waits as (

    select * from {{ ref('int_waits_found_in_messages') }}
    where ended_by = 'agent'

),

final as (

    select
        tenant_id,
        conversation_id,
        inbox_id,
        agent_id,
        {{ seconds_between('waiting_since', 'ended_at') }} as wait_seconds,
        null::bigint as wait_business_seconds,
        row_number() over (
            partition by tenant_id, conversation_id order by waiting_since
        ) = 1 as is_first,
        (ended_at at time zone tenant_timezone)::date as replied_date,
        waiting_since,
        ended_at as replied_at
    from waits

)

select * from final
