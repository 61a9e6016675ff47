{{ config(
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
) }}

with conversations as (

    select * from {{ ref('fct_conversations') }}
    {{ only_touched_days('where', 'tenant_id, created_date, inbox_id') }}

),

messages as (

    select * from {{ ref('fct_messages') }}
    {{ only_touched_days('where', 'tenant_id, created_date, inbox_id') }}

),

tenants as (

    select * from {{ ref('dim_tenants') }}

),

happenings as (

    select
        tenant_id,
        inbox_id,
        'conversation' as kind,
        created_at
    from conversations

    union all

    select
        tenant_id,
        inbox_id,
        sender_kind as kind,
        created_at
    from messages
    where sender_kind in ('contact', 'agent')

),

localised as (

    select
        happenings.tenant_id,
        happenings.inbox_id,
        happenings.kind,
        happenings.created_at at time zone tenants.timezone as local_created_at
    from happenings
    inner join tenants on happenings.tenant_id = tenants.tenant_id

),

hours as (

    select
        tenant_id,
        inbox_id,
        date_trunc('hour', local_created_at) as local_hour,
        count(*) filter (where kind = 'conversation') as conversations,
        count(*) filter (where kind = 'contact') as contact_messages,
        count(*) filter (where kind = 'agent') as agent_messages
    from localised
    group by tenant_id, inbox_id, date_trunc('hour', local_created_at)

),

final as (

    select
        tenant_id,
        local_hour::date as date,
        extract(hour from local_hour)::integer as hour,
        extract(isodow from local_hour)::integer as isoweekday,
        inbox_id,
        conversations,
        contact_messages,
        agent_messages
    from hours

)

select * from final
-- Days stand together, so a build that makes some anew leaves the pages of all others as they are,
-- and a year's rhythm is read by an index alone.
order by tenant_id, date, hour, inbox_id
