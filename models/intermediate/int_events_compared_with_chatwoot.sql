{# A table by conversation, so that a day of parity is added up from what its conversations say;
   conversation 0 is that of events without one. #}
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

-- Chatwoot counts stored events by their own inbox on the day the job ran. Step by step they are
-- moved to where and when they happened, then held against what we count from messages; what a step
-- adds or takes away is its reason.
with events as (

    select * from {{ ref('stg_chatwoot__reporting_events') }}
    where
        event_name in ('first_response', 'reply_time', 'conversation_resolved')
        and created_at is not null
        {% if is_incremental() %}and (conversation_id is null {{ only_touched('or') }}){% endif %}

),

inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}

),

conversations as not materialized (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

bot_messages as (

    select * from {{ ref('int_messages_scoped_to_tenants') }}
    where
        sender_kind = 'bot'
        {{ only_touched('and') }}

),

handoffs as (

    select * from {{ ref('int_events_deduplicated') }}
    where
        event_name in ('conversation_bot_handoff', 'conversation_captain_inference_handoff')
        {{ only_touched('and') }}

),

first_replies as (

    select * from {{ ref('int_first_replies_timed') }}
    {{ only_touched('where') }}

),

waits as (

    select * from {{ ref('int_waits_found_in_messages') }}
    {{ only_touched('where') }}

),

resolutions as (

    select * from {{ ref('int_resolutions_aggregated_to_conversations') }}
    {{ only_touched('where') }}

),

-- Copies of one event: the same moment, and for the first response, which there is once in a life,
-- the same conversation.
numbered as (

    select
        *,
        row_number() over (
            partition by
                event_name,
                coalesce(conversation_id, -event_id),
                case when event_name <> 'first_response' then event_at end
            order by is_deleted_at_source, event_at, event_id
        ) as copy_number
    from events

),

dated as (

    select
        numbered.event_name,
        numbered.copy_number = 1 and numbered.event_at is not null as is_distinct,
        numbered.copy_number > 1 as is_copy,
        not numbered.is_deleted_at_source as is_live,
        own_inboxes.tenant_id as own_tenant_id,
        numbered.inbox_id as own_inbox_id,
        (numbered.created_at at time zone own_inboxes.tenant_timezone)::date as own_date,
        conversations.tenant_id,
        coalesce(numbered.conversation_id, 0) as own_conversation_id,
        conversations.conversation_id,
        conversations.inbox_id,
        conversations.created_at as conversation_created_at,
        case
            when (conversations.inbox_id = numbered.inbox_id) is not true
                then (numbered.created_at at time zone conversations.tenant_timezone)::date
        end as moved_date,
        (numbered.event_at at time zone conversations.tenant_timezone)::date as event_date,
        case
            when numbered.value_seconds between -1e15 and 1e15
                then numbered.value_seconds::numeric
        end as value_seconds,
        numbered.event_started_at,
        numbered.event_at
    from numbered
    left join inboxes as own_inboxes on numbered.inbox_id = own_inboxes.inbox_id
    left join conversations on numbered.conversation_id = conversations.conversation_id
    -- folded into what follows, dates and values would be computed again each time
    offset 0  -- noqa: AM09

),

-- Written down once, for it is read six times. A plain event is alone, and has one date and one
-- inbox, as nearly all have: it needs no step but Chatwoot's own.
placed as materialized (

    select
        *,
        coalesce(moved_date, own_date) as job_date,
        coalesce(
            is_live
            and is_distinct
            and inbox_id = own_inbox_id
            and own_date = event_date
            and value_seconds is not null,
            false
        ) as is_plain
    from dated

),

metrics (event_name, metric) as (

    values
    ('first_response', 'first_response_time'),
    ('reply_time', 'reply_time'),
    ('conversation_resolved', 'resolution_time'),
    ('conversation_resolved', 'resolutions_count')

),

-- A mean leaves out events without a value; a number of them does not.
stored as (

    select
        own_tenant_id as tenant_id,
        own_conversation_id as conversation_id,
        own_date as date,
        own_inbox_id as inbox_id,
        event_name,
        count(*) as event_count,
        count(value_seconds) as value_count,
        coalesce(sum(value_seconds), 0) as seconds
    from placed
    where is_live
    group by own_tenant_id, own_conversation_id, own_date, own_inbox_id, event_name

),

chatwoot_steps as (

    select
        stored.tenant_id,
        stored.conversation_id,
        stored.date,
        stored.inbox_id,
        metrics.metric,
        'chatwoot' as step,
        case
            when metrics.metric = 'resolutions_count' then stored.event_count
            else stored.value_count
        end as count_delta,
        case
            when metrics.metric = 'resolutions_count' then 0
            else stored.seconds
        end as sum_delta
    from stored
    inner join metrics on stored.event_name = metrics.event_name

),

entries as materialized (

    select
        placed.*,
        metrics.metric,
        case
            when metrics.metric = 'resolutions_count' or placed.value_seconds is not null then 1
            else 0
        end as counted,
        case
            when metrics.metric = 'resolutions_count' then 0
            else coalesce(placed.value_seconds, 0)
        end as seconds
    from placed
    inner join metrics on placed.event_name = metrics.event_name
    where not placed.is_plain

),

-- Each event once, and only those that say when they happened.
distinct_entries as (

    select * from entries
    where is_distinct

),

scoped_entries as (

    select * from distinct_entries
    where tenant_id is not null

),

stored_steps as (

    select
        own_tenant_id as tenant_id,
        own_conversation_id as conversation_id,
        own_date as date,
        own_inbox_id as inbox_id,
        metric,
        case when is_copy then 'duplicate_events' else 'no_time' end as step,
        -counted as count_delta,
        -seconds as sum_delta
    from entries
    where
        is_live
        and not is_distinct

    union all

    select
        own_tenant_id as tenant_id,
        own_conversation_id as conversation_id,
        own_date as date,
        own_inbox_id as inbox_id,
        metric,
        case when is_live then 'stored_value' else 'removed_events' end as step,
        case when is_live then 1 - counted else 1 end as count_delta,
        case when is_live then 0 else seconds end as sum_delta
    from distinct_entries
    where
        not is_live
        or counted = 0

    union all

    select
        own_tenant_id as tenant_id,
        own_conversation_id as conversation_id,
        own_date as date,
        own_inbox_id as inbox_id,
        metric,
        case when tenant_id is null then 'no_conversation' else 'other_inbox' end as step,
        -1 as count_delta,
        -seconds as sum_delta
    from distinct_entries
    where inbox_id is distinct from own_inbox_id

    union all

    select
        tenant_id,
        conversation_id,
        job_date as date,
        inbox_id,
        metric,
        'other_inbox' as step,
        1 as count_delta,
        seconds as sum_delta
    from scoped_entries
    where inbox_id is distinct from own_inbox_id

    union all

    select
        tenant_id,
        conversation_id,
        job_date as date,
        inbox_id,
        metric,
        'event_time' as step,
        -1 as count_delta,
        -seconds as sum_delta
    from scoped_entries
    where job_date <> event_date

    union all

    select
        tenant_id,
        conversation_id,
        event_date as date,
        inbox_id,
        metric,
        'event_time' as step,
        1 as count_delta,
        seconds as sum_delta
    from scoped_entries
    where job_date <> event_date

),

scoped as not materialized (

    select
        event_name,
        tenant_id,
        conversation_id,
        inbox_id,
        conversation_created_at,
        event_date,
        coalesce(value_seconds, 0) as seconds,
        event_started_at,
        event_at
    from placed
    where
        is_distinct
        and tenant_id is not null

),

-- Ours is the first resolve alone, from the creation.
resolution_steps as (

    select
        scoped.tenant_id,
        scoped.conversation_id,
        scoped.event_date as date,
        scoped.inbox_id,
        'resolution_time' as metric,
        case
            when scoped.event_at = resolutions.first_resolved_at then 'stored_value'
            else 'later_resolves'
        end as step,
        case when scoped.event_at = resolutions.first_resolved_at then 0 else -1 end
            as count_delta,
        case
            when scoped.event_at = resolutions.first_resolved_at
                then
                    {{ seconds_between('scoped.conversation_created_at', 'scoped.event_at') }}
                    - scoped.seconds
            else -scoped.seconds
        end as sum_delta
    from scoped
    inner join resolutions
        on
            scoped.tenant_id = resolutions.tenant_id
            and scoped.conversation_id = resolutions.conversation_id
    where scoped.event_name = 'conversation_resolved'

),

first_responses as (

    select * from scoped
    where event_name = 'first_response'

),

our_first_replies as (

    select
        first_replies.tenant_id,
        first_replies.conversation_id,
        conversations.inbox_id,
        first_replies.first_reply_seconds,
        first_replies.started_at > first_replies.first_contact_message_at as starts_at_handoff,
        conversations.created_date,
        (first_replies.first_reply_at at time zone conversations.tenant_timezone)::date
            as replied_date,
        first_replies.started_at,
        first_replies.first_reply_at
    from first_replies
    inner join conversations
        on
            first_replies.tenant_id = conversations.tenant_id
            and first_replies.conversation_id = conversations.conversation_id

),

compared_first_replies as (

    select
        coalesce(our_first_replies.tenant_id, first_responses.tenant_id) as tenant_id,
        coalesce(our_first_replies.conversation_id, first_responses.conversation_id)
            as conversation_id,
        coalesce(our_first_replies.inbox_id, first_responses.inbox_id) as inbox_id,
        coalesce(first_responses.event_date, our_first_replies.replied_date) as date,
        our_first_replies.created_date,
        our_first_replies.first_reply_seconds,
        (our_first_replies.tenant_id is not null)::integer
        - (first_responses.tenant_id is not null)::integer as count_delta,
        coalesce(our_first_replies.first_reply_seconds, 0)
        - coalesce(first_responses.seconds, 0) as sum_delta,
        case
            when first_responses.tenant_id is null then 'no_event'
            when
                first_responses.event_started_at = our_first_replies.started_at
                and first_responses.event_at = our_first_replies.first_reply_at
                then 'stored_value'
            when our_first_replies.starts_at_handoff then 'handoff_clock'
            else 'contact_clock'
        end as step
    from first_responses
    full join our_first_replies
        on
            first_responses.tenant_id = our_first_replies.tenant_id
            and first_responses.conversation_id = our_first_replies.conversation_id

),

first_reply_steps as (

    select
        tenant_id,
        conversation_id,
        date,
        inbox_id,
        'first_response_time' as metric,
        step,
        count_delta,
        sum_delta
    from compared_first_replies

    union all

    select
        tenant_id,
        conversation_id,
        date,
        inbox_id,
        'first_response_time' as metric,
        'creation_date' as step,
        -1 as count_delta,
        -first_reply_seconds as sum_delta
    from compared_first_replies
    where created_date <> date

    union all

    select
        tenant_id,
        conversation_id,
        created_date as date,
        inbox_id,
        'first_response_time' as metric,
        'creation_date' as step,
        1 as count_delta,
        first_reply_seconds as sum_delta
    from compared_first_replies
    where created_date <> date

),

reply_times as (

    select * from scoped
    where event_name = 'reply_time'

),

-- Two waits may end in the same instant; an event then speaks of the longer.
ended_waits as (

    select
        *,
        {{ seconds_between('waiting_since', 'ended_at') }} as wait_seconds,
        (ended_at at time zone tenant_timezone)::date as replied_date,
        row_number() over (
            partition by tenant_id, conversation_id, ended_at order by waiting_since
        ) as wait_number
    from waits
    where ended_by = 'agent'

),

compared_waits as (

    select
        row_number() over () as compared_id,
        ended_waits.tenant_id is not null as is_ours,
        reply_times.tenant_id is not null as is_chatwoots,
        coalesce(ended_waits.tenant_id, reply_times.tenant_id) as tenant_id,
        coalesce(ended_waits.conversation_id, reply_times.conversation_id) as conversation_id,
        coalesce(ended_waits.inbox_id, reply_times.inbox_id) as inbox_id,
        coalesce(ended_waits.replied_date, reply_times.event_date) as date,
        coalesce(ended_waits.wait_seconds, 0) - coalesce(reply_times.seconds, 0) as sum_delta,
        ended_waits.waiting_since,
        reply_times.event_started_at,
        coalesce(ended_waits.ended_at, reply_times.event_at) as ended_at
    from reply_times
    full join ended_waits
        on
            reply_times.tenant_id = ended_waits.tenant_id
            and reply_times.conversation_id = ended_waits.conversation_id
            and reply_times.event_at = ended_waits.ended_at
            and ended_waits.wait_number = 1

),

differing_waits as (

    select * from compared_waits
    where event_started_at is distinct from waiting_since

),

-- What happened while the contact waited.
happenings as (

    select
        differing_waits.tenant_id,
        differing_waits.compared_id,
        'first_response_apart' as step
    from differing_waits
    inner join first_responses
        on
            differing_waits.tenant_id = first_responses.tenant_id
            and differing_waits.conversation_id = first_responses.conversation_id
            and differing_waits.ended_at = first_responses.event_at
    where not differing_waits.is_chatwoots

    union

    select
        differing_waits.tenant_id,
        differing_waits.compared_id,
        'dropped_waits' as step
    from differing_waits
    inner join waits
        on
            differing_waits.tenant_id = waits.tenant_id
            and differing_waits.conversation_id = waits.conversation_id
            and waits.ended_at between
            differing_waits.event_started_at and differing_waits.ended_at
    where
        not differing_waits.is_ours
        and waits.ended_by = 'resolve'

    union

    select
        differing_waits.tenant_id,
        differing_waits.compared_id,
        'handoff_clock' as step
    from differing_waits
    inner join handoffs
        on
            differing_waits.tenant_id = handoffs.tenant_id
            and differing_waits.conversation_id = handoffs.conversation_id
            and handoffs.event_at between
            coalesce(differing_waits.waiting_since, differing_waits.event_started_at)
            and differing_waits.ended_at

    union

    select
        differing_waits.tenant_id,
        differing_waits.compared_id,
        'bot_messages' as step
    from differing_waits
    inner join bot_messages
        on
            differing_waits.tenant_id = bot_messages.tenant_id
            and differing_waits.conversation_id = bot_messages.conversation_id
            and bot_messages.created_at between
            differing_waits.waiting_since and differing_waits.ended_at

),

explained_waits as (

    select distinct on (tenant_id, compared_id) *
    from happenings
    order by
        tenant_id asc,
        compared_id asc,
        array_position(
            array['first_response_apart', 'dropped_waits', 'handoff_clock', 'bot_messages'], step
        ) asc

),

reply_steps as (

    select
        compared_waits.tenant_id,
        compared_waits.conversation_id,
        compared_waits.date,
        compared_waits.inbox_id,
        'reply_time' as metric,
        case
            when compared_waits.event_started_at = compared_waits.waiting_since
                then 'stored_value'
            when explained_waits.step is not null then explained_waits.step
            when not compared_waits.is_chatwoots then 'no_event'
            else 'contact_clock'
        end as step,
        compared_waits.is_ours::integer - compared_waits.is_chatwoots::integer as count_delta,
        compared_waits.sum_delta
    from compared_waits
    left join explained_waits
        on
            compared_waits.tenant_id = explained_waits.tenant_id
            and compared_waits.compared_id = explained_waits.compared_id

),

other_steps as (

    select * from stored_steps
    union all
    select * from resolution_steps
    union all
    select * from first_reply_steps
    union all
    select * from reply_steps

),

steps as (

    select * from chatwoot_steps

    union all

    select
        tenant_id,
        conversation_id,
        date,
        inbox_id,
        metric,
        step,
        sum(count_delta) as count_delta,
        sum(sum_delta) as sum_delta
    from other_steps
    where count_delta <> 0 or sum_delta <> 0
    group by tenant_id, conversation_id, date, inbox_id, metric, step

),

final as (

    select
        tenant_id,
        conversation_id::bigint as conversation_id,
        date,
        inbox_id::bigint as inbox_id,
        metric,
        step,
        count_delta::bigint as count_delta,
        sum_delta::numeric as sum_delta
    from steps
    where
        tenant_id is not null
        and (count_delta <> 0 or sum_delta <> 0)

)

select * from final
{% if not is_incremental() %}
-- the rows of a day beside each other: that is how they are read from here on
order by tenant_id, date, inbox_id
{% endif %}
