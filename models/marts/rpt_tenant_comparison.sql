-- Medians stand beside the sums because months are compared, not added up. The agency alone reads
-- this: no policy and no grant for anybody else.
{{ config(
    incremental_strategy='touched_months',
    pre_hook="{{ take_touched('months') }}",
    grants={'select': ['mirante_super']},
) }}

{%- set sums = [
    'conversations', 'leads', 'qualified_leads', 'visits', 'conversions', 'first_replies',
    'first_replies_under_5_minutes', 'first_replies_under_15_minutes', 'first_replies_under_1_hour',
    'first_replies_under_4_hours', 'first_replies_under_1_day',
    'first_reply_seconds_sum', 'first_reply_business_count', 'first_reply_business_seconds_sum',
    'contacted_conversations', 'unanswered_conversations', 'open_conversations',
    'pending_conversations', 'snoozed_conversations', 'resolved_conversations',
    'reopened_conversations', 'one_touch_conversations', 'bot_resolved_conversations',
    'scored_conversations', 'lead_score_sum', 'contact_messages', 'agent_messages',
    'bot_messages', 'replies', 'wait_seconds_sum', 'reply_business_count',
    'wait_business_seconds_sum', 'resolutions', 'first_resolutions',
    'first_resolution_seconds_sum', 'csat_count', 'csat_good'
] %}

with days as (

    select daily.*
    from {{ ref('agg_daily') }} as daily
    {{ only_touched_months('daily', 'date') }}

),

-- Both are read a month at a time, by their indexes: to sort all months' rows for their medians
-- took three times as long.
conversations as not materialized (

    select * from {{ ref('fct_conversations') }}

),

replies as not materialized (

    select * from {{ ref('fct_replies') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

totals as (

    select
        tenant_id,
        {%- for column in sums %}
        sum({{ column }})::bigint as {{ column }},
        {%- endfor %}
        date_trunc('month', date)::date as month
    from days
    group by tenant_id, date_trunc('month', date)::date

),

by_end_of_month as (

    select backlog.*
    from ({{ backlog_at_ends_of_months() }}) as backlog
    {{ only_touched_months('backlog', 'month') }}

),

-- A month in which nothing happened still ends with what is open.
months as (

    select
        tenant_id,
        month
    from totals

    union

    select
        tenant_id,
        month
    from by_end_of_month

),

final as (

    select
        months.tenant_id,
        months.month,
        tenants.slug,
        tenants.name,
        tenants.segment,
        {%- for column in sums %}
        coalesce(totals.{{ column }}, 0) as {{ column }},
        {%- endfor %}
        contacts.unique_contacts,
        created.waiting_conversations,
        created.first_reply_seconds_median,
        created.first_reply_seconds_p90,
        created.first_reply_business_seconds_median,
        replied.wait_seconds_median,
        replied.wait_seconds_p90,
        resolved.first_resolution_seconds_median,
        resolved.first_resolution_seconds_p90,
        by_end_of_month.backlog_at_end,
        by_end_of_month.is_backlog_estimated
    from months
    inner join tenants on months.tenant_id = tenants.tenant_id
    left join totals
        on
            months.tenant_id = totals.tenant_id
            and months.month = totals.month
    left join by_end_of_month
        on
            months.tenant_id = by_end_of_month.tenant_id
            and months.month = by_end_of_month.month
    -- Apart: asked together, whole rows are sorted by contact before each median sorts its own.
    cross join
        lateral (
            select count(distinct conversations.contact_id) as unique_contacts
            from conversations
            where
                conversations.tenant_id = months.tenant_id
                and conversations.created_date >= months.month
                and conversations.created_date < (months.month + interval '1 month')::date
        ) as contacts
    cross join
        lateral (
            select
                count(*) filter (where conversations.is_waiting) as waiting_conversations,
                percentile_cont(0.5) within group (order by conversations.first_reply_seconds)
                    as first_reply_seconds_median,
                percentile_cont(0.9) within group (order by conversations.first_reply_seconds)
                    as first_reply_seconds_p90,
                percentile_cont(0.5) within group (
                    order by conversations.first_reply_business_seconds
                ) as first_reply_business_seconds_median
            from conversations
            where
                conversations.tenant_id = months.tenant_id
                and conversations.created_date >= months.month
                and conversations.created_date < (months.month + interval '1 month')::date
        ) as created
    cross join
        lateral (
            select
                percentile_cont(0.5) within group (order by replies.wait_seconds)
                    as wait_seconds_median,
                percentile_cont(0.9) within group (order by replies.wait_seconds)
                    as wait_seconds_p90
            from replies
            where
                replies.tenant_id = months.tenant_id
                and replies.replied_date >= months.month
                and replies.replied_date < (months.month + interval '1 month')::date
        ) as replied
    cross join
        lateral (
            select
                percentile_cont(0.5) within group (order by conversations.first_resolution_seconds)
                    as first_resolution_seconds_median,
                percentile_cont(0.9) within group (order by conversations.first_resolution_seconds)
                    as first_resolution_seconds_p90
            from conversations
            where
                conversations.tenant_id = months.tenant_id
                and conversations.first_resolved_date >= months.month
                and conversations.first_resolved_date < (months.month + interval '1 month')::date
        ) as resolved

)

select * from final
