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

)

select
    coalesce(days.tenant_id, hours.tenant_id) as tenant_id,
    coalesce(days.date, hours.date) as date,
    coalesce(days.inbox_id, hours.inbox_id) as inbox_id
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
