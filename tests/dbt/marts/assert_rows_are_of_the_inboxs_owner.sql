-- The mapping asked once more, in other words than int_inboxes_scoped_to_tenants.
with inboxes as (

    select * from {{ ref('stg_chatwoot__inboxes') }}

),

tenant_inboxes as (

    select * from {{ ref('stg_app__tenant_inboxes') }}

),

tenant_accounts as (

    select * from {{ ref('stg_app__tenant_accounts') }}

),

owners as (

    select
        tenant_id,
        inbox_id
    from tenant_inboxes

    union

    select
        tenant_accounts.tenant_id,
        inboxes.inbox_id
    from inboxes
    inner join tenant_accounts on inboxes.account_id = tenant_accounts.account_id
    where inboxes.inbox_id not in (select tenant_inboxes.inbox_id from tenant_inboxes)

),

rows_of_marts as (

    select
        'dim_inboxes' as mart,
        tenant_id,
        inbox_id
    from {{ ref('dim_inboxes') }}

    union

    select
        'fct_conversations' as mart,
        tenant_id,
        inbox_id
    from {{ ref('fct_conversations') }}

    union

    select
        'fct_messages' as mart,
        tenant_id,
        inbox_id
    from {{ ref('fct_messages') }}

    union

    select
        'fct_replies' as mart,
        tenant_id,
        inbox_id
    from {{ ref('fct_replies') }}

    union

    select
        'fct_funnel_events' as mart,
        tenant_id,
        inbox_id
    from {{ ref('fct_funnel_events') }}

    union

    select
        'agg_daily' as mart,
        tenant_id,
        inbox_id
    from {{ ref('agg_daily') }}

    union

    select
        'agg_hourly' as mart,
        tenant_id,
        inbox_id
    from {{ ref('agg_hourly') }}

    union

    select
        'agg_backlog' as mart,
        tenant_id,
        inbox_id
    from {{ ref('agg_backlog') }}

)

select
    rows_of_marts.mart,
    rows_of_marts.tenant_id,
    rows_of_marts.inbox_id
from rows_of_marts
left join owners
    on
        rows_of_marts.tenant_id = owners.tenant_id
        and rows_of_marts.inbox_id = owners.inbox_id
where owners.inbox_id is null
