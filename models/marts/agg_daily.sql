with conversations as (

    select * from {{ ref('fct_conversations') }}

),

messages as (

    select * from {{ ref('fct_messages') }}

),

replies as (

    select * from {{ ref('fct_replies') }}

),

resolves as (

    select * from {{ ref('int_events_deduplicated') }}
    where event_name = 'conversation_resolved'

),

tenants as (

    select * from {{ ref('dim_tenants') }}

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
        sum(first_reply_seconds) as first_reply_seconds_sum,
        count(first_reply_business_seconds) as first_reply_business_count,
        sum(first_reply_business_seconds) as first_reply_business_seconds_sum,
        count(*) filter (where contact_message_count > 0) as contacted_conversations,
        count(*) filter (
            where contact_message_count > 0 and agent_message_count = 0
        ) as unanswered_conversations,
        count(*) filter (where status = 'resolved') as resolved_conversations,
        count(*) filter (where reopen_count > 0) as reopened_conversations,
        count(*) filter (where is_one_touch) as one_touch_conversations,
        count(*) filter (where is_bot_resolved) as bot_resolved_conversations,
        count(lead_score) as scored_conversations,
        sum(lead_score) as lead_score_sum
    from conversations
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
        sum(wait_seconds) as wait_seconds_sum
    from replies
    group by tenant_id, replied_date, inbox_id

),

by_event_date as (

    select
        resolves.tenant_id,
        (resolves.event_at at time zone resolves.tenant_timezone)::date as date,
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
    group by
        resolves.tenant_id,
        (resolves.event_at at time zone resolves.tenant_timezone)::date,
        resolves.inbox_id

),

by_answer_date as (

    select
        conversations.tenant_id,
        (conversations.csat_answered_at at time zone tenants.timezone)::date as date,
        conversations.inbox_id,
        count(*) as csat_count,
        count(*) filter (where conversations.csat_rating >= 4) as csat_good
    from conversations
    inner join tenants on conversations.tenant_id = tenants.tenant_id
    where conversations.csat_answered_at is not null
    group by
        conversations.tenant_id,
        (conversations.csat_answered_at at time zone tenants.timezone)::date,
        conversations.inbox_id

),

days as (

    select tenant_id, date, inbox_id from by_created_date
    union
    select tenant_id, date, inbox_id from by_message_date
    union
    select tenant_id, date, inbox_id from by_replied_date
    union
    select tenant_id, date, inbox_id from by_event_date
    union
    select tenant_id, date, inbox_id from by_answer_date

),

{%- set sums = {
    'by_created_date': [
        'conversations', 'leads', 'qualified_leads', 'visits', 'conversions', 'first_replies',
        'first_reply_seconds_sum', 'first_reply_business_count',
        'first_reply_business_seconds_sum', 'contacted_conversations',
        'unanswered_conversations', 'resolved_conversations', 'reopened_conversations',
        'one_touch_conversations', 'bot_resolved_conversations', 'scored_conversations',
        'lead_score_sum'
    ],
    'by_message_date': ['contact_messages', 'agent_messages', 'bot_messages'],
    'by_replied_date': ['replies', 'wait_seconds_sum'],
    'by_event_date': ['resolutions', 'first_resolutions', 'first_resolution_seconds_sum'],
    'by_answer_date': ['csat_count', 'csat_good'],
} %}

final as (

    select
        days.tenant_id,
        days.date,
        days.inbox_id
        {%- for basis, columns in sums.items() %}
        {%- for column in columns %},
        coalesce({{ basis }}.{{ column }}, 0)::bigint as {{ column }}
        {%- endfor %}
        {%- endfor %}
    from days
    {%- for basis in sums %}
    left join {{ basis }}
        on
            days.tenant_id = {{ basis }}.tenant_id
            and days.date = {{ basis }}.date
            and days.inbox_id = {{ basis }}.inbox_id
    {%- endfor %}

)

select * from final
