"""One function per question. Rows are read as the app role, with the tenant set in the transaction.

Every number is computed here, in SQL, over the marts; what is left to Python is writing it down.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal, LiteralString

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.auth import LoadState, Visit
from warehouse.db import tenant_connection

if TYPE_CHECKING:
    from dashboard.export_files import Kind
    from dashboard.filters import Filters
    from dashboard.lists import Selection

Parameter = date | datetime | str | int | tuple[int, ...] | None
# Nothing on a page is older than this, whatever the data version says.
CACHE_SECONDS = 300
# A chart of a longer period has a point a week.
DAYS_BY_DAY = 92

COVERAGE: LiteralString = """
select
    exists (
        select 1 from marts.dim_tenants where tenant_id = %(tenant_id)s
    ) as is_built,
    exists (
        select 1 from marts.dim_inboxes where tenant_id = %(tenant_id)s
    ) as has_inboxes,
    min(date) as first_date,
    max(date) as last_date
from marts.agg_daily
where tenant_id = %(tenant_id)s
    and conversations > 0
"""

INBOXES: LiteralString = """
select
    inbox_id,
    name,
    channel
from marts.dim_inboxes
where tenant_id = %(tenant_id)s
order by name, inbox_id
"""

BRANDING: LiteralString = """
select
    display_name,
    primary_color,
    accent_color,
    logo_type,
    translate(encode(logo, 'base64'), chr(10), '') as logo
from app.tenant_branding
where tenant_id = %(tenant_id)s
"""

# What adds up is read from agg_daily, percentiles from an index of the facts alone
# (fct_conversations.yml). A day still running is compared with the same hours of the earlier one,
# which no day's sum knows: the earlier period's last day is counted from the facts.
OVERVIEW: LiteralString = """
with bounds as (

    select
        %(start)s::date as start_date,
        %(end)s::date as end_date,
        %(end)s::date - %(start)s::date + 1 as days,
        least(
            (%(end)s::date + 1)::timestamp,
            %(as_of)s::timestamptz at time zone %(timezone)s
        ) as local_end

),

periods as (

    select
        true as is_current,
        start_date,
        end_date,
        end_date as last_whole_date,
        'infinity'::timestamptz as end_at
    from bounds

    union all

    select
        false as is_current,
        start_date - days as start_date,
        end_date - days as end_date,
        least(end_date, local_end::date) - days - 1 as last_whole_date,
        (local_end - days * interval '1 day') at time zone %(timezone)s as end_at
    from bounds

),

summed as (

    select
        periods.is_current,
        sum(daily.conversations) as conversations,
        sum(daily.leads) as leads,
        sum(daily.qualified_leads) as qualified_leads,
        sum(daily.visits) as visits,
        sum(daily.conversions) as conversions,
        sum(daily.resolved_conversations) as resolved,
        sum(daily.contacted_conversations) as contacted,
        sum(daily.unanswered_conversations) as unanswered,
        sum(daily.scored_conversations) as scored,
        sum(daily.lead_score_sum) as lead_score_sum
    from periods
    inner join marts.agg_daily as daily
        on daily.tenant_id = %(tenant_id)s
        and daily.date between periods.start_date and periods.last_whole_date
        and (%(inbox_ids)s::bigint[] is null or daily.inbox_id = any(%(inbox_ids)s))
    group by periods.is_current

    union all

    select
        periods.is_current,
        count(*) as conversations,
        count(*) filter (where conversations.is_lead) as leads,
        count(*) filter (where conversations.is_qualified) as qualified_leads,
        count(*) filter (where conversations.is_visit_scheduled) as visits,
        count(*) filter (where conversations.is_converted) as conversions,
        count(*) filter (where conversations.status = 'resolved') as resolved,
        count(*) filter (where conversations.contact_message_count > 0) as contacted,
        count(*) filter (
            where conversations.contact_message_count > 0 and conversations.agent_message_count = 0
        ) as unanswered,
        count(conversations.lead_score) as scored,
        sum(conversations.lead_score) as lead_score_sum
    from periods
    inner join marts.fct_conversations as conversations
        on conversations.tenant_id = %(tenant_id)s
        and conversations.created_date > periods.last_whole_date
        and conversations.created_date between periods.start_date and periods.end_date
        and conversations.created_at < periods.end_at
        and (%(inbox_ids)s::bigint[] is null or conversations.inbox_id = any(%(inbox_ids)s))
    where periods.last_whole_date < periods.end_date
    group by periods.is_current

),

