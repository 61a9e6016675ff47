{{ config(
    incremental_strategy='touched_days',
    pre_hook="{{ take_touched('days') }}",
) }}

with conversations as not materialized (

    select * from {{ ref('fct_conversations') }}

),

messages as (

    select * from {{ ref('fct_messages') }}
    {{ only_touched_days('where', 'tenant_id, created_date, inbox_id') }}

),

replies as (

    select * from {{ ref('fct_replies') }}
    {{ only_touched_days('where', 'tenant_id, replied_date, inbox_id') }}

),

resolves as (

    select * from {{ ref('fct_conversation_events') }}
    where
        event_kind = 'resolved'
        {{ only_touched_days('and', 'tenant_id, event_date, inbox_id') }}

),

by_created_date as (

    select
        tenant_id,
        created_date as date,
        inbox_id,
        count(*) as conversations,
        count(*) filter (where is_lead) as leads,
        count(*) filter (where is_qualified) as qualified_leads,
        count(*) filter (where is_visit_scheduled) as visits,
        count(*) filter (where is_converted) as conversions,
        count(first_reply_seconds) as first_replies,
        count(*) filter (where first_reply_seconds < 300) as first_replies_under_5_minutes,
        count(*) filter (where first_reply_seconds < 900) as first_replies_under_15_minutes,
        count(*) filter (where first_reply_seconds < 3600) as first_replies_under_1_hour,
        count(*) filter (where first_reply_seconds < 14400) as first_replies_under_4_hours,
        count(*) filter (where first_reply_seconds < 86400) as first_replies_under_1_day,
        sum(first_reply_seconds) as first_reply_seconds_sum,
        count(first_reply_business_seconds) as first_reply_business_count,
        sum(first_reply_business_seconds) as first_reply_business_seconds_sum,
        count(*) filter (where contact_message_count > 0) as contacted_conversations,
        count(*) filter (
            where contact_message_count > 0 and agent_message_count = 0
        ) as unanswered_conversations,
        count(*) filter (where status = 'open') as open_conversations,
        count(*) filter (where status = 'pending') as pending_conversations,
        count(*) filter (where status = 'snoozed') as snoozed_conversations,
        count(*) filter (where status = 'resolved') as resolved_conversations,
        count(*) filter (where reopen_count > 0) as reopened_conversations,
        count(*) filter (where is_one_touch) as one_touch_conversations,
        count(*) filter (where is_bot_resolved) as bot_resolved_conversations,
        count(lead_score) as scored_conversations,
        sum(lead_score) as lead_score_sum
    from conversations
    {{ only_touched_days('where', 'tenant_id, created_date, inbox_id') }}
    group by tenant_id, created_date, inbox_id

),

by_message_date as (

    select
        tenant_id,
        created_date as date,
        inbox_id,
        count(*) filter (where sender_kind = 'contact') as contact_messages,
        count(*) filter (where sender_kind = 'agent') as agent_messages,
        count(*) filter (where sender_kind = 'bot') as bot_messages
    from messages
    group by tenant_id, created_date, inbox_id

),

by_replied_date as (

    select
        tenant_id,
        replied_date as date,
        inbox_id,
        count(*) as replies,
        sum(wait_seconds) as wait_seconds_sum,
        count(wait_business_seconds) as reply_business_count,
        sum(wait_business_seconds) as wait_business_seconds_sum
    from replies
    group by tenant_id, replied_date, inbox_id

),

by_event_date as (

    select
        resolves.tenant_id,
        resolves.event_date as date,
        resolves.inbox_id,
        count(*) as resolutions,
        count(*) filter (
            where resolves.event_at = conversations.first_resolved_at
        ) as first_resolutions,
        sum(conversations.first_resolution_seconds) filter (
            where resolves.event_at = conversations.first_resolved_at
        ) as first_resolution_seconds_sum
    from resolves
    inner join conversations
        on
            resolves.tenant_id = conversations.tenant_id
            and resolves.conversation_id = conversations.conversation_id
    group by resolves.tenant_id, resolves.event_date, resolves.inbox_id

),

by_answer_date as (

    select
        tenant_id,
        csat_answered_date as date,
        inbox_id,
        count(*) as csat_count,
        count(*) filter (where csat_rating >= 4) as csat_good
    from conversations
    where
        csat_answered_date is not null
        {{ only_touched_days('and', 'tenant_id, csat_answered_date, inbox_id') }}
    group by tenant_id, csat_answered_date, inbox_id

),

days as (

    select
        tenant_id,
        date,
        inbox_id
    from by_created_date

    union

    select
        tenant_id,
        date,
        inbox_id
    from by_message_date

    union

    select
        tenant_id,
        date,
        inbox_id
    from by_replied_date

    union

    select
        tenant_id,
        date,
        inbox_id
    from by_event_date

    union

    select
        tenant_id,
        date,
        inbox_id
    from by_answer_date

),

