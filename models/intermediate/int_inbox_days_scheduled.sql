{# A table because every interval looks up its two ends here: 8,000 days of 11 inboxes in 0.1 s. #}
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['tenant_id', 'inbox_id'],
    indexes=[{'columns': ['tenant_id', 'inbox_id', 'local_date'], 'unique': true}],
    post_hook=[{'sql': '{{ analyze_once() }}', 'transaction': false}],
) }}

with inboxes as (

    select * from {{ ref('int_inboxes_scoped_to_tenants') }}
    where working_hours_enabled

),

settings as (

    select * from {{ ref('int_inbox_settings') }}

),

working_hours as (

    select distinct on (inbox_id, day_of_week) *
    from {{ ref('stg_chatwoot__working_hours') }}
    order by inbox_id asc, day_of_week asc, working_hour_id desc

),

conversations as (

    select * from {{ ref('int_conversations_scoped_to_tenants') }}
    {{ only_touched('where') }}

),

messages as (

    select * from {{ ref('int_messages_aggregated_to_conversations') }}
    where
        first_contact_message_at is not null
        {{ only_touched('and') }}

),

-- Every interval lies between a contact's first message and the conversation's last. A broken clock
-- may say any year; outside of these nothing is timed.
spans as (

    select
        conversations.tenant_id,
        conversations.inbox_id,
        greatest(min(messages.first_contact_message_at), '2000-01-01 00:00+00') as first_at,
        least(max(messages.last_message_at), '2100-01-01 00:00+00') as last_at
    from messages
    inner join conversations
        on
            messages.tenant_id = conversations.tenant_id
            and messages.conversation_id = conversations.conversation_id
    group by conversations.tenant_id, conversations.inbox_id

),

{%- if is_incremental() %}

-- A calendar only grows; it is made again where it is too short, or the hours may have changed.
known_spans as (

    select
        tenant_id,
        inbox_id,
        min(local_date) as first_date,
        max(local_date) as last_date,
        min(opens_at) as first_at,
        max(opens_at) as last_at,
        min(settings_md5) as settings_md5
    from {{ this }}
    group by tenant_id, inbox_id

),

-- Materialized: it is none or a few, and the planner, who expects one, would make the calendar of
-- every inbox again for each that was touched.
wanted_spans as materialized (

    select
        spans.tenant_id,
        spans.inbox_id,
        least(spans.first_at, known_spans.first_at) as first_at,
        greatest(spans.last_at, known_spans.last_at) as last_at
    from spans
    inner join inboxes
        on
            spans.tenant_id = inboxes.tenant_id
            and spans.inbox_id = inboxes.inbox_id
    inner join settings on spans.inbox_id = settings.inbox_id
    left join known_spans
        on
            spans.tenant_id = known_spans.tenant_id
            and spans.inbox_id = known_spans.inbox_id
    where
        known_spans.settings_md5 is distinct from settings.settings_md5
        or (spans.first_at at time zone inboxes.inbox_timezone)::date < known_spans.first_date
        or (spans.last_at at time zone inboxes.inbox_timezone)::date > known_spans.last_date

),
{%- endif %}

local_days as (

    select
        inboxes.tenant_id,
        inboxes.inbox_id,
        inboxes.inbox_timezone,
        settings.settings_md5,
        series.midnight::date as local_date
    from inboxes
    inner join settings on inboxes.inbox_id = settings.inbox_id
    inner join {{ 'wanted_spans' if is_incremental() else 'spans' }} as spans
        on
            inboxes.tenant_id = spans.tenant_id
            and inboxes.inbox_id = spans.inbox_id
    cross join lateral generate_series(
        (spans.first_at at time zone inboxes.inbox_timezone)::date,
        (spans.last_at at time zone inboxes.inbox_timezone)::date,
        interval '1 day'
    ) as series (midnight)

),

-- Chatwoot keeps an open day as 00:00 to 23:59: its last minute is open too.
opened as (

    select
        local_days.tenant_id,
        local_days.inbox_id,
        local_days.inbox_timezone,
        local_days.settings_md5,
        local_days.local_date,
        case
            when working_hours.is_closed_all_day then 0
            when working_hours.is_open_all_day then 0
            else working_hours.open_hour * 60 + working_hours.open_minutes
        end as opens_minute,
        case
            when working_hours.is_closed_all_day then 0
            when working_hours.is_open_all_day then 24 * 60
            else working_hours.close_hour * 60 + working_hours.close_minutes
        end as closes_minute
    from local_days
    left join working_hours
        on
            local_days.inbox_id = working_hours.inbox_id
            and extract(dow from local_days.local_date) = working_hours.day_of_week

),

-- The wall clock of the inbox's zone: a day on which clocks change is as long as it was.
clocked as (

    select
        tenant_id,
        inbox_id,
        settings_md5,
        local_date,
        (local_date + make_interval(mins => coalesce(opens_minute, 0)))
        at time zone inbox_timezone as opens_at,
        (
            local_date
            + make_interval(mins => greatest(coalesce(opens_minute, 0), coalesce(closes_minute, 0)))
        ) at time zone inbox_timezone as closes_at
    from opened

),

final as (

    select
        tenant_id,
        inbox_id,
        coalesce(
            sum(extract(epoch from closes_at - opens_at)) over (
                partition by tenant_id, inbox_id
                order by local_date
                rows between unbounded preceding and 1 preceding
            ),
            0
        )::bigint as open_seconds_before,
        local_date,
        opens_at,
        closes_at,
        settings_md5
    from clocked

)

select * from final