counted as (

    select
        periods.is_current,
        periods.start_date,
        periods.end_date,
        coalesce(sum(summed.conversations), 0)::bigint as conversations,
        coalesce(sum(summed.leads), 0)::bigint as leads,
        coalesce(sum(summed.qualified_leads), 0)::bigint as qualified_leads,
        coalesce(sum(summed.visits), 0)::bigint as visits,
        coalesce(sum(summed.conversions), 0)::bigint as conversions,
        coalesce(sum(summed.resolved), 0)::bigint as resolved,
        coalesce(sum(summed.contacted), 0)::bigint as contacted,
        coalesce(sum(summed.unanswered), 0)::bigint as unanswered,
        coalesce(sum(summed.scored), 0)::bigint as scored,
        sum(summed.lead_score_sum) as lead_score_sum,
        measured.contacts,
        measured.first_replies,
        measured.percentiles[1] as first_reply_median_seconds,
        measured.percentiles[2] as first_reply_p90_seconds
    from periods
    left join summed on periods.is_current = summed.is_current
    cross join lateral (
        -- One sort for both percentiles.
        select
            count(distinct contact_id) as contacts,
            count(first_reply_seconds) as first_replies,
            percentile_cont(array[0.5, 0.9]) within group (
                order by first_reply_seconds
            ) as percentiles
        from marts.fct_conversations
        where tenant_id = %(tenant_id)s
            and created_date between periods.start_date and periods.end_date
            and created_at < periods.end_at
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as measured
    group by
        periods.is_current,
        periods.start_date,
        periods.end_date,
        measured.contacts,
        measured.first_replies,
        measured.percentiles

),

rated as (

    select
        *,
        leads::double precision / nullif(conversations, 0) as lead_rate,
        qualified_leads::double precision / nullif(leads, 0) as qualified_of_leads,
        visits::double precision / nullif(leads, 0) as visits_of_leads,
        conversions::double precision / nullif(leads, 0) as crm_rate,
        conversions::double precision / nullif(visits, 0) as visit_rate,
        resolved::double precision / nullif(conversations, 0) as resolved_share,
        unanswered::double precision / nullif(contacted, 0) as unanswered_share,
        scored::double precision / nullif(conversations, 0) as score_coverage,
        (lead_score_sum / nullif(scored, 0))::double precision as mean_score
    from counted

)

select
    present.conversations,
    present.contacts,
    present.leads,
    present.qualified_leads,
    present.visits,
    present.conversions,
    present.resolved,
    present.contacted,
    present.unanswered,
    present.scored,
    present.first_replies,
    present.lead_rate,
    present.qualified_of_leads,
    present.visits_of_leads,
    present.crm_rate,
    present.visit_rate,
    present.resolved_share,
    present.unanswered_share,
    present.score_coverage,
    present.mean_score,
    present.first_reply_median_seconds,
    present.first_reply_p90_seconds,
    earlier.start_date as previous_start,
    earlier.end_date as previous_end,
    earlier.conversations as previous_conversations,
    earlier.contacts as previous_contacts,
    earlier.leads as previous_leads,
    earlier.qualified_leads as previous_qualified_leads,
    earlier.conversions as previous_conversions,
    earlier.resolved_share as previous_resolved_share,
    earlier.lead_rate as previous_lead_rate,
    earlier.crm_rate as previous_crm_rate,
    earlier.unanswered_share as previous_unanswered_share,
    earlier.mean_score as previous_mean_score,
    earlier.first_reply_median_seconds as previous_first_reply_median_seconds,
    present.conversations::double precision
        / nullif(earlier.conversations, 0) - 1 as conversations_change,
    present.contacts::double precision / nullif(earlier.contacts, 0) - 1 as contacts_change,
    present.qualified_leads::double precision
        / nullif(earlier.qualified_leads, 0) - 1 as qualified_leads_change,
    present.resolved_share - earlier.resolved_share as resolved_change,
    present.lead_rate - earlier.lead_rate as lead_rate_change,
    present.crm_rate - earlier.crm_rate as crm_rate_change,
    present.unanswered_share - earlier.unanswered_share as unanswered_change,
    present.mean_score - earlier.mean_score as score_change,
    present.first_reply_median_seconds
        / nullif(earlier.first_reply_median_seconds, 0) - 1 as first_reply_change
from rated as present
inner join rated as earlier on not earlier.is_current
where present.is_current
"""

# Fourteen parts of equal length, as far as days allow; the median reads the facts' index alone.
TREND: LiteralString = """
with parts as (

    select
        (least(14, days) * position / days)::integer as part,
        min(%(start)s::date + position) as start_date,
        max(%(start)s::date + position) as end_date
    -- Without the day that is still running, unless there is no other.
    from (
        select greatest(
            least(%(end)s::date, (%(as_of)s::timestamptz at time zone %(timezone)s)::date - 1),
            %(start)s::date
        ) - %(start)s::date + 1 as days
    ) as period
    cross join generate_series(0, days - 1) as position
    group by part

)

select
    parts.start_date,
    parts.end_date,
    coalesce(summed.conversations, 0)::double precision
        / (parts.end_date - parts.start_date + 1) as conversations_per_day,
    measured.contacts,
    coalesce(summed.qualified_leads, 0)::double precision
        / (parts.end_date - parts.start_date + 1) as qualified_per_day,
    (summed.resolved / nullif(summed.conversations, 0))::double precision as resolved_share,
    (summed.leads / nullif(summed.conversations, 0))::double precision as lead_rate,
    (summed.conversions / nullif(summed.leads, 0))::double precision as crm_rate,
    (summed.unanswered / nullif(summed.contacted, 0))::double precision as unanswered_share,
    (summed.lead_score_sum / nullif(summed.scored, 0))::double precision as mean_score,
    measured.first_reply_median_seconds
from parts
cross join lateral (
    select
        sum(conversations) as conversations,
        sum(leads) as leads,
        sum(qualified_leads) as qualified_leads,
        sum(conversions) as conversions,
        sum(resolved_conversations) as resolved,
        sum(contacted_conversations) as contacted,
        sum(unanswered_conversations) as unanswered,
        sum(scored_conversations) as scored,
        sum(lead_score_sum) as lead_score_sum
    from marts.agg_daily
    where tenant_id = %(tenant_id)s
        and date between parts.start_date and parts.end_date
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
) as summed
cross join lateral (
    select
        count(distinct contact_id) as contacts,
        percentile_cont(0.5) within group (
            order by first_reply_seconds
        ) as first_reply_median_seconds
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and created_date between parts.start_date and parts.end_date
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
) as measured
order by parts.part
"""

# Who waits is counted in an index alone (fct_conversations.yml); only those shown are looked up.
WAITING: LiteralString = """
with waiting as (

    select
        tenant_id,
        conversation_id,
        waiting_since,
        extract(epoch from %(as_of)s::timestamptz - waiting_since)::bigint as waiting_seconds,
        count(*) over () as waiting,
        min(waiting_since) over () as longest_since
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and is_waiting
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    order by
        case when %(newest)s = 1 then waiting_since end desc nulls last,
        waiting_since asc nulls last,
        conversation_id asc
    limit %(rows)s

)

select
    waiting.conversation_id,
    coalesce(nullif(trim(conversations.contact_name), ''), conversations.contact_phone) as contact,
    conversations.inbox_id,
    waiting.waiting_since,
    waiting.waiting_seconds,
    waiting.waiting,
    extract(
        epoch from %(as_of)s::timestamptz - waiting.longest_since
    )::bigint as longest_seconds
from waiting
inner join marts.fct_conversations as conversations
    on waiting.tenant_id = conversations.tenant_id
    and waiting.conversation_id = conversations.conversation_id
order by
    case when %(newest)s = 1 then waiting.waiting_since end desc nulls last,
    waiting.waiting_since asc nulls last,
    waiting.conversation_id asc
"""

CONVERSATIONS_PER_DAY: LiteralString = """
with days as (

    select
        calendar.day::date as date,
        coalesce(sum(daily.conversations), 0)::bigint as conversations,
        calendar.day::date >= (%(as_of)s::timestamptz at time zone %(timezone)s)::date
            as is_running
    from generate_series(
        %(start)s::timestamp, %(end)s::timestamp, interval '1 day'
    ) as calendar (day)
    left join marts.agg_daily as daily
        on daily.tenant_id = %(tenant_id)s
        and daily.date = calendar.day::date
        and (%(inbox_ids)s::bigint[] is null or daily.inbox_id = any(%(inbox_ids)s))
    group by calendar.day

)

select
    date,
    conversations,
    is_running,
    sum(conversations) over ()::bigint as total,
    (avg(conversations) filter (where not is_running) over ())::double precision as mean_per_day,
    first_value(date) over (order by conversations desc, date) as busiest_date,
    max(conversations) over () as busiest_conversations
from days
order by date
"""

# One row a person: contacts with the same phone are one, by their latest conversation. Whoever
# asked not to be written to is told by contact, phone and e-mail, with and without the ninth digit
# of Brazil (macros/phone_key.sql, person_key.sql); what the two functions of app give is of the
# transaction's tenant.
PEOPLE: LiteralString = r"""
with chosen as (

    select
        conversations.*,
        regexp_replace(
            conversations.contact_phone, '^([+]55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2'
        ) as phone_key,
        nullif(lower(btrim(conversations.contact_email)), '') as email_key
    from marts.fct_conversations as conversations
    where CONDITION

),

people as (

    select distinct on (
        coalesce(phone_key, contact_id::text, 'conversation ' || conversation_id)
    )
        *,
        coalesce(contact_id in (select app.opted_out_contacts()), false)
        or coalesce(
            sha256(convert_to(tenant_id || ':phone:' || phone_key, 'utf8'))
            in (select app.opted_out_keys()),
            false
        )
        or coalesce(
            sha256(convert_to(tenant_id || ':email:' || email_key, 'utf8'))
            in (select app.opted_out_keys()),
            false
        ) as is_opted_out
    from chosen
    order by
        coalesce(phone_key, contact_id::text, 'conversation ' || conversation_id),
        created_at desc,
        conversation_id desc

)
"""

EXPORT_COUNTS: LiteralString = (
    PEOPLE  # noqa: S608  # constants alone
    + """
select
    (select count(*) from chosen) as conversations,
    count(*) filter (where not is_opted_out) as people,
    count(*) filter (where is_opted_out) as opted_out,
    count(*) filter (where not is_opted_out and contact_phone is null) as without_phone
from people
"""
)

EXPORT_PEOPLE: LiteralString = (
    PEOPLE
    + """
select
    people.*,
    inboxes.name as inbox_name,
    agents.name as agent_name,
    case
        when people.is_converted then 'converted'
        when people.is_visit_scheduled then 'visit_scheduled'
        when people.is_qualified then 'qualified'
        when people.is_lead then 'lead'
    end as stage,
    floor(
        extract(epoch from %(as_of)s::timestamptz - people.last_message_at)
    )::bigint as idle_seconds
from people
left join marts.dim_inboxes as inboxes
    on people.tenant_id = inboxes.tenant_id
    and people.inbox_id = inboxes.inbox_id
left join marts.dim_agents as agents
    on people.tenant_id = agents.tenant_id
    and people.agent_id = agents.agent_id
where not people.is_opted_out
order by people.created_at desc, people.conversation_id desc
"""
)

EXPORT_CONVERSATIONS: LiteralString = """
select
    conversations.*,
    inboxes.name as inbox_name,
    agents.name as agent_name
from marts.fct_conversations as conversations
left join marts.dim_inboxes as inboxes
    on conversations.tenant_id = inboxes.tenant_id
    and conversations.inbox_id = inboxes.inbox_id
left join marts.dim_agents as agents
    on conversations.tenant_id = agents.tenant_id
    and conversations.agent_id = agents.agent_id
where CONDITION
order by conversations.created_at desc, conversations.conversation_id desc
"""
PREVIEW_ROWS = 8

# ---- service ----

# The period and as many days right before it, a running day up to the same time of day.
PERIODS: LiteralString = """
with bounds as (

    select
        %(start)s::date as start_date,
        %(end)s::date as end_date,
        %(end)s::date - %(start)s::date + 1 as days,
        least(
            (%(end)s::date + 1)::timestamp,
            %(as_of)s::timestamptz at time zone %(timezone)s
        ) as local_end

),

periods as (

    select
        true as is_current,
        start_date,
        end_date,
        'infinity'::timestamptz as end_at
    from bounds

    union all

    select
        false as is_current,
        start_date - days as start_date,
        end_date - days as end_date,
        (local_end - days * interval '1 day') at time zone %(timezone)s as end_at
    from bounds

)
"""

SERVICE: LiteralString = (
    PERIODS
    + """,

replied as (

    select
        periods.is_current,
        measured.*
    from periods
    cross join lateral (
        select
            count(*) as replies,
            percentile_cont(array[0.5, 0.9]) within group (order by wait_seconds) as waits,
            percentile_cont(0.5) within group (
                order by wait_business_seconds
            ) as business_median
        from marts.fct_replies
        where tenant_id = %(tenant_id)s
            and replied_date between periods.start_date and periods.end_date
            and replied_at < periods.end_at
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as measured

),

created as (

    select
        periods.is_current,
        measured.*
    from periods
    cross join lateral (
        select
            count(*) as conversations,
            count(first_reply_seconds) as first_replies,
            percentile_cont(array[0.5, 0.9]) within group (
                order by first_reply_seconds
            ) as waits,
            percentile_cont(0.5) within group (
                order by first_reply_business_seconds
            ) as business_median,
            count(*) filter (where reopen_count > 0) as reopened,
            count(*) filter (where is_one_touch) as one_touch,
            count(*) filter (where is_bot_resolved) as bot_resolved
        from marts.fct_conversations
        where tenant_id = %(tenant_id)s
            and created_date between periods.start_date and periods.end_date
            and created_at < periods.end_at
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as measured

),

resolved as (

    select
        periods.is_current,
        measured.*
    from periods
    cross join lateral (
        select
            count(*) as first_resolutions,
            percentile_cont(array[0.5, 0.9]) within group (
                order by first_resolution_seconds
            ) as spans
        from marts.fct_conversations
        where tenant_id = %(tenant_id)s
            and first_resolved_date between periods.start_date and periods.end_date
            and first_resolved_at < periods.end_at
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as measured

),

answered as (

    select
        periods.is_current,
        measured.*
    from periods
    cross join lateral (
        select
            count(csat_rating) as ratings,
            count(*) filter (where csat_rating >= 4) as good_ratings
        from marts.fct_conversations
        where tenant_id = %(tenant_id)s
            and csat_answered_date between periods.start_date and periods.end_date
            and csat_answered_at < periods.end_at
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as measured

),

rated as (

    select
        periods.is_current,
        periods.start_date,
        periods.end_date,
        replied.replies,
        replied.waits[1] as reply_median_seconds,
        replied.waits[2] as reply_p90_seconds,
        replied.business_median as reply_business_median_seconds,
        created.conversations,
        created.first_replies,
        created.waits[1] as first_reply_median_seconds,
        created.waits[2] as first_reply_p90_seconds,
        created.business_median as first_reply_business_median_seconds,
        created.reopened,
        created.one_touch,
        created.bot_resolved,
        created.reopened::double precision / nullif(created.conversations, 0) as reopened_share,
        created.one_touch::double precision / nullif(created.conversations, 0)
            as one_touch_share,
        created.bot_resolved::double precision / nullif(created.conversations, 0)
            as bot_resolved_share,
        resolved.first_resolutions,
        resolved.spans[1] as resolution_median_seconds,
        resolved.spans[2] as resolution_p90_seconds,
        answered.ratings,
        answered.good_ratings,
        answered.good_ratings::double precision / nullif(answered.ratings, 0) as csat
    from periods
    inner join replied on periods.is_current = replied.is_current
    inner join created on periods.is_current = created.is_current
    inner join resolved on periods.is_current = resolved.is_current
    inner join answered on periods.is_current = answered.is_current

)

select
    present.*,
    earlier.start_date as previous_start,
    earlier.end_date as previous_end,
    earlier.reply_median_seconds as previous_reply_median_seconds,
    earlier.first_reply_median_seconds as previous_first_reply_median_seconds,
    earlier.resolution_median_seconds as previous_resolution_median_seconds,
    earlier.reopened_share as previous_reopened_share,
    earlier.one_touch_share as previous_one_touch_share,
    earlier.bot_resolved_share as previous_bot_resolved_share,
    earlier.csat as previous_csat,
    present.reply_median_seconds
        / nullif(earlier.reply_median_seconds, 0) - 1 as reply_change,
    present.first_reply_median_seconds
        / nullif(earlier.first_reply_median_seconds, 0) - 1 as first_reply_change,
    present.resolution_median_seconds
        / nullif(earlier.resolution_median_seconds, 0) - 1 as resolution_change,
    present.reopened_share - earlier.reopened_share as reopened_change,
    present.one_touch_share - earlier.one_touch_share as one_touch_change,
    present.bot_resolved_share - earlier.bot_resolved_share as bot_resolved_change,
    present.csat - earlier.csat as csat_change,
    %(end)s::date >= (%(as_of)s::timestamptz at time zone %(timezone)s)::date as is_running
from rated as present
inner join rated as earlier on not earlier.is_current
where present.is_current
"""
)

WAITING_NOW: LiteralString = """
select
    count(*) filter (where is_waiting) as waiting,
    extract(
        epoch from %(as_of)s::timestamptz - min(waiting_since)
    )::double precision as longest_seconds,
    count(*) as unresolved,
    count(*) filter (where agent_id is null) as unassigned
from marts.fct_conversations
where tenant_id = %(tenant_id)s
    and status in ('open', 'pending', 'snoozed')
    and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
"""

# Days, weeks or months by the length of the period, cut at its ends; every one has a row.
CALENDAR: LiteralString = """
with calendar as (

    select
        grain,
        min(day) as start_date,
        max(day) as end_date
    from (
        select
            grain,
            (%(start)s::date + position) as day,
            date_trunc(grain, (%(start)s::date + position)::timestamp) as step
        from (
            select
                days,
                case when days <= 31 then 'day' when days <= 182 then 'week' else 'month' end
                    as grain
            from (select %(end)s::date - %(start)s::date + 1 as days) as period
        ) as grained
        cross join generate_series(0, days - 1) as position
    ) as days_of_steps
    group by grain, step

),
"""

# The largest inboxes each by itself, the others as one.
CONVERSATIONS_BY_INBOX: LiteralString = (
    CALENDAR  # noqa: S608  # two constants
    + """
summed as (

    select
        calendar.start_date,
        daily.inbox_id,
        sum(daily.conversations)::bigint as conversations
    from calendar
    inner join marts.agg_daily as daily
        on daily.tenant_id = %(tenant_id)s
        and daily.date between calendar.start_date and calendar.end_date
        and (%(inbox_ids)s::bigint[] is null or daily.inbox_id = any(%(inbox_ids)s))
    group by calendar.start_date, daily.inbox_id

),

ranked as (

    select
        inbox_id,
        sum(conversations) as conversations,
        least(
            row_number() over (order by sum(conversations) desc, inbox_id), %(largest)s + 1
        ) as rank
    from summed
    group by inbox_id
    having sum(conversations) > 0

),

shown as (

    select
        rank,
        array_agg(inbox_id order by inbox_id) as inbox_ids,
        sum(conversations)::bigint as inbox_conversations,
        (sum(conversations) / sum(sum(conversations)) over ())::double precision as inbox_share,
        (sum(sum(conversations)) over ())::bigint as total
    from ranked
    group by rank

)

select
    calendar.grain,
    calendar.start_date,
    calendar.end_date,
    shown.rank,
    shown.inbox_ids,
    shown.inbox_conversations,
    shown.inbox_share,
    shown.total,
    coalesce(counted.conversations, 0)::bigint as conversations
from calendar
cross join shown
cross join lateral (
    select sum(summed.conversations) as conversations
    from summed
    where summed.start_date = calendar.start_date
        and summed.inbox_id = any(shown.inbox_ids)
) as counted
order by shown.rank, calendar.start_date
"""
)

# A later stage implies the earlier: `only` is how far a conversation came, the rest adds up.
CONVERSIONS_OVER_TIME: LiteralString = (
    CALENDAR
    + """
summed as (

    select
        calendar.grain,
        calendar.start_date,
        calendar.end_date,
        coalesce(daily.leads, 0)::bigint as leads,
        coalesce(daily.visits, 0)::bigint as visits,
        coalesce(daily.conversions, 0)::bigint as conversions
    from calendar
    cross join lateral (
        select
            sum(leads) as leads,
            sum(visits) as visits,
            sum(conversions) as conversions
        from marts.agg_daily
        where tenant_id = %(tenant_id)s
            and date between calendar.start_date and calendar.end_date
            and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    ) as daily

)

select
    *,
    leads - visits as only_leads,
    visits - conversions as only_visits,
    sum(leads) over ()::bigint as total_leads,
    sum(visits) over ()::bigint as total_visits,
    sum(conversions) over ()::bigint as total_conversions
from summed
order by start_date
"""
)

STATUSES: LiteralString = """
with summed as (

    select
        sum(conversations) as conversations,
        sum(open_conversations) as open_conversations,
        sum(pending_conversations) as pending_conversations,
        sum(snoozed_conversations) as snoozed_conversations,
        sum(resolved_conversations) as resolved_conversations
    from marts.agg_daily
    where tenant_id = %(tenant_id)s
        and date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))

)

select
    by_status.status,
    by_status.conversations::bigint as conversations,
    (by_status.conversations / summed.conversations)::double precision as share
from summed
cross join lateral (
    values
    ('open', open_conversations),
    ('pending', pending_conversations),
    ('snoozed', snoozed_conversations),
    ('resolved', resolved_conversations),
    -- One that Chatwoot did not have when this was written.
    (
        null,
        conversations - open_conversations - pending_conversations - snoozed_conversations
        - resolved_conversations
    )
) as by_status (status, conversations)
where by_status.conversations > 0
order by by_status.conversations desc, by_status.status
"""

RHYTHM: LiteralString = """
with cells as (

    select
        isoweekday as weekday,
        hour,
        sum(conversations)::bigint as conversations
    from marts.agg_hourly
    where tenant_id = %(tenant_id)s
        and date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by isoweekday, hour

)

select
    weekdays.weekday,
    hours.hour,
    coalesce(cells.conversations, 0) as conversations,
    sum(coalesce(cells.conversations, 0)) over ()::bigint as total,
    first_value(weekdays.weekday) over busiest_first as busiest_weekday,
    first_value(hours.hour) over busiest_first as busiest_hour,
    max(coalesce(cells.conversations, 0)) over () as busiest_conversations
from generate_series(1, 7) as weekdays (weekday)
cross join generate_series(0, 23) as hours (hour)
left join cells on weekdays.weekday = cells.weekday and hours.hour = cells.hour
window busiest_first as (
    order by coalesce(cells.conversations, 0) desc, weekdays.weekday, hours.hour
)
order by weekdays.weekday, hours.hour
"""

FIRST_REPLY_DISTRIBUTION: LiteralString = """
with summed as (

    select
        sum(first_replies) as all_replies,
        sum(first_replies_under_5_minutes) as under_5_minutes,
        sum(first_replies_under_15_minutes) as under_15_minutes,
        sum(first_replies_under_1_hour) as under_1_hour,
        sum(first_replies_under_4_hours) as under_4_hours,
        sum(first_replies_under_1_day) as under_1_day
    from marts.agg_daily
    where tenant_id = %(tenant_id)s
        and date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))

)

select
    bands.reply_from,
    bands.reply_to,
    coalesce(bands.up_to - bands.before, 0)::bigint as conversations,
    nullif(summed.all_replies, 0)::bigint as total,
    ((bands.up_to - bands.before) / nullif(summed.all_replies, 0))::double precision as share,
    (bands.up_to / nullif(summed.all_replies, 0))::double precision as share_up_to
from summed
cross join lateral (
    values
    (0, 300, 0, under_5_minutes),
    (300, 900, under_5_minutes, under_15_minutes),
    (900, 3600, under_15_minutes, under_1_hour),
    (3600, 14400, under_1_hour, under_4_hours),
    (14400, 86400, under_4_hours, under_1_day),
    (86400, null, under_1_day, all_replies)
) as bands (reply_from, reply_to, before, up_to)
order by bands.reply_from
"""

# Best first by one measure; what rests on fewer conversations than `enough` comes after the rest.
CHANNELS: LiteralString = """
with counted as (

    select
        case when %(by)s = 'channel' then channel else inbox_id::text end as part,
        count(*) as conversations,
        count(*) filter (where is_lead) as leads,
        count(*) filter (where is_visit_scheduled) as visits,
        count(*) filter (where is_converted) as conversions,
        count(*) filter (where contact_message_count > 0) as contacted,
        count(*) filter (
            where contact_message_count > 0 and agent_message_count = 0
        ) as unanswered,
        count(lead_score) as scored,
        avg(lead_score)::double precision as mean_score,
        count(first_reply_seconds) as first_replies,
        percentile_cont(array[0.5, 0.9]) within group (
            order by first_reply_seconds
        ) as percentiles
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and created_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by part

),

parts as (

    -- Those without a conversation too.
    select case when %(by)s = 'channel' then channel else inbox_id::text end as part
    from marts.dim_inboxes
    where tenant_id = %(tenant_id)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))

    union

    select part from counted

),

