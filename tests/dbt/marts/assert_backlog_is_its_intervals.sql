-- The conversations of a day's backlog are as many as it counts.
with backlog as (

    select * from {{ ref('agg_backlog') }}

),

intervals as (

    select * from {{ ref('fct_backlog_intervals') }}

),

steps as (

    select
        tenant_id,
        inbox_id,
        opened_date as date,
        1 as delta
    from intervals

    union all

    select
        tenant_id,
        inbox_id,
        closed_date as date,
        -1 as delta
    from intervals
    where closed_date is not null

),

days as (

    select
        tenant_id,
        inbox_id,
        date,
        sum(delta) as delta
    from steps
    group by tenant_id, inbox_id, date

),

compared as (

    select
        backlog.tenant_id,
        backlog.date,
        backlog.inbox_id,
        backlog.open_conversations,
        sum(coalesce(days.delta, 0)) over (
            partition by backlog.tenant_id, backlog.inbox_id order by backlog.date
        ) as conversations
    from backlog
    left join days
        on
            backlog.tenant_id = days.tenant_id
            and backlog.inbox_id = days.inbox_id
            and backlog.date = days.date

)

select
    tenant_id,
    date,
    inbox_id
from compared
where conversations <> open_conversations
