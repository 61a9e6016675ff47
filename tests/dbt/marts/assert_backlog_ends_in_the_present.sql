-- Whatever way a day's backlog was counted, the last one is what is open or pending now.
with last_days as (

    select distinct on (tenant_id, inbox_id)
        tenant_id,
        inbox_id,
        open_conversations
    from {{ ref('agg_backlog') }}
    order by tenant_id asc, inbox_id asc, date desc

),

conversations as (

    select
        tenant_id,
        inbox_id,
        count(*) filter (where status in ('open', 'pending')) as open_conversations
    from {{ ref('fct_conversations') }}
    group by tenant_id, inbox_id

)

select
    conversations.tenant_id,
    conversations.inbox_id
from conversations
full join last_days
    on
        conversations.tenant_id = last_days.tenant_id
        and conversations.inbox_id = last_days.inbox_id
where conversations.open_conversations is distinct from last_days.open_conversations