rated as (

    select
        parts.part,
        coalesce(counted.conversations, 0) as conversations,
        coalesce(counted.leads, 0) as leads,
        coalesce(counted.visits, 0) as visits,
        coalesce(counted.conversions, 0) as conversions,
        coalesce(counted.contacted, 0) as contacted,
        coalesce(counted.unanswered, 0) as unanswered,
        coalesce(counted.scored, 0) as scored,
        coalesce(counted.first_replies, 0) as first_replies,
        counted.leads::double precision / nullif(counted.conversations, 0) as lead_rate,
        counted.conversions::double precision / nullif(counted.leads, 0) as crm_rate,
        counted.unanswered::double precision / nullif(counted.contacted, 0) as unanswered_share,
        counted.mean_score,
        counted.percentiles[1] as first_reply_median_seconds,
        counted.percentiles[2] as first_reply_p90_seconds
    from parts
    left join counted on parts.part = counted.part

),

measured as (

    select
        *,
        case %(measure)s
            when 'lead_rate' then lead_rate
            when 'crm_rate' then crm_rate
            when 'conversations' then conversations
            when 'first_reply_median_seconds' then first_reply_median_seconds
            when 'unanswered_share' then unanswered_share
            when 'mean_score' then mean_score
        end as value,
        case %(measure)s
            when 'crm_rate' then leads
            when 'first_reply_median_seconds' then first_replies
            when 'unanswered_share' then contacted
            when 'mean_score' then scored
            else conversations
        end as sample
    from rated

),

