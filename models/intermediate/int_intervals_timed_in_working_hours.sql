{# A table for its row counts: as a view it is guessed to have one row, and joined row by row. For
   that reason too the ends are looked up by index one by one: joined, 12,000 took 3.3 s. #}
{{ config(
    materialized='incremental',
    incremental_strategy='touched_conversations',
    indexes=[{
        'columns': ['conversation_id', 'interval_kind', 'started_at'],
        'unique': true,
    }],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

-- The one place where business seconds are counted. An inbox without working hours has no rows.
with inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}
    where working_hours_enabled

),

-- not materialized: looked up by its index
days as not materialized (

    select * from {{ ref('int_inbox_days_scheduled') }}

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

first_replies as (

    select * from {{ ref('int_first_replies_timed') }}
    {{ only_touched('where') }}

),

waits as (

    select * from {{ ref('int_waits_found_in_messages') }}
    where
        ended_by = 'agent'
        {{ only_touched('and') }}

),

intervals as (

    select
        conversations.tenant_id,
        conversations.conversation_id,
        conversations.inbox_id,
        'first_reply' as interval_kind,
        first_replies.started_at,
        first_replies.first_reply_at as ended_at
    from first_replies
    inner join conversations
        on
            first_replies.tenant_id = conversations.tenant_id
            and first_replies.conversation_id = conversations.conversation_id

    union all

    select
        waits.tenant_id,
        waits.conversation_id,
        waits.inbox_id,
        'wait' as interval_kind,
        waits.waiting_since as started_at,
        waits.ended_at
    from waits

),

final as (

    select
        intervals.tenant_id,
        intervals.conversation_id,
        intervals.interval_kind,
        floor(
            {{ open_seconds_until('intervals.ended_at', 'last_days') }}
            - {{ open_seconds_until('intervals.started_at', 'first_days') }}
        )::bigint as business_seconds,
        intervals.started_at
    from intervals
    inner join inboxes
        on
            intervals.tenant_id = inboxes.tenant_id
            and intervals.inbox_id = inboxes.inbox_id
    cross join
        lateral (
            select
                days.open_seconds_before,
                days.opens_at,
                days.closes_at
            from days
            where
                intervals.tenant_id = days.tenant_id
                and intervals.inbox_id = days.inbox_id
                and (intervals.started_at at time zone inboxes.inbox_timezone)::date
                = days.local_date
            order by days.local_date
            limit 1
        ) as first_days
    cross join
        lateral (
            select
                days.open_seconds_before,
                days.opens_at,
                days.closes_at
            from days
            where
                intervals.tenant_id = days.tenant_id
                and intervals.inbox_id = days.inbox_id
                and (intervals.ended_at at time zone inboxes.inbox_timezone)::date
                = days.local_date
            order by days.local_date
            limit 1
        ) as last_days

)

select * from final
