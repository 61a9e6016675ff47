{{ config(
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
) }}

with days as (

    select * from {{ ref('agg_daily') }}
    {{ only_touched_days('where') }}

),

steps as (

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step,
        sum(count_delta)::bigint as count_delta,
        null::numeric as sum_delta
    from {{ ref('int_messages_compared_with_chatwoot') }}
    {{ only_touched_days('where') }}
    group by tenant_id, date, inbox_id, metric, step
    having sum(count_delta) <> 0

    union all

    select
        tenant_id,
        date,
        inbox_id,
        metric,
        step,
        sum(count_delta)::bigint as count_delta,
        case when metric <> 'resolutions_count' then sum(sum_delta) end as sum_delta
    from {{ ref('int_events_compared_with_chatwoot') }}
    {{ only_touched_days('where') }}
    group by tenant_id, date, inbox_id, metric, step
    having sum(count_delta) <> 0 or sum(sum_delta) <> 0

),

chatwoot as (

    select * from steps
    where step = 'chatwoot'

),

ours as (

    select
        days.tenant_id,
        days.date,
        days.inbox_id,
        measures.metric,
        measures.our_count,
        measures.our_sum
    from days
    cross join
        lateral (
            values
            ('conversations_count', days.conversations, null::bigint),
            ('incoming_messages_count', days.contact_messages, null::bigint),
            ('outgoing_messages_count', days.agent_messages, null::bigint),
            ('resolutions_count', days.resolutions, null::bigint),
            ('first_response_time', days.first_replies, days.first_reply_seconds_sum),
            ('resolution_time', days.first_resolutions, days.first_resolution_seconds_sum),
            ('reply_time', days.replies, days.wait_seconds_sum)
        ) as measures (metric, our_count, our_sum)
    where measures.our_count <> 0

),

-- Also the places to which a reason points where neither counts anything in the end.
places as (

    select
        tenant_id,
        date,
        inbox_id,
        metric
    from steps

    union

    select
        tenant_id,
        date,
        inbox_id,
        metric
    from ours

),

final as (

    select
        places.tenant_id,
        places.date,
        places.inbox_id,
        places.metric,
        coalesce(chatwoot.count_delta, 0) as chatwoot_count,
        case
            when places.metric like '%_time' then coalesce(chatwoot.sum_delta, 0)
        end as chatwoot_sum,
        coalesce(ours.our_count, 0) as our_count,
        case
            when places.metric like '%_time' then coalesce(ours.our_sum, 0)::numeric
        end as our_sum
    from places
    left join chatwoot
        on
            places.tenant_id = chatwoot.tenant_id
            and places.date = chatwoot.date
            and places.inbox_id = chatwoot.inbox_id
            and places.metric = chatwoot.metric
    left join ours
        on
            places.tenant_id = ours.tenant_id
            and places.date = ours.date
            and places.inbox_id = ours.inbox_id
            and places.metric = ours.metric

)

select * from final
