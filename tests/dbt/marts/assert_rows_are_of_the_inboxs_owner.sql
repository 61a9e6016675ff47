-- The mapping asked once more, in other words than int_inboxes_scoped_to_tenants.
{%- set marts = [
    "dim_inboxes", "fct_conversations", "fct_messages", "fct_replies", "fct_funnel_events",
    "fct_conversation_events", "snap_conversations", "agg_daily", "agg_hourly", "agg_backlog",
    "fct_backlog_intervals", "rpt_remarketing_queue", "rpt_chatwoot_parity", "rpt_chatwoot_parity_reasons",
] %}

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
    {% for mart in marts %}
    select
        '{{ mart }}' as mart,
        tenant_id,
        inbox_id
    from {{ ref(mart) }}
    {{ "union" if not loop.last }}
    {% endfor %}
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
