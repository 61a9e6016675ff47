-- Medians stand beside the sums because months are compared, not added up. The agency alone reads
-- this: no policy and no grant for anybody else.
{{ config(
    incremental_strategy='touched_months',
    pre_hook="{{ take_touched('months') }}",
    grants={'select': ['mirante_super']},
) }}

{%- set sums = [
    'conversations', 'leads', 'qualified_leads', 'visits', 'conversions', 'first_replies',
    'first_reply_seconds_sum', 'first_reply_business_count', 'first_reply_business_seconds_sum',
    'contacted_conversations', 'unanswered_conversations', 'resolved_conversations',
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
    from months
    inner join tenants on months.tenant_id = tenants.tenant_id
    left join totals
        on
            months.tenant_id = totals.tenant_id
            and months.month = totals.month
    left join by_created_month
        on
            months.tenant_id = by_created_month.tenant_id
            and months.month = by_created_month.month
    left join by_replied_month
        on
            months.tenant_id = by_replied_month.tenant_id
            and months.month = by_replied_month.month
    left join by_resolved_month
        on
            months.tenant_id = by_resolved_month.tenant_id
            and months.month = by_resolved_month.month
    left join by_end_of_month
        on
            months.tenant_id = by_end_of_month.tenant_id
            and months.month = by_end_of_month.month

)

select * from final
