-- Medians stand beside the sums because months are compared, not added up. The agency alone reads
-- this: no policy and no grant for anybody else.
{{ config(
    incremental_strategy='touched_months',
    pre_hook="{{ take_touched('months') }}",
    grants={'select': ['mirante_super']},
) }}

with days as (

    select daily.*
    from {{ ref('agg_daily') }} as daily
    {{ only_touched_months('daily', 'date') }}

),

created_conversations as (

    select conversations.*
    from {{ ref('fct_conversations') }} as conversations
    {{ only_touched_months('conversations', 'created_date') }}

),

resolved_conversations as (

    select conversations.*
    from {{ ref('fct_conversations') }} as conversations
    {{ only_touched_months('conversations', 'first_resolved_date') }}
    where conversations.first_resolved_date is not null

),

replies as (

    select replies.*
    from {{ ref('fct_replies') }} as replies
    {{ only_touched_months('replies', 'replied_date') }}

),

backlog as (

    select backlog.*
    from {{ ref('agg_backlog') }} as backlog
    {{ only_touched_months('backlog', 'date') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

totals as (

    select
        tenant_id,
        sum(conversations)::bigint as conversations,
        sum(leads)::bigint as leads,
        sum(qualified_leads)::bigint as qualified_leads,
        sum(visits)::bigint as visits,
        sum(conversions)::bigint as conversions,
        sum(first_replies)::bigint as first_replies,
        sum(first_reply_seconds_sum)::bigint as first_reply_seconds_sum,
        sum(first_reply_business_count)::bigint as first_reply_business_count,
        sum(first_reply_business_seconds_sum)::bigint as first_reply_business_seconds_sum,
        sum(contacted_conversations)::bigint as contacted_conversations,
        sum(unanswered_conversations)::bigint as unanswered_conversations,
        sum(resolved_conversations)::bigint as resolved_conversations,
        sum(reopened_conversations)::bigint as reopened_conversations,
        sum(one_touch_conversations)::bigint as one_touch_conversations,
        sum(bot_resolved_conversations)::bigint as bot_resolved_conversations,
        sum(scored_conversations)::bigint as scored_conversations,
        sum(lead_score_sum)::bigint as lead_score_sum,
        sum(contact_messages)::bigint as contact_messages,
        sum(agent_messages)::bigint as agent_messages,
        sum(bot_messages)::bigint as bot_messages,
        sum(replies)::bigint as replies,
        sum(wait_seconds_sum)::bigint as wait_seconds_sum,
        sum(reply_business_count)::bigint as reply_business_count,
        sum(wait_business_seconds_sum)::bigint as wait_business_seconds_sum,
        sum(resolutions)::bigint as resolutions,
        sum(first_resolutions)::bigint as first_resolutions,
        sum(first_resolution_seconds_sum)::bigint as first_resolution_seconds_sum,
        sum(csat_count)::bigint as csat_count,
        sum(csat_good)::bigint as csat_good,
        date_trunc('month', date)::date as month
    from days
    group by tenant_id, date_trunc('month', date)::date

),

by_created_month as (

    select
        tenant_id,
        date_trunc('month', created_date)::date as month,
        count(distinct contact_id) as unique_contacts,
        count(*) filter (where is_waiting) as waiting_conversations,
        percentile_cont(0.5) within group (order by first_reply_seconds)
            as first_reply_seconds_median,
        percentile_cont(0.9) within group (order by first_reply_seconds)
            as first_reply_seconds_p90,
        percentile_cont(0.5) within group (order by first_reply_business_seconds)
            as first_reply_business_seconds_median
    from created_conversations
    group by tenant_id, date_trunc('month', created_date)::date

),

by_replied_month as (

    select
        tenant_id,
        date_trunc('month', replied_date)::date as month,
        percentile_cont(0.5) within group (order by wait_seconds) as wait_seconds_median,
        percentile_cont(0.9) within group (order by wait_seconds) as wait_seconds_p90
    from replies
    group by tenant_id, date_trunc('month', replied_date)::date

),

by_resolved_month as (

    select
        tenant_id,
        date_trunc('month', first_resolved_date)::date as month,
        percentile_cont(0.5) within group (order by first_resolution_seconds)
            as first_resolution_seconds_median,
        percentile_cont(0.9) within group (order by first_resolution_seconds)
            as first_resolution_seconds_p90
    from resolved_conversations
    group by tenant_id, date_trunc('month', first_resolved_date)::date

),

-- The month's last day that is known.
last_days as (

    select
        tenant_id,
        date_trunc('month', date)::date as month,
        max(date) as date
    from backlog
    group by tenant_id, date_trunc('month', date)::date

),

by_end_of_month as (

    select
        last_days.tenant_id,
        last_days.month,
        sum(backlog.open_conversations)::bigint as backlog_at_end,
        bool_or(backlog.is_estimated) as is_backlog_estimated
    from last_days
    inner join backlog
        on
            last_days.tenant_id = backlog.tenant_id
            and last_days.date = backlog.date
    group by last_days.tenant_id, last_days.month

),

final as (

    select
        totals.tenant_id,
        totals.month,
        tenants.slug,
        tenants.name,
        tenants.segment,
        totals.conversations,
        totals.leads,
        totals.qualified_leads,
        totals.visits,
        totals.conversions,
        totals.first_replies,
        totals.first_reply_seconds_sum,
        totals.first_reply_business_count,
        totals.first_reply_business_seconds_sum,
        totals.contacted_conversations,
        totals.unanswered_conversations,
        totals.resolved_conversations,
        totals.reopened_conversations,
        totals.one_touch_conversations,
        totals.bot_resolved_conversations,
        totals.scored_conversations,
        totals.lead_score_sum,
        totals.contact_messages,
        totals.agent_messages,
        totals.bot_messages,
        totals.replies,
        totals.wait_seconds_sum,
        totals.reply_business_count,
        totals.wait_business_seconds_sum,
        totals.resolutions,
        totals.first_resolutions,
        totals.first_resolution_seconds_sum,
        totals.csat_count,
        totals.csat_good,
        coalesce(by_created_month.unique_contacts, 0) as unique_contacts,
        coalesce(by_created_month.waiting_conversations, 0) as waiting_conversations,
        by_created_month.first_reply_seconds_median,
        by_created_month.first_reply_seconds_p90,
        by_created_month.first_reply_business_seconds_median,
        by_replied_month.wait_seconds_median,
        by_replied_month.wait_seconds_p90,
        by_resolved_month.first_resolution_seconds_median,
        by_resolved_month.first_resolution_seconds_p90,
        by_end_of_month.backlog_at_end,
        by_end_of_month.is_backlog_estimated
    from totals
    inner join tenants on totals.tenant_id = tenants.tenant_id
    left join by_created_month
        on
            totals.tenant_id = by_created_month.tenant_id
            and totals.month = by_created_month.month
    left join by_replied_month
        on
            totals.tenant_id = by_replied_month.tenant_id
            and totals.month = by_replied_month.month
    left join by_resolved_month
        on
            totals.tenant_id = by_resolved_month.tenant_id
            and totals.month = by_resolved_month.month
    left join by_end_of_month
        on
            totals.tenant_id = by_end_of_month.tenant_id
            and totals.month = by_end_of_month.month

)

select * from final
