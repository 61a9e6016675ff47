"""One function per question. Rows are read as the app role, with the tenant set in the transaction.

Every number is computed here, in SQL, over the marts; what is left to Python is writing it down.
"""

from datetime import date, datetime
from typing import TYPE_CHECKING, LiteralString

import pandas as pd
import streamlit as st

from dashboard import state
from dashboard.auth import Visit
from warehouse.db import tenant_connection

if TYPE_CHECKING:
    from dashboard.filters import Filters

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