judged as (

    select
        *,
        %(measure)s <> 'conversations' and sample < %(enough)s as is_small,
        case
            when %(measure)s in ('first_reply_median_seconds', 'unanswered_share') then value
            else -value
        end as worse
    from measured

)

select
    part,
    conversations,
    leads,
    visits,
    conversions,
    contacted,
    unanswered,
    scored,
    first_replies,
    lead_rate,
    crm_rate,
    unanswered_share,
    mean_score,
    first_reply_median_seconds,
    first_reply_p90_seconds,
    value,
    sample,
    is_small,
    row_number() over (
        order by is_small asc, worse asc nulls last, conversations desc, part asc
    ) as rank
from judged
order by rank
"""

# Of a conversation as conversations, at the last load; null under 24 hours.
IDLE_LEVEL: LiteralString = """case
    when conversations.last_message_at > %(as_of)s::timestamptz - interval '24 hours'
        then null
    when conversations.last_message_at > %(as_of)s::timestamptz - interval '48 hours'
        then 'recente'
    when conversations.last_message_at > %(as_of)s::timestamptz - interval '7 days'
        then 'medio'
    when conversations.last_message_at is not null then 'frio'
end"""

# How a list may be ordered; of equals the newest first.
ORDERS: dict[str, LiteralString] = {
    "espera": "conversations.is_waiting desc, conversations.waiting_since nulls last,"
    " conversations.conversation_id desc",
    # as the index of fct_conversations lies
    "novas": "conversations.created_date desc, conversations.created_at desc,"
    " conversations.conversation_id desc",
    "ultima": "conversations.last_message_at desc nulls last, conversations.conversation_id desc",
    "parada": "conversations.last_message_at nulls last, conversations.conversation_id desc",
    "score": "conversations.lead_score desc nulls last, conversations.conversation_id desc",
    "nome": "lower(conversations.contact_name) nulls last, conversations.conversation_id desc",
}

SELECTED: LiteralString = """
select count(*) as conversations
from marts.fct_conversations as conversations
where {condition}
"""

# First which rows, then all that is shown of them.
LEADS: LiteralString = """
with chosen as (

    select
        conversations.*,
        row_number() over (order by {order}) as position
    from marts.fct_conversations as conversations
    where {condition}
    order by {order}
    limit %(limit)s
    offset %(offset)s

)

