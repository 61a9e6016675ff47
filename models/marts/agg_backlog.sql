{{ config(
    incremental_strategy='differences',
    unique_key=['tenant_id', 'date', 'inbox_id'],
) }}

with days_of_change as (

    select * from {{ ref('int_backlog_days') }}

),

conversations as not materialized (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

-- The last day is that of the last load that brought something, so no day is there by the clock.
last_load as (

    -- apart, for the first is the end of an index; the second is not asked for beside it
    select
        coalesce(
            (select max(conversations.loaded_at) from conversations),
            (select max(conversations.created_at) from conversations)
        ) as loaded_at

),

spans as (

    select
        days_of_change.tenant_id,
        days_of_change.inbox_id,
        min(days_of_change.date) as first_date,
        (min(days_of_change.observed_at) at time zone min(tenants.timezone))::date
            as observed_from,
        (max(last_load.loaded_at) at time zone min(tenants.timezone))::date as last_date
    from days_of_change
    inner join tenants on days_of_change.tenant_id = tenants.tenant_id
    cross join last_load
    group by days_of_change.tenant_id, days_of_change.inbox_id

),

-- Every day of an inbox, put together by grouping: of a join the planner expects so many days that
-- it compares each with all of its inbox, 6 s for 64,000 of them.
calendar as (

    select
        spans.tenant_id,
        series.midnight::date as date,
        spans.inbox_id,
        0 as delta,
        spans.observed_from
    from spans
    cross join
        lateral generate_series(spans.first_date, spans.last_date, interval '1 day')
            as series (midnight)

    union all

    select
        days_of_change.tenant_id,
        days_of_change.date,
        days_of_change.inbox_id,
        days_of_change.delta,
        null as observed_from
    from days_of_change
    inner join spans
        on
            days_of_change.tenant_id = spans.tenant_id
            and days_of_change.inbox_id = spans.inbox_id
    where days_of_change.date <= spans.last_date

),

days as (

    select
        tenant_id,
        date,
        inbox_id,
        sum(delta) as delta,
        max(observed_from) as observed_from
    from calendar
    group by tenant_id, date, inbox_id

),

final as (

    select
        tenant_id,
        date,
        inbox_id,
        sum(delta) over (
            partition by tenant_id, inbox_id order by date
        )::bigint as open_conversations,
        coalesce(date < observed_from, true) as is_estimated
    from days

)

select * from final