final as (

    select
        days.tenant_id,
        days.date,
        days.inbox_id,
        coalesce(by_created_date.conversations, 0)::bigint as conversations,
        coalesce(by_created_date.leads, 0)::bigint as leads,
        coalesce(by_created_date.qualified_leads, 0)::bigint as qualified_leads,
        coalesce(by_created_date.visits, 0)::bigint as visits,
        coalesce(by_created_date.conversions, 0)::bigint as conversions,
        coalesce(by_created_date.first_replies, 0)::bigint as first_replies,
        coalesce(by_created_date.first_replies_under_5_minutes, 0)::bigint
            as first_replies_under_5_minutes,
        coalesce(by_created_date.first_replies_under_15_minutes, 0)::bigint
            as first_replies_under_15_minutes,
        coalesce(by_created_date.first_replies_under_1_hour, 0)::bigint
            as first_replies_under_1_hour,
        coalesce(by_created_date.first_replies_under_4_hours, 0)::bigint
            as first_replies_under_4_hours,
        coalesce(by_created_date.first_replies_under_1_day, 0)::bigint as first_replies_under_1_day,
        coalesce(by_created_date.first_reply_seconds_sum, 0)::bigint as first_reply_seconds_sum,
        coalesce(by_created_date.first_reply_business_count, 0)::bigint
            as first_reply_business_count,
        coalesce(by_created_date.first_reply_business_seconds_sum, 0)::bigint
            as first_reply_business_seconds_sum,
        coalesce(by_created_date.contacted_conversations, 0)::bigint as contacted_conversations,
        coalesce(by_created_date.unanswered_conversations, 0)::bigint as unanswered_conversations,
        coalesce(by_created_date.open_conversations, 0)::bigint as open_conversations,
        coalesce(by_created_date.pending_conversations, 0)::bigint as pending_conversations,
        coalesce(by_created_date.snoozed_conversations, 0)::bigint as snoozed_conversations,
        coalesce(by_created_date.resolved_conversations, 0)::bigint as resolved_conversations,
        coalesce(by_created_date.reopened_conversations, 0)::bigint as reopened_conversations,
        coalesce(by_created_date.one_touch_conversations, 0)::bigint as one_touch_conversations,
        coalesce(by_created_date.bot_resolved_conversations, 0)::bigint
            as bot_resolved_conversations,
        coalesce(by_created_date.scored_conversations, 0)::bigint as scored_conversations,
        coalesce(by_created_date.lead_score_sum, 0)::bigint as lead_score_sum,
        coalesce(by_message_date.contact_messages, 0)::bigint as contact_messages,
        coalesce(by_message_date.agent_messages, 0)::bigint as agent_messages,
        coalesce(by_message_date.bot_messages, 0)::bigint as bot_messages,
        coalesce(by_replied_date.replies, 0)::bigint as replies,
        coalesce(by_replied_date.wait_seconds_sum, 0)::bigint as wait_seconds_sum,
        coalesce(by_replied_date.reply_business_count, 0)::bigint as reply_business_count,
        coalesce(by_replied_date.wait_business_seconds_sum, 0)::bigint
            as wait_business_seconds_sum,
        coalesce(by_event_date.resolutions, 0)::bigint as resolutions,
        coalesce(by_event_date.first_resolutions, 0)::bigint as first_resolutions,
        coalesce(by_event_date.first_resolution_seconds_sum, 0)::bigint
            as first_resolution_seconds_sum,
        coalesce(by_answer_date.csat_count, 0)::bigint as csat_count,
        coalesce(by_answer_date.csat_good, 0)::bigint as csat_good
    from days
    left join by_created_date
        on
            days.tenant_id = by_created_date.tenant_id
            and days.date = by_created_date.date
            and days.inbox_id = by_created_date.inbox_id
    left join by_message_date
        on
            days.tenant_id = by_message_date.tenant_id
            and days.date = by_message_date.date
            and days.inbox_id = by_message_date.inbox_id
    left join by_replied_date
        on
            days.tenant_id = by_replied_date.tenant_id
            and days.date = by_replied_date.date
            and days.inbox_id = by_replied_date.inbox_id
    left join by_event_date
        on
            days.tenant_id = by_event_date.tenant_id
            and days.date = by_event_date.date
            and days.inbox_id = by_event_date.inbox_id
    left join by_answer_date
        on
            days.tenant_id = by_answer_date.tenant_id
            and days.date = by_answer_date.date
            and days.inbox_id = by_answer_date.inbox_id

)

select * from final