select
    conversations.conversation_id,
    conversations.display_id,
    conversations.inbox_id,
    conversations.channel,
    conversations.status,
    conversations.contact_name,
    conversations.contact_phone,
    agents.name as agent_name,
    conversations.is_waiting,
    conversations.last_side,
    conversations.preview,
    conversations.last_message_at,
    case
        when conversations.is_converted then 'converted'
        when conversations.is_visit_scheduled then 'visit_scheduled'
        when conversations.is_lead then 'lead'
    end as stage,
    extract(
        epoch from greatest(%(as_of)s::timestamptz - conversations.last_message_at, interval '0')
    )::bigint as idle_seconds,
    extract(
        epoch from greatest(%(as_of)s::timestamptz - conversations.waiting_since, interval '0')
    )::bigint as waiting_seconds,
    {idle_level} as idle_level,
    queue.contact_id is not null as is_in_queue,
    extract(
        epoch from nullif(
            greatest(queue.free_window_ends_at - %(as_of)s::timestamptz, interval '0'),
            interval '0'
        )
    )::bigint as free_window_seconds,
    {score}
from chosen as conversations
left join marts.dim_agents as agents
    on agents.tenant_id = %(tenant_id)s
    and agents.agent_id = conversations.agent_id
left join marts.rpt_remarketing_queue as queue
    on queue.tenant_id = %(tenant_id)s
    and queue.contact_id = conversations.contact_id
    and queue.conversation_id = conversations.conversation_id
left join ai.corrections as corrections
    on corrections.tenant_id = %(tenant_id)s
    and corrections.conversation_id = conversations.conversation_id
order by conversations.position
"""

# Of a conversation as conversations and its row of ai.corrections: a build has taken a correction
# in once the score is of its moment.
SCORE: LiteralString = """
    conversations.lead_class,
    conversations.lead_score,
    conversations.sentiment,
    conversations.intent,
    conversations.ai_summary,
    conversations.ai_next_step,
    conversations.ai_provider,
    conversations.ai_status,
    corrections.corrected_at is not null
        and corrections.corrected_at is distinct from conversations.ai_scored_at
        as is_correction_pending,
    corrections.sentiment as corrected_sentiment,
    corrections.intent as corrected_intent,
    corrections.lead_class as corrected_lead_class,
    corrections.lead_score as corrected_lead_score,
    corrections.visit_scheduled as corrected_visit_scheduled,
    array(
        select evidence.sender_kind || ': ' || left(
            coalesce(evidence.content, evidence.attachment_placeholders, ''), 300
        )
        from marts.fct_messages as evidence
        where evidence.tenant_id = %(tenant_id)s
            and evidence.conversation_id = conversations.conversation_id
            and evidence.message_id = any(conversations.ai_evidence_message_ids)
            and not evidence.is_deleted
        order by evidence.created_at, evidence.message_id
        limit 8
    ) as evidence
"""

CONVERSATION: LiteralString = """
select
    conversations.conversation_id,
    conversations.display_id,
    conversations.account_id,
    conversations.inbox_id,
    conversations.channel,
    conversations.status,
    conversations.contact_name,
    conversations.contact_phone,
    agents.name as agent_name,
    conversations.labels,
    conversations.message_count,
    conversations.is_waiting,
    conversations.is_lead,
    conversations.is_visit_scheduled,
    conversations.created_at,
    conversations.ai_evidence_message_ids as evidence_message_ids,
    case
        when conversations.is_converted then 'converted'
        when conversations.is_visit_scheduled then 'visit_scheduled'
        when conversations.is_lead then 'lead'
    end as stage,
    {score}
from marts.fct_conversations as conversations
left join marts.dim_agents as agents
    on agents.tenant_id = %(tenant_id)s
    and agents.agent_id = conversations.agent_id
left join ai.corrections as corrections
    on corrections.tenant_id = %(tenant_id)s
    and corrections.conversation_id = conversations.conversation_id
where conversations.tenant_id = %(tenant_id)s
    and conversations.conversation_id = %(conversation_id)s
"""
MESSAGES: LiteralString = """
with latest as (

    select *
    from marts.fct_messages
    where tenant_id = %(tenant_id)s
        and conversation_id = %(conversation_id)s
    order by created_at desc, message_id desc
    limit %(limit)s

)

select
    latest.message_id,
    latest.sender_kind,
    agents.name as agent_name,
    latest.content,
    latest.attachment_placeholders,
    latest.attachment_count,
    latest.delivery_status,
    latest.is_deleted,
    latest.created_at
from latest
left join marts.dim_agents as agents
    on agents.tenant_id = %(tenant_id)s
    and agents.agent_id = latest.agent_id
order by latest.created_at, latest.message_id
"""

MESSAGES_OVER_TIME: LiteralString = """
with days as (

    select
        calendar.day::date as date,
        coalesce(sum(daily.contact_messages), 0)::bigint as contact_messages,
        coalesce(sum(daily.agent_messages), 0)::bigint as agent_messages,
        coalesce(sum(daily.bot_messages), 0)::bigint as bot_messages
    from generate_series(
        date_trunc(%(step)s, %(start)s::timestamp), %(end)s::timestamp,
        ('1 ' || %(step)s)::interval
    ) as calendar (day)
    left join marts.agg_daily as daily
        on daily.tenant_id = %(tenant_id)s
        and daily.date between %(start)s and %(end)s
        and date_trunc(%(step)s, daily.date::timestamp) = calendar.day
        and (%(inbox_ids)s::bigint[] is null or daily.inbox_id = any(%(inbox_ids)s))
    group by calendar.day

)

select
    date,
    contact_messages,
    agent_messages,
    bot_messages,
    sum(agent_messages) over ()::bigint as total_agent,
    sum(bot_messages) over ()::bigint as total_bot,
    sum(bot_messages) over ()::double precision
        / nullif(sum(agent_messages + bot_messages) over (), 0) as bot_share
from days
order by date
"""

RATINGS: LiteralString = """
select
    scale.rating,
    count(conversations.conversation_id) as answers,
    count(conversations.conversation_id)::double precision
        / nullif(sum(count(conversations.conversation_id)) over (), 0) as share
from generate_series(1, 5) as scale (rating)
left join marts.fct_conversations as conversations
    on conversations.tenant_id = %(tenant_id)s
    and conversations.csat_rating = scale.rating
    and conversations.csat_answered_date between %(start)s and %(end)s
    and (%(inbox_ids)s::bigint[] is null or conversations.inbox_id = any(%(inbox_ids)s))
group by scale.rating
order by scale.rating
"""

# ---- quality of the data ----

# Of a conversation as conversations; without a score: how the last try ended, if there was one.
AI_STATE: LiteralString = """coalesce(
    conversations.ai_status,
    (
        select scores.status
        from ai.score_failures as scores
        where scores.tenant_id = %(tenant_id)s
            and scores.conversation_id = conversations.conversation_id
        order by scores.scored_at desc
        limit 1
    ),
    'none'
)"""

AI_PROVIDER: LiteralString = "coalesce(conversations.ai_provider, 'none')"

AI_COVERAGE: LiteralString = (
    """
with counted as (

    select
        conversations.lead_score is not null as is_scored,
        """  # a constant
    + AI_STATE
    + """ as state,
        case when conversations.lead_score is not null then """
    + AI_PROVIDER
    + """ end as provider,
        count(*) as conversations,
        max(conversations.ai_scored_at) as last_scored_at
    from marts.fct_conversations as conversations
    where conversations.tenant_id = %(tenant_id)s
        and conversations.created_date between %(start)s and %(end)s
        and (
            %(inbox_ids)s::bigint[] is null or conversations.inbox_id = any(%(inbox_ids)s)
        )
    group by is_scored, state, provider

)

