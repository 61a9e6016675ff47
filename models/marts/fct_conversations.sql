{{ config(meta={
    'for_funnel': true,
    'touched_dates': ['created_date', 'first_resolved_date', 'csat_answered_date'],
    'touches_contacts': true,
}) }}

with conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where', for_funnel=true) }}

),

messages as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}
    {{ only_touched('where', for_funnel=true) }}

),

first_replies as (

    select * from {{ ref('int_first_replies_timed') }}
    {{ only_touched('where', for_funnel=true) }}

),

in_working_hours as (

    select * from {{ ref('int_intervals_timed_in_working_hours') }}
    where
        interval_kind = 'first_reply'
        {{ only_touched('and', for_funnel=true) }}

),

resolutions as (

    select * from {{ ref('int_resolutions_aggregated_to_conversations') }}
    {{ only_touched('where', for_funnel=true) }}

),

open_waits as (

    select * from {{ ref('int_waits_found_in_messages') }}
    where
        ended_by is null
        {{ only_touched('and', for_funnel=true) }}

),

labels as (

    select
        tenant_id,
        conversation_id,
        array_agg(label::text order by label collate "C") as labels
    from {{ ref('int_labels_scoped_to_tenants') }}
    {{ only_touched('where', for_funnel=true) }}
    group by tenant_id, conversation_id

),

csat_answers as (

    select distinct on (conversation_id) *
    from {{ ref('stg_chatwoot__csat_survey_responses') }}
    where
        rating between 1 and 5
        and created_at is not null  -- an answer is dated by its moment
        {{ only_touched('and', for_funnel=true) }}
    order by conversation_id asc, created_at desc, csat_response_id desc

),

scores as (

    select * from {{ ref('int_scores_chosen_for_conversations') }}
    {{ only_touched('where', for_funnel=true) }}

),

funnel as (

    select
        tenant_id,
        conversation_id,
        bool_or(stage = 'lead') as is_lead,
        bool_or(stage = 'visit_scheduled') as is_visit_scheduled,
        bool_or(stage = 'converted') as is_converted
    from {{ ref('fct_funnel_events') }}
    {{ only_touched('where', for_funnel=true) }}
    group by tenant_id, conversation_id

),

final as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.display_id,
        conversations.account_id,
        conversations.inbox_id,
        conversations.contact_id,
        conversations.agent_id,
        conversations.team_id,
        conversations.campaign_id,
        conversations.channel,
        conversations.conversation_status as status,
        conversations.priority,
        coalesce(labels.labels, '{}') as labels,
        conversations.contact_name,
        conversations.contact_phone,
        conversations.contact_email,
        messages.preview,
        messages.last_side,
        coalesce(messages.message_count, 0) as message_count,
        coalesce(messages.contact_message_count, 0) as contact_message_count,
        coalesce(messages.agent_message_count, 0) as agent_message_count,
        coalesce(messages.bot_message_count, 0) as bot_message_count,
        first_replies.first_reply_seconds,
        in_working_hours.business_seconds as first_reply_business_seconds,
        {{ seconds_between('conversations.created_at', 'resolutions.first_resolved_at') }}
            as first_resolution_seconds,
        coalesce(resolutions.resolution_count, 0) as resolution_count,
        coalesce(resolutions.reopen_count, 0) as reopen_count,
        csat_answers.rating as csat_rating,
        conversations.referrer_url,
        conversations.utm_source,
        conversations.utm_medium,
        conversations.utm_campaign,
        scores.sentiment,
        scores.intent,
        scores.lead_class,
        scores.lead_score::integer as lead_score,
        scores.summary as ai_summary,
        scores.next_step as ai_next_step,
        scores.evidence_message_ids as ai_evidence_message_ids,
        scores.provider as ai_provider,
        scores.ai_status,
        coalesce(
            conversations.conversation_status = 'resolved' and messages.agent_message_count = 1,
            false
        ) as is_one_touch,
        coalesce(
            conversations.conversation_status = 'resolved'
            and messages.agent_message_count = 0
            and messages.bot_message_count > 0,
            false
        ) as is_bot_resolved,
        coalesce(
            conversations.conversation_status <> 'resolved' and messages.last_side = 'contact',
            false
        ) as is_waiting,
        coalesce(funnel.is_lead, false) as is_lead,
        coalesce(
            (funnel.is_lead and scores.lead_class = 'high')
            or funnel.is_visit_scheduled
            or funnel.is_converted,
            false
        ) as is_qualified,
        coalesce(funnel.is_visit_scheduled, false) as is_visit_scheduled,
        coalesce(funnel.is_converted, false) as is_converted,
        conversations.created_date,
        (resolutions.first_resolved_at at time zone conversations.tenant_timezone)::date
            as first_resolved_date,
        (csat_answers.created_at at time zone conversations.tenant_timezone)::date
            as csat_answered_date,
        conversations.created_at,
        messages.first_contact_message_at,
        messages.last_contact_message_at,
        messages.last_message_at,
        messages.first_reply_at,
        resolutions.first_resolved_at,
        resolutions.last_resolved_at,
        case
            when
                conversations.conversation_status <> 'resolved' and messages.last_side = 'contact'
                then open_waits.waiting_since
        end as waiting_since,
        csat_answers.created_at as csat_answered_at,
        scores.scored_at as ai_scored_at
    from conversations
    left join messages
        on
            conversations.tenant_id = messages.tenant_id
            and conversations.conversation_id = messages.conversation_id
    left join first_replies
        on
            conversations.tenant_id = first_replies.tenant_id
            and conversations.conversation_id = first_replies.conversation_id
    left join in_working_hours
        on
            conversations.tenant_id = in_working_hours.tenant_id
            and conversations.conversation_id = in_working_hours.conversation_id
    left join resolutions
        on
            conversations.tenant_id = resolutions.tenant_id
            and conversations.conversation_id = resolutions.conversation_id
    left join open_waits
        on
            conversations.tenant_id = open_waits.tenant_id
            and conversations.conversation_id = open_waits.conversation_id
    left join labels
        on
            conversations.tenant_id = labels.tenant_id
            and conversations.conversation_id = labels.conversation_id
    left join csat_answers on conversations.conversation_id = csat_answers.conversation_id
    left join scores
        on
            conversations.tenant_id = scores.tenant_id
            and conversations.conversation_id = scores.conversation_id
    left join funnel
        on
            conversations.tenant_id = funnel.tenant_id
            and conversations.conversation_id = funnel.conversation_id

)

select * from final
