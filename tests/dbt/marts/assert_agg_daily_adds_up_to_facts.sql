-- Whatever day a measure is counted on, its total per tenant and inbox is that of the facts.
with days as (

    select
        tenant_id,
        inbox_id,
        sum(conversations) as conversations,
        sum(leads) as leads,
        sum(conversions) as conversions,
        sum(first_reply_seconds_sum) as first_reply_seconds,
        sum(first_reply_business_count) as first_reply_business_count,
        sum(first_reply_business_seconds_sum) as first_reply_business_seconds,
        sum(contact_messages + agent_messages + bot_messages) as messages,
        sum(replies) as replies,
        sum(wait_seconds_sum) as wait_seconds,
        sum(reply_business_count) as reply_business_count,
        sum(wait_business_seconds_sum) as wait_business_seconds,
        sum(resolutions) as resolutions,
        sum(first_resolutions) as first_resolutions,
        sum(csat_count) as csat_answers
    from {{ ref('agg_daily') }}
    group by tenant_id, inbox_id

),

conversations as (

    select
        tenant_id,
        inbox_id,
        count(*) as conversations,
        count(*) filter (where is_lead) as leads,
        count(*) filter (where is_converted) as conversions,
        coalesce(sum(first_reply_seconds), 0) as first_reply_seconds,
        count(first_reply_business_seconds) as first_reply_business_count,
        coalesce(sum(first_reply_business_seconds), 0) as first_reply_business_seconds,
        sum(message_count) as messages,
        sum(resolution_count) as resolutions,
        count(first_resolved_at) as first_resolutions,
        count(csat_rating) as csat_answers
    from {{ ref('fct_conversations') }}
    group by tenant_id, inbox_id

),

replies as (

    select
        tenant_id,
        inbox_id,
        count(*) as replies,
        sum(wait_seconds) as wait_seconds,
        count(wait_business_seconds) as reply_business_count,
        sum(wait_business_seconds) as wait_business_seconds
    from {{ ref('fct_replies') }}
    group by tenant_id, inbox_id

),

facts as (

    select
        conversations.tenant_id,
        conversations.inbox_id,
        conversations.conversations,
        conversations.leads,
        conversations.conversions,
        conversations.first_reply_seconds,
        conversations.first_reply_business_count,
        conversations.first_reply_business_seconds,
        conversations.messages,
        coalesce(replies.replies, 0) as replies,
        coalesce(replies.wait_seconds, 0) as wait_seconds,
        coalesce(replies.reply_business_count, 0) as reply_business_count,
        coalesce(replies.wait_business_seconds, 0) as wait_business_seconds,
        conversations.resolutions,
        conversations.first_resolutions,
        conversations.csat_answers
    from conversations
    left join replies
        on
            conversations.tenant_id = replies.tenant_id
            and conversations.inbox_id = replies.inbox_id

),

missing as (

    select * from facts
    except
    select * from days

),

unexpected as (

    select * from days
    except
    select * from facts

)

select
    'only in the facts' as problem,
    missing.tenant_id,
    missing.inbox_id
from missing

union all

select
    'only in the days' as problem,
    unexpected.tenant_id,
    unexpected.inbox_id
from unexpected