select
    is_scored,
    state,
    provider,
    conversations,
    conversations::double precision
        / nullif(sum(conversations) over (), 0)::double precision as share,
    sum(conversations) over ()::bigint as total,
    (coalesce(sum(conversations) filter (where is_scored) over (), 0))::bigint as scored,
    (sum(conversations) filter (where is_scored) over ())::double precision
        / nullif(sum(conversations) over (), 0)::double precision as coverage,
    max(last_scored_at) over () as last_scored_at
from counted
order by is_scored desc, conversations desc, state, provider
"""
)

PARITY: LiteralString = """
select
    metric,
    sum(chatwoot_count)::bigint as chatwoot_count,
    sum(our_count)::bigint as our_count,
    (sum(our_count) - sum(chatwoot_count))::bigint as count_difference,
    sum(chatwoot_sum)::double precision as chatwoot_seconds,
    sum(our_sum)::double precision as our_seconds,
    (sum(our_sum) - sum(chatwoot_sum))::double precision as seconds_difference,
    (sum(chatwoot_sum) / nullif(sum(chatwoot_count), 0))::double precision as chatwoot_mean,
    (sum(our_sum) / nullif(sum(our_count), 0))::double precision as our_mean,
    (
        sum(our_sum) / nullif(sum(our_count), 0)
        - sum(chatwoot_sum) / nullif(sum(chatwoot_count), 0)
    )::double precision as mean_difference
from marts.rpt_chatwoot_parity
where tenant_id = %(tenant_id)s
    and date between %(start)s and %(end)s
    and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
group by metric
order by metric
"""

PARITY_REASONS: LiteralString = """
select
    metric,
    reason,
    sum(count_delta)::bigint as count_delta,
    sum(sum_delta)::double precision as seconds_delta
from marts.rpt_chatwoot_parity_reasons
where tenant_id = %(tenant_id)s
    and date between %(start)s and %(end)s
    and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
group by metric, reason
having sum(count_delta) <> 0 or sum(sum_delta) <> 0
order by metric, reason = 'other', abs(sum(count_delta)) desc, reason
"""

GAPS: LiteralString = """
with conversations as (

    select
        count(*) as conversations,
        count(*) filter (where contact_phone is null) as without_phone,
        count(*) filter (
            where contact_phone is null and contact_email is null
        ) as without_address,
        count(*) filter (where contact_name is null or btrim(contact_name) = '') as without_name
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and created_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))

),

messages as (

    select
        count(*) as failed_messages,
        count(distinct conversation_id) as failed_conversations
    from marts.fct_messages
    where tenant_id = %(tenant_id)s
        and created_date between %(start)s and %(end)s
        and delivery_status = 'failed'
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))

)

select
    conversations.*,
    messages.*,
    conversations.without_phone::double precision
        / nullif(conversations.conversations, 0) as without_phone_share,
    conversations.without_address::double precision
        / nullif(conversations.conversations, 0) as without_address_share,
    conversations.without_name::double precision
        / nullif(conversations.conversations, 0) as without_name_share
from conversations
cross join messages
"""

# Functions of the control plane that check the session and what its role may know.
SOURCE_LOADS: LiteralString = "select * from app.source_loads(%s, %s)"
PIPELINE_STATE: LiteralString = "select * from app.pipeline_state(%s, %s)"
AI_BUDGET: LiteralString = "select * from app.ai_budget(%s, %s)"
INBOX_GAPS: LiteralString = "select * from app.inbox_gaps(%s, %s)"
AGENTS: LiteralString = """
select
    agent_id,
    name
from marts.dim_agents
where tenant_id = %(tenant_id)s
order by name, agent_id
"""

# agent_id 0 stands for nobody: no assignee, or a reply written in the channel's own app.
AGENT_NUMBERS: LiteralString = """
with replies as (

    select
        coalesce(agent_id, 0) as agent_id,
        count(*) as replies,
        count(*) filter (where is_first) as first_replies,
        percentile_cont(array[0.5, 0.9]) within group (order by wait_seconds) as waits,
        percentile_cont(0.5) within group (order by wait_business_seconds) as business_median
    from marts.fct_replies
    where tenant_id = %(tenant_id)s
        and replied_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by coalesce(agent_id, 0)

),

unresolved as (

    select
        coalesce(agent_id, 0) as agent_id,
        count(*) as assigned_now,
        count(*) filter (where is_waiting) as waiting_now
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and status in ('open', 'pending', 'snoozed')
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by coalesce(agent_id, 0)

),

created as (

    select
        coalesce(agent_id, 0) as agent_id,
        count(*) as conversations,
        count(*) filter (where reopen_count > 0) as reopened
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and created_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by coalesce(agent_id, 0)

),

resolved as (

    select
        coalesce(agent_id, 0) as agent_id,
        count(*) as first_resolutions
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and first_resolved_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by coalesce(agent_id, 0)

),

answered as (

    select
        coalesce(agent_id, 0) as agent_id,
        count(csat_rating) as ratings,
        count(*) filter (where csat_rating >= 4) as good_ratings
    from marts.fct_conversations
    where tenant_id = %(tenant_id)s
        and csat_answered_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by coalesce(agent_id, 0)

),

people as (

    select
        agent_id,
        name
    from marts.dim_agents
    where tenant_id = %(tenant_id)s

    union all

    select
        0 as agent_id,
        null as name

)

select
    people.agent_id,
    people.name,
    coalesce(unresolved.assigned_now, 0) as assigned_now,
    coalesce(unresolved.waiting_now, 0) as waiting_now,
    coalesce(replies.replies, 0) as replies,
    replies.waits[1] as reply_median_seconds,
    replies.waits[2] as reply_p90_seconds,
    replies.business_median as reply_business_median_seconds,
    coalesce(replies.first_replies, 0) as first_replies,
    coalesce(resolved.first_resolutions, 0) as first_resolutions,
    coalesce(created.conversations, 0) as conversations,
    coalesce(created.reopened, 0) as reopened,
    created.reopened::double precision / nullif(created.conversations, 0) as reopened_share,
    coalesce(answered.ratings, 0) as ratings,
    answered.good_ratings::double precision / nullif(answered.ratings, 0) as csat
from people
left join replies on people.agent_id = replies.agent_id
left join unresolved on people.agent_id = unresolved.agent_id
left join created on people.agent_id = created.agent_id
left join resolved on people.agent_id = resolved.agent_id
left join answered on people.agent_id = answered.agent_id
where coalesce(
    replies.agent_id, unresolved.agent_id, created.agent_id, resolved.agent_id, answered.agent_id
) is not null
order by people.agent_id = 0, replies desc, conversations desc, people.name, people.agent_id
"""

REPLY_TIMES: LiteralString = """
with measured as (

    select
        date_trunc(%(step)s, replied_date::timestamp)::date as date,
        count(*) as replies,
        percentile_cont(array[0.5, 0.9]) within group (order by wait_seconds) as waits
    from marts.fct_replies
    where tenant_id = %(tenant_id)s
        and replied_date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by date_trunc(%(step)s, replied_date::timestamp)

)

select
    calendar.day::date as date,
    coalesce(measured.replies, 0) as replies,
    measured.waits[1] as median_seconds,
    measured.waits[2] as p90_seconds
from generate_series(
    date_trunc(%(step)s, %(start)s::timestamp), %(end)s::timestamp, ('1 ' || %(step)s)::interval
) as calendar (day)
left join measured on calendar.day::date = measured.date
order by calendar.day
"""

BACKLOG: LiteralString = """
with days as (

    select
        date,
        sum(open_conversations)::bigint as open_conversations,
        bool_or(is_estimated) as is_estimated
    from marts.agg_backlog
    where tenant_id = %(tenant_id)s
        and date between %(start)s and %(end)s
        and (%(inbox_ids)s::bigint[] is null or inbox_id = any(%(inbox_ids)s))
    group by date

)

select
    date,
    open_conversations,
    is_estimated,
    first_value(open_conversations) over (order by date) as first_open,
    first_value(open_conversations) over (order by date desc) as last_open,
    first_value(date) over (order by open_conversations desc, date) as highest_date,
    max(open_conversations) over () as highest_open,
    min(date) filter (where not is_estimated) over () as observed_from
