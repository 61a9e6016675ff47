{# A table by conversation, so that a day of parity is added up from what its conversations say. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    meta={'touched_dates': ['date']},
    indexes=[
        {'columns': ['conversation_id']},
        {'columns': ['tenant_id', 'date', 'inbox_id']},
    ],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

-- Chatwoot counts by the row's own inbox; each step after that says what it adds or takes away on
-- the way to our count, which goes by the conversation's inbox.
with conversations as (

    select * from {{ ref('stg_chatwoot__conversations') }}
    where
        created_at is not null
        {{ only_touched('and') }}

),

messages as (

    select * from {{ ref('stg_chatwoot__messages') }}
    where
        message_type in ('incoming', 'outgoing')
        and created_at is not null
        {{ only_touched('and') }}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

scoped_conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

scoped_messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

-- Nearly every message has its conversation's inbox, and one date; its rows need no further sum.
cells as (

    select
        messages.conversation_id,
        messages.inbox_id as own_inbox_id,
        (messages.created_at at time zone inboxes.tenant_timezone)::date as own_date,
        scoped_conversations.tenant_id,
        scoped_conversations.inbox_id,
        case
            when (scoped_conversations.inbox_id = messages.inbox_id) is not true
                then (messages.created_at at time zone scoped_conversations.tenant_timezone)::date
        end as moved_date,
        messages.message_type,
        min(inboxes.tenant_id) as own_tenant_id,
        count(*) as message_count,
        count(*) filter (where messages.is_private) as private_count
    from messages
    left join inboxes on messages.inbox_id = inboxes.inbox_id
    left join scoped_conversations
        on messages.conversation_id = scoped_conversations.conversation_id
    group by
        messages.conversation_id,
        messages.inbox_id,
        (messages.created_at at time zone inboxes.tenant_timezone)::date,
        scoped_conversations.tenant_id,
        scoped_conversations.inbox_id,
        case
            when (scoped_conversations.inbox_id = messages.inbox_id) is not true
                then (messages.created_at at time zone scoped_conversations.tenant_timezone)::date
        end,
        messages.message_type

),

moved as (

    select * from cells
    where inbox_id is distinct from own_inbox_id

),

other_steps as (

    select
        moved.conversation_id,
        moved.own_tenant_id as tenant_id,
        moved.own_date as date,
        moved.own_inbox_id as inbox_id,
        moved.message_type,
        counted.step,
        counted.count_delta
    from moved
    cross join
        lateral (
            values
            ('chatwoot', moved.message_count),
            ('private_notes', -moved.private_count),
            (
                case when moved.tenant_id is null then 'no_conversation' else 'other_inbox' end,
                moved.private_count - moved.message_count
            )
        ) as counted (step, count_delta)

    union all

    select
        conversation_id,
        tenant_id,
        moved_date as date,
        inbox_id,
        message_type,
        'other_inbox' as step,
        message_count - private_count as count_delta
    from moved

    union all

    select
        conversation_id,
        tenant_id,
        (created_at at time zone tenant_timezone)::date as date,
        inbox_id,
        'outgoing' as message_type,
        'bot_messages' as step,
        -1 as count_delta
    from scoped_messages
    where sender_kind = 'bot'

),

steps as (

    select
        inboxes.tenant_id,
        conversations.conversation_id,
        (conversations.created_at at time zone inboxes.tenant_timezone)::date as date,
        conversations.inbox_id,
        'conversations_count' as metric,
        'chatwoot' as step,
        1 as count_delta
    from conversations
    inner join inboxes on conversations.inbox_id = inboxes.inbox_id

    union all

    select
        cells.tenant_id,
        cells.conversation_id,
        cells.own_date as date,
        cells.inbox_id,
        cells.message_type || '_messages_count' as metric,
        counted.step,
        counted.count_delta
    from cells
    cross join
        lateral (
            values
            ('chatwoot', cells.message_count),
            ('private_notes', -cells.private_count)
        ) as counted (step, count_delta)
    where cells.inbox_id = cells.own_inbox_id

    union all

    select
        tenant_id,
        conversation_id,
        date,
        inbox_id,
        message_type || '_messages_count' as metric,
        step,
        sum(count_delta) as count_delta
    from other_steps
    group by tenant_id, conversation_id, date, inbox_id, message_type, step

),

final as (

    select
        tenant_id,
        conversation_id::bigint as conversation_id,
        date,
        inbox_id::bigint as inbox_id,
        metric,
        step,
        count_delta::bigint as count_delta
    from steps
    where
        tenant_id is not null
        and count_delta <> 0

)

select * from final
{% if not is_incremental() %}
-- the rows of a day beside each other: that is how they are read from here on
order by tenant_id, date, inbox_id
{% endif %}
