{{ config(
    incremental_strategy='differences',
    unique_key=['tenant_id', 'date', 'inbox_id'],
    meta={'touched_dates': ['date']},
) }}

{%- if not execute %}{# what the strategy writes to #}
    {%- do [ref('int_days_touched')] %}
{%- endif %}

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
