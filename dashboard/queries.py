"""One function per question. Rows are read as the app role, with the tenant set in the transaction.

Every number is computed here, in SQL, over the marts; what is left to Python is writing it down.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, LiteralString

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

# One row a person: contacts with the same phone are one, by their latest conversation. Whoever
# asked not to be written to is told by contact, phone and e-mail, with and without the ninth digit
# of Brazil (macros/phone_key.sql); app.opted_out_contacts() is of the transaction's tenant.
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

opted_out as (

    select
        contact_id,
        regexp_replace(phone, '^([+]55[1-9][0-9])9([6-9][0-9]{7})$', '\1\2') as phone_key,
        nullif(lower(btrim(email)), '') as email_key
    from marts.dim_contacts
    where tenant_id = %(tenant_id)s
        and contact_id = any(array(select app.opted_out_contacts()))

),

people as (

    select distinct on (
        coalesce(phone_key, contact_id::text, 'conversation ' || conversation_id)
    )
        *,
        coalesce(contact_id = any(array(select app.opted_out_contacts())), false)
        or coalesce(phone_key in (select phone_key from opted_out), false)
        or coalesce(email_key in (select email_key from opted_out), false) as is_opted_out
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
    with tenant_connection(state.current().reads, tenant_id) as connection:
        # A tuple is an array to the database as a list is, and a key to the cache.
        given = {
            name: list(value) if isinstance(value, tuple) else value for name, value in parameters
        }
        cursor = connection.execute(sql, {**given, "tenant_id": tenant_id})
        columns = [column.name for column in cursor.description or ()]
        return pd.DataFrame(cursor.fetchall(), columns=columns)
