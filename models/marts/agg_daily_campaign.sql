{{ config(
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
) }}

with conversations as (

    select * from {{ ref('fct_conversations') }}
    {{ only_touched_days('where', 'tenant_id, created_date') }}

),

campaigns as (

    select * from {{ ref('stg_chatwoot__campaigns') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

-- Of one account's campaigns a tenant sees the titles of those in its own inboxes.
titles as (

    select
        inboxes.tenant_id,
        campaigns.campaign_id,
        campaigns.campaign_title
    from campaigns
    inner join inboxes on campaigns.inbox_id = inboxes.inbox_id

),

days as (

    select
        tenant_id,
        created_date as date,
        coalesce(utm_source, '') as utm_source,
        coalesce(utm_campaign, '') as utm_campaign,
        coalesce(campaign_id, 0) as campaign_id,
        count(*) as conversations,
        count(*) filter (where is_lead) as leads,
        count(*) filter (where is_visit_scheduled) as visits,
        count(*) filter (where is_converted) as conversions
    from conversations
    group by
        tenant_id,
        created_date,
        coalesce(utm_source, ''),
        coalesce(utm_campaign, ''),
        coalesce(campaign_id, 0)

),

final as (

    select
        days.tenant_id,
        days.date,
        days.utm_source,
        days.utm_campaign,
        days.campaign_id,
        titles.campaign_title::text as campaign_title,
        days.conversations,
        days.leads,
        days.visits,
        days.conversions
    from days
    left join titles
        on
            days.tenant_id = titles.tenant_id
            and days.campaign_id = titles.campaign_id

)

select * from final
