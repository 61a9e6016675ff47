"""One function per question. Rows are read as the app role, with the tenant set in the transaction.

Every number is computed here, in SQL, over the marts; what is left to Python is writing it down.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any, LiteralString

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.auth import Visit
from warehouse.db import tenant_connection

if TYPE_CHECKING:
    from dashboard.filters import Filters
    from dashboard.lists import Selection

Parameter = date | datetime | str | int | tuple[int, ...] | None
# DESIGN section 7: nothing on a page is older than this, whatever the data version says.
CACHE_SECONDS = 300

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

# Sums come from the facts here, not from agg_daily, for two reasons: the percentiles read the
# facts anyway, and a day still running is compared with the same hours of the earlier one.
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
        'infinity'::timestamptz as end_at
    from bounds

    union all

    select
        false as is_current,
        start_date - days as start_date,
        end_date - days as end_date,
        (local_end - days * interval '1 day') at time zone %(timezone)s as end_at
    from bounds

),

counted as (

    -- From an index alone (fct_conversations.yml), and one sort for both percentiles.
    select
        periods.is_current,
        periods.start_date,
        periods.end_date,
        measured.conversations,
        measured.leads,
        measured.conversions,
        measured.first_replies,
        measured.percentiles[1] as first_reply_median_seconds,
        measured.percentiles[2] as first_reply_p90_seconds
    from periods
    cross join lateral (
        select
            count(*) as conversations,
            count(*) filter (where is_lead) as leads,
            count(*) filter (where is_converted) as conversions,
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

),

rated as (

    select
        *,
        leads::double precision / nullif(conversations, 0) as lead_rate,
        conversions::double precision / nullif(leads, 0) as crm_rate
    from counted

)

select
    present.conversations,
    present.leads,
    present.conversions,
    present.first_replies,
    present.lead_rate,
    present.crm_rate,
    present.first_reply_median_seconds,
    present.first_reply_p90_seconds,
    earlier.start_date as previous_start,
    earlier.end_date as previous_end,
    earlier.conversations as previous_conversations,
    earlier.leads as previous_leads,
    earlier.conversions as previous_conversions,
    earlier.lead_rate as previous_lead_rate,
    earlier.crm_rate as previous_crm_rate,
    earlier.first_reply_median_seconds as previous_first_reply_median_seconds,
    present.conversations::double precision
        / nullif(earlier.conversations, 0) - 1 as conversations_change,
    present.lead_rate - earlier.lead_rate as lead_rate_change,
    present.crm_rate - earlier.crm_rate as crm_rate_change,
    present.first_reply_median_seconds
        / nullif(earlier.first_reply_median_seconds, 0) - 1 as first_reply_change
from rated as present
inner join rated as earlier on not earlier.is_current
where present.is_current
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

# Of a conversation as conversations, at the last load; null under 24 hours (KPI.md section 8).
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

AGENTS: LiteralString = """
select
    agent_id,
    name
from marts.dim_agents
where tenant_id = %(tenant_id)s
order by name, agent_id
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

    conversations, leads, conversions, first_replies; lead_rate and crm_rate as shares, NULL when
    the denominator is 0; first_reply_median_seconds, first_reply_p90_seconds; previous_* for as
    many days right before, up to the same time of day when `end` is still running; *_change:
    a ratio for conversations and first_reply, a difference of shares for the rates.
    """
    return _ask(visit, OVERVIEW, **_chosen(filters), **_clock(visit))


def conversations_per_day(visit: Visit, filters: "Filters") -> pd.DataFrame:
    """One row a day, empty days too: date, conversations, is_running (the day is not over).

    On every row the same: total, mean_per_day (of finished days; NULL without one),
    busiest_date (the first of equals), busiest_conversations.
    """
    return _ask(visit, CONVERSATIONS_PER_DAY, **_chosen(filters), **_clock(visit))


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


def agents(visit: Visit) -> pd.DataFrame:
    """One row an agent: agent_id, name (NULL where the source has none)."""
    return _ask(visit, AGENTS)


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