from days
order by date
"""


def coverage(visit: Visit) -> pd.DataFrame:
    """One row: is_built (the tenant reached the marts), has_inboxes, first_date and last_date
    of a conversation (NULL: none).
    """
    return _ask(visit, COVERAGE)


def inboxes(visit: Visit) -> pd.DataFrame:
    """One row an inbox: inbox_id, name, channel; by name."""
    return _ask(visit, INBOXES)


def branding(visit: Visit) -> pd.DataFrame:
    """One row, none without a look of its own: display_name, primary_color and accent_color
    (#rrggbb), logo in base64 and its logo_type; each may be NULL.
    """
    return _ask(visit, BRANDING)


def overview(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row: the KPIs of the period and inboxes chosen.

    conversations, contacts (different people among them), leads, qualified_leads, visits,
    conversions, resolved (now), contacted (with a contact message), unanswered, scored,
    first_replies; lead_rate, qualified_of_leads, visits_of_leads, crm_rate, visit_rate,
    resolved_share, unanswered_share and score_coverage as shares, NULL when the denominator is 0;
    mean_score (0 to 100); first_reply_median_seconds, first_reply_p90_seconds; previous_* for as
    many days right before, up to the same time of day when `end` is still running; *_change: a
    ratio for conversations, contacts, qualified_leads and first_reply, a difference for the others.
    """
    return _ask(visit, OVERVIEW, **_chosen(filters), **_clock(visit))


def trend(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a fourteenth of the period (a day where it has fewer): start_date, end_date,
    conversations_per_day, contacts, qualified_per_day, resolved_share, lead_rate, crm_rate,
    unanswered_share, mean_score, first_reply_median_seconds.
    """
    return _ask(visit, TREND, **_chosen(filters), **_clock(visit))


def waiting(
    visit: Visit, filters: "Filters", *, newest_first: bool = False, rows: int
) -> pd.DataFrame:
    """One row a conversation waiting now, whatever the period, the longest first: conversation_id,
    contact (name, else phone), inbox_id, waiting_since, waiting_seconds up to the last load.

    waiting_since is NULL where it was opened again and the contact has not written since: those
    come last. On every row the same: waiting (how many there are), longest_seconds.
    """
    return _ask(
        visit, WAITING, inbox_ids=filters.inbox_ids or None, newest=int(newest_first), rows=rows,
        as_of=visit.load_state.last_loaded_at,
    )  # fmt: skip


def conversations_per_day(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a day, empty days too: date, conversations, is_running (the day is not over).

    On every row the same: total, mean_per_day (of finished days; NULL without one),
    busiest_date (the first of equals), busiest_conversations.
    """
    return _ask(visit, CONVERSATIONS_PER_DAY, **_chosen(filters), **_clock(visit))


def export_sql(kind: "Kind", selection: "Selection") -> LiteralString:
    """The rows of an exported file, newest first; parameters as of `export_values`.

    remarketing: one row a person, none who opted out. conversas: one row a conversation.
    """
    sql = EXPORT_PEOPLE if kind == "remarketing" else EXPORT_CONVERSATIONS
    return sql.replace("CONDITION", selection.condition)


def export_counts_sql(selection: "Selection") -> LiteralString:
    """One row: conversations chosen, people (rows of remarketing), people left out because they
    opted_out, and of the rows those without_phone.
    """
    return EXPORT_COUNTS.replace("CONDITION", selection.condition)


def export_values(
    filters: "Filters", selection: "Selection", load_state: LoadState, timezone: str
) -> dict[str, Parameter]:
    """Parameters of the two above, all but the tenant."""
    clock = {"as_of": load_state.last_loaded_at, "timezone": timezone}
    return {**_chosen(filters), **selection.values, **clock}


def export_counts(visit: Visit, filters: "Filters", selection: "Selection") -> pd.DataFrame:
    """The row of `export_counts_sql`."""
    values = export_values(filters, selection, visit.load_state, visit.timezone)
    return _ask(visit, export_counts_sql(selection), **values)


def export_preview(
    visit: Visit, kind: "Kind", filters: "Filters", selection: "Selection"
) -> pd.DataFrame:
    """The first PREVIEW_ROWS of an exported file."""
    values = export_values(filters, selection, visit.load_state, visit.timezone)
    sql = export_sql(kind, selection) + "limit %(limit)s"
    return _ask(visit, sql, **values, limit=PREVIEW_ROWS)


# ---- service ----


def service(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row: the service KPIs of the period, and of as many days right before it (previous_*).

    replies, reply_median_seconds, reply_p90_seconds, reply_business_median_seconds by the reply's
    date; conversations, first_replies, first_reply_*_seconds, reopened, one_touch, bot_resolved
    and their shares of conversations by the creation's; first_resolutions and
    resolution_*_seconds by the first resolution's; ratings, good_ratings, csat by the answer's.
    *_change: a ratio for times, a difference of shares else. Business medians are NULL where no
    inbox has working hours. is_running: the last day is not over.
    """
    return _ask(visit, SERVICE, **_chosen(filters), **_clock(visit))


def waiting_now(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row, of this moment: waiting, longest_seconds up to the last load, unresolved, and of
    these unassigned; of the inboxes chosen, whatever the period.
    """
    inbox_ids = filters.inbox_ids or None
    return _ask(visit, WAITING_NOW, inbox_ids=inbox_ids, as_of=visit.load_state.last_loaded_at)


def conversations_by_inbox(visit: Visit, filters: "Filters", *, largest: int) -> pd.DataFrame:
    """One row a step and inbox: grain (day, week, month), start_date, end_date, rank, inbox_ids,
    conversations; the inboxes after the `largest` are one. Empty without a conversation.

    The same on every row of an inbox: inbox_conversations, inbox_share; on every row: total.
    """
    return _ask(visit, CONVERSATIONS_BY_INBOX, **_chosen(filters), largest=largest)


def conversions_over_time(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a step, empty ones too: grain (day, week, month), start_date, end_date, leads,
    visits, conversions, only_leads and only_visits (that came no further).

    On every row the same: total_leads, total_visits, total_conversions.
    """
    return _ask(visit, CONVERSIONS_OVER_TIME, **_chosen(filters))


def statuses(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a status of now, the most frequent first: status (NULL: unknown), conversations,
    share.
    """
    return _ask(visit, STATUSES, **_chosen(filters))


def rhythm(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row of 168: weekday 1 (Monday) to 7, hour 0 to 23, conversations begun then.

    On every row the same: total, busiest_weekday, busiest_hour, busiest_conversations.
    """
    return _ask(visit, RHYTHM, **_chosen(filters))


def first_reply_distribution(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a band of first_reply_seconds: reply_from (included), reply_to (not; NULL: no end),
    conversations, share and share_up_to (with the faster bands) of those replied to, NULL without
    one; on every row the same: total (NULL without one).
    """
    return _ask(visit, FIRST_REPLY_DISTRIBUTION, **_chosen(filters))


def channels(
    visit: Visit, filters: "Filters", *, by: Literal["inbox", "channel"], measure: str, enough: int
) -> pd.DataFrame:
    """One row an inbox (`part` is its id as text) or channel, also without conversations, by rank.

    conversations, leads, visits, conversions, contacted, unanswered, scored, first_replies;
    lead_rate, crm_rate, unanswered_share, mean_score, first_reply_median_seconds,
    first_reply_p90_seconds; value: of `measure`, the name of one of them; sample: conversations it
    rests on; is_small: fewer than `enough`, ranked after the others.
    """
    return _ask(visit, CHANNELS, **_chosen(filters), by=by, measure=measure, enough=enough)


def selected(visit: Visit, filters: "Filters", selection: "Selection") -> int:
    """How many conversations a selection has."""
    sql = SELECTED.format(condition=selection.condition)
    found = _ask(visit, sql, **_chosen(filters), **_clock(visit), **selection.values)
    return int(found["conversations"].iloc[0])


def leads(
    visit: Visit, filters: "Filters", selection: "Selection", *, sort: str, page: int, size: int
) -> pd.DataFrame:
    """One page of a selection, a conversation a row; `sort` of ORDERS, `page` from 1.

    conversation_id, display_id, inbox_id, channel, status, contact_name, contact_phone,
    agent_name; is_waiting, last_side, preview, last_message_at; stage (lead, visit_scheduled,
    converted); idle_seconds and waiting_seconds up to the last load; idle_level, and
    free_window_seconds while a free text may be sent, of who is_in_queue of rpt_remarketing_queue;
    the columns of `score`.
    """
    sql = LEADS.format(
        condition=selection.condition,
        order=ORDERS[sort],
        idle_level=IDLE_LEVEL,
        score=SCORE,
    )
    return _ask(
        visit, sql, **_chosen(filters), **_clock(visit), **selection.values,
        limit=size, offset=(page - 1) * size,
    )  # fmt: skip


def conversation(visit: Visit, conversation_id: int) -> pd.DataFrame:
    """One row, none when the tenant has no such conversation: conversation_id, display_id,
    account_id, inbox_id, channel, status, contact_name, contact_phone, agent_name, labels,
    message_count, is_waiting, created_at, stage, evidence_message_ids, and of its score:
    lead_class, lead_score, sentiment, intent, ai_summary, ai_next_step, ai_provider, ai_status,
    is_correction_pending (kept, and not in the score before the next build), corrected_*,
    evidence (`kind: text` of each message the classes rest on).
    """
    return _ask(visit, CONVERSATION.format(score=SCORE), conversation_id=conversation_id)


def messages(visit: Visit, conversation_id: int, limit: int) -> pd.DataFrame:
    """The last `limit` messages of a conversation, oldest first: message_id, sender_kind,
    agent_name, content, attachment_placeholders, attachment_count, delivery_status, is_deleted,
    created_at.
    """
    return _ask(visit, MESSAGES, conversation_id=conversation_id, limit=limit)


def messages_over_time(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a day, of a long period a week: date, contact_messages, agent_messages,
    bot_messages. On every row the same: total_agent, total_bot, bot_share of both.
    """
    return _ask(visit, MESSAGES_OVER_TIME, **_chosen(filters), step=_step(filters))


def ratings(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a rating from 1 to 5, empty ones too: rating, answers, share (NULL without any)."""
    return _ask(visit, RATINGS, **_chosen(filters))


# ---- quality of the data ----


def ai_coverage(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """Conversations of the period by is_scored, state and provider (of scored ones; none: only a
    person judged).

    state: ok, stale, corrected; of the rest how the last try ended (refused, failed,
    skipped_budget), none without a try. conversations and their share; on every row the same:
    total, scored, coverage, last_scored_at.
    """
    return _ask(visit, AI_COVERAGE, **_chosen(filters))


def parity(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a metric of Chatwoot's: chatwoot_count, our_count, count_difference (ours less
    Chatwoot's); of the times also *_seconds, seconds_difference, the means and
    mean_difference, else NULL.
    """
    return _ask(visit, PARITY, **_chosen(filters))


def parity_reasons(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a metric and reason that is not zero: count_delta, seconds_delta (NULL for counts);
    those of a metric add up to its differences.
    """
    return _ask(visit, PARITY_REASONS, **_chosen(filters))


def gaps(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row: conversations; of these without_phone, without_address (neither phone nor e-mail),
    without_name, each with its share; failed_messages and the failed_conversations they are of.
    """
    return _ask(visit, GAPS, **_chosen(filters))


def source_loads(visit: Visit) -> pd.DataFrame:
    """One row a table of Chatwoot, as the last successful load read it: source_table, loaded_at,
    age_seconds; rows_read and rows_changed of all tenants, NULL to all but the agency.
    """
    return _ask_control_plane(visit, SOURCE_LOADS)


def pipeline_state(visit: Visit) -> pd.DataFrame:
    """A row for step load, one for build: succeeded_at, is_running; of a failure since then
    failed_at, failure (source, warehouse, interrupted, other) and error, for the agency alone.
    """
    return _ask_control_plane(visit, PIPELINE_STATE)


def ai_budget(visit: Visit) -> pd.DataFrame:
    """One row to an admin, none to a client: has_budget, used_share of this month's (UTC; NULL
    without one or of 0), may_leave; budget_usd and used_usd for the agency alone.
    """
    return _ask_control_plane(visit, AI_BUDGET)


def inbox_gaps(visit: Visit) -> pd.DataFrame:
    """Inboxes whose conversations no page shows, by gap; none to a client.

    missing: assigned, not in Chatwoot. waiting: the tenant's, not built yet. unowned, to the
    agency alone: nobody's, with account_name, conversations and last_conversation_at.
    """
    return _ask_control_plane(visit, INBOX_GAPS)


def _step(filters: "Filters") -> str:
    """A chart of a long period has a point a week, not a day."""
    return "day" if filters.days <= DAYS_BY_DAY else "week"


def agents(visit: Visit) -> pd.DataFrame:
    """One row an agent: agent_id, name (NULL where the source has none)."""
    return _ask(visit, AGENTS)


def agent_numbers(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row an agent with anything to show; agent_id 0 (last, no name): nobody's.

    assigned_now and waiting_now of this moment; replies, first_replies and reply_*_seconds by who
    replied; first_resolutions, conversations, reopened, reopened_share, ratings and csat by who
    has the conversation now.
    """
    return _ask(visit, AGENT_NUMBERS, **_chosen(filters))


def reply_times(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a day, of a long period a week by its Monday: date, replies, median_seconds and
    p90_seconds (NULL without a reply).
    """
    return _ask(visit, REPLY_TIMES, **_chosen(filters), step=_step(filters))


def backlog(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a day that has one: date, open_conversations at its end, is_estimated.

    On every row the same: first_open, last_open, highest_date (the first of equals),
    highest_open, observed_from (the first day that is no estimate; NULL without one).
    """
    return _ask(visit, BACKLOG, **_chosen(filters))


def records(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values: NULL is None here, where a frame makes NaN of it."""
    plain = found.astype(object).where(found.notna(), None)
    return [dict(zip(found.columns, row, strict=True)) for row in plain.to_numpy().tolist()]


def _chosen(filters: "Filters") -> dict[str, Parameter]:
    """The shared filters: every question has `start`, `end`, and inbox_ids, NULL for all."""
    inbox_ids = filters.inbox_ids or None
    return {"start": filters.start, "end": filters.end, "inbox_ids": inbox_ids}


def _clock(visit: Visit) -> dict[str, Parameter]:
    """As of when, and on whose clock: ages count to the last load, not to the present minute."""
    return {"as_of": visit.load_state.last_loaded_at, "timezone": visit.timezone}


def _ask_control_plane(visit: Visit, sql: LiteralString) -> pd.DataFrame:
    """Never cached: the function's answer is the session's own, and as of this moment."""
    dashboard = state.current()
    dashboard.sessions.verify(visit)
    with dashboard.reads.connection() as connection:
        values = [visit.viewer.token_sha256, dashboard.sessions.idle_limit]
        cursor = connection.execute(sql, values)
        columns = [column.name for column in cursor.description or ()]
        return pd.DataFrame(cursor.fetchall(), columns=columns)


def _ask(visit: Visit, sql: LiteralString, **parameters: Parameter) -> pd.DataFrame:
    state.current().sessions.verify(visit)
    return _answer(
        sql,
        visit.tenant_id,
        visit.viewer.role,
        visit.load_state.data_version,
        tuple(sorted(parameters.items())),
    )


# The cache is shared by all users. Tenant, role and data version are part of the key because they
# are plain arguments: one whose name starts with `_` would be left out of it.
@st.cache_data(ttl=CACHE_SECONDS, max_entries=2000, show_spinner=False)
def _answer(
    sql: LiteralString,
    tenant_id: int,
    role: str,
    data_version: int,
    parameters: tuple[tuple[str, Parameter], ...],
) -> pd.DataFrame:
    """Rows of `sql` for one tenant; `role` and `data_version` only tell cached answers apart."""
    dashboard = state.current()
    with (
        dashboard.turns.of(tenant_id),
        tenant_connection(dashboard.reads, tenant_id) as connection,
    ):
        # A tuple is an array to the database as a list is, and a key to the cache.
        given = {
            name: list(value) if isinstance(value, tuple) else value for name, value in parameters
        }
        cursor = connection.execute(sql, {**given, "tenant_id": tenant_id})
        columns = [column.name for column in cursor.description or ()]
        return pd.DataFrame(cursor.fetchall(), columns=columns)
