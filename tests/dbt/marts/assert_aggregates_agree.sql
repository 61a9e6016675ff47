-- What agg_hourly and agg_daily_campaign cut finer adds up to the days of agg_daily.
with hours as (

    select
        tenant_id,
        date,
        inbox_id,
        sum(conversations) as conversations,
        sum(contact_messages) as contact_messages,
        sum(agent_messages) as agent_messages
    from {{ ref('agg_hourly') }}
    group by tenant_id, date, inbox_id

),

days as (

    select * from {{ ref('agg_daily') }}

),

campaign_totals as (

    select
        tenant_id,
        date,
        sum(conversations) as conversations,
        sum(leads) as leads,
        sum(visits) as visits,
        sum(conversions) as conversions
    from {{ ref('agg_daily_campaign') }}
    group by tenant_id, date

),

day_totals as (

    select
        tenant_id,
        date,
        sum(conversations) as conversations,
        sum(leads) as leads,
        sum(visits) as visits,
        sum(conversions) as conversions
    from days
    group by tenant_id, date

)

select
    'agg_hourly' as mart,
    coalesce(days.tenant_id, hours.tenant_id) as tenant_id,
    coalesce(days.date, hours.date) as date
from days
full join hours
    on
        days.tenant_id = hours.tenant_id
        and days.date = hours.date
        and days.inbox_id = hours.inbox_id
where
    coalesce(days.conversations, 0) <> coalesce(hours.conversations, 0)
    or coalesce(days.contact_messages, 0) <> coalesce(hours.contact_messages, 0)
    or coalesce(days.agent_messages, 0) <> coalesce(hours.agent_messages, 0)

union all

select
    'agg_daily_campaign' as mart,
    coalesce(day_totals.tenant_id, campaign_totals.tenant_id) as tenant_id,
    coalesce(day_totals.date, campaign_totals.date) as date
from day_totals
full join campaign_totals
    on
        day_totals.tenant_id = campaign_totals.tenant_id
        and day_totals.date = campaign_totals.date
where
    coalesce(day_totals.conversations, 0) <> coalesce(campaign_totals.conversations, 0)
    or coalesce(day_totals.leads, 0) <> coalesce(campaign_totals.leads, 0)
    or coalesce(day_totals.visits, 0) <> coalesce(campaign_totals.visits, 0)
    or coalesce(day_totals.conversions, 0) <> coalesce(campaign_totals.conversions, 0)
