{{ config(
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
) }}

with parity as (

    select * from {{ ref('rpt_chatwoot_parity') }}
    {{ only_touched_days('where') }}

),

message_steps as (

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step,
        sum(count_delta)::bigint as count_delta
    from {{ ref('int_messages_compared_with_chatwoot') }}
    {{ only_touched_days('where') }}
    group by tenant_id, date, inbox_id, metric, step
    having sum(count_delta) <> 0

),

event_steps as (

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step,
        sum(count_delta)::bigint as count_delta,
        sum(sum_delta) as sum_delta
    from {{ ref('int_events_compared_with_chatwoot') }}
    {{ only_touched_days('where') }}
    group by tenant_id, date, inbox_id, metric, step
    having sum(count_delta) <> 0 or sum(sum_delta) <> 0

),

reasons as (

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step as reason,
        count_delta,
        null::numeric as sum_delta
    from message_steps
    where step <> 'chatwoot'

    union all

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step as reason,
        count_delta,
        case when metric <> 'resolutions_count' then sum_delta end as sum_delta
    from event_steps
    where step <> 'chatwoot'

),

explained as (

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        sum(count_delta) as count_delta,
        sum(sum_delta) as sum_delta
    from reasons
    group by tenant_id, date, inbox_id, metric

),

-- What the reasons leave: a sign that one of the two numbers is not understood.
others as (

    select
        parity.tenant_id,
        parity.date,
        parity.inbox_id,
        parity.metric,
        'other' as reason,
        parity.our_count - parity.chatwoot_count - coalesce(explained.count_delta, 0)
            as count_delta,
        parity.our_sum - parity.chatwoot_sum - coalesce(explained.sum_delta, 0) as sum_delta
    from parity
    left join explained
        on
            parity.tenant_id = explained.tenant_id
            and parity.date = explained.date
            and parity.inbox_id = explained.inbox_id
            and parity.metric = explained.metric

),

final as (

    select * from reasons

    union all

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        reason,
        count_delta::bigint as count_delta,
        sum_delta
    from others
    where count_delta <> 0 or coalesce(sum_delta, 0) <> 0

)

select * from final
