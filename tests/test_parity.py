"""Chatwoot's seven metrics once more from the raw rows, in Python, and every difference."""

from collections import defaultdict
from datetime import UTC, date, datetime
from math import isfinite
from typing import NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.conftest import Pipeline
from warehouse.build import build

TIMES = {
    "first_response": "first_response_time",
    "reply_time": "reply_time",
    "conversation_resolved": "resolution_time",
}


# What still is in Chatwoot, on a day.
COUNTED = "_deleted_at is null and isfinite(created_at)"


class Cell(NamedTuple):
    tenant_id: int
    date: date
    inbox_id: int
    metric: str


@pytest.fixture(scope="module")
def zones(pipeline: Pipeline) -> dict[int, tuple[int, ZoneInfo]]:
    """Tenant and time zone of every inbox that has one."""
    return {
        inbox_id: (tenant_id, ZoneInfo(zone))
        for inbox_id, tenant_id, zone in pipeline.query(
            "select inboxes.id, tenants.id, tenants.timezone from raw_chatwoot.inboxes as inboxes"
            " left join app.tenant_inboxes as owned on owned.inbox_id = inboxes.id"
            " left join app.tenant_accounts as accounts on accounts.account_id = inboxes.account_id"
            " inner join app.tenants as tenants"
            " on tenants.id = coalesce(owned.tenant_id, accounts.tenant_id)"
        )
    }


def as_chatwoot_counts(
    pipeline: Pipeline, zones: dict[int, tuple[int, ZoneInfo]]
) -> dict[Cell, tuple[int, float | None]]:
    """By the formulas of its reports: rows by their own inbox, on the day they were written."""
    counts: dict[Cell, int] = defaultdict(int)
    sums: dict[Cell, float] = defaultdict(float)

    def add(metric: str, inbox_id: int, at: datetime, seconds: float | None = None) -> None:
        if inbox_id in zones:
            tenant_id, zone = zones[inbox_id]
            cell = Cell(tenant_id, at.replace(tzinfo=UTC).astimezone(zone).date(), inbox_id, metric)
            counts[cell] += 1
            sums[cell] += seconds or 0

    for inbox_id, at in pipeline.query(
        f"select inbox_id, created_at from raw_chatwoot.conversations where {COUNTED}"
    ):
        add("conversations_count", inbox_id, at)
    for inbox_id, at, message_type in pipeline.query(
        f"select inbox_id, created_at, message_type from raw_chatwoot.messages where {COUNTED}"
    ):
        if message_type in (0, 1):
            add(("incoming", "outgoing")[message_type] + "_messages_count", inbox_id, at)
    for name, inbox_id, at, value in pipeline.query(
        "select name, inbox_id, created_at, value from raw_chatwoot.reporting_events"
        f" where {COUNTED}"
    ):
        if name == "conversation_resolved":
            add("resolutions_count", inbox_id, at)
        if name in TIMES and value is not None and isfinite(value):
            add(TIMES[name], inbox_id, at, value)
    return {
        cell: (count, sums[cell] if cell.metric in TIMES.values() else None)
        for cell, count in counts.items()
    }


def test_chatwoots_numbers_are_what_chatwoot_counts(
    pipeline: Pipeline, zones: dict[int, tuple[int, ZoneInfo]]
) -> None:
    expected = as_chatwoot_counts(pipeline, zones)
    built = {
        Cell(*row[:4]): (row[4], None if row[5] is None else float(row[5]))
        for row in pipeline.query(
            "select tenant_id, date, inbox_id, metric, chatwoot_count, chatwoot_sum"
            " from marts.rpt_chatwoot_parity where chatwoot_count <> 0"
        )
    }
    assert len({cell.metric for cell in expected}) == 7
    assert len(expected) > 5000
    assert built == expected


def test_our_numbers_are_those_of_the_days(pipeline: Pipeline) -> None:
    wrong = pipeline.query(
        "select metric, sum(our_count), sum(our_sum) from marts.rpt_chatwoot_parity group by 1"
        " except select metric, sum(n), sum(s) from marts.agg_daily cross join lateral (values"
        " ('conversations_count', conversations, null), ('resolutions_count', resolutions, null),"
        " ('incoming_messages_count', contact_messages, null),"
        " ('outgoing_messages_count', agent_messages, null),"
        " ('first_response_time', first_replies, first_reply_seconds_sum),"
        " ('resolution_time', first_resolutions, first_resolution_seconds_sum),"
        " ('reply_time', replies, wait_seconds_sum)) as measures (metric, n, s) group by 1"
    )
    assert wrong == []


def test_reasons_add_up_to_every_difference_and_nothing_is_left(pipeline: Pipeline) -> None:
    differences = {
        Cell(*row[:4]): row[4:]
        for row in pipeline.query(
            "select tenant_id, date, inbox_id, metric, our_count - chatwoot_count,"
            " our_sum - chatwoot_sum from marts.rpt_chatwoot_parity"
        )
    }
    explained: dict[Cell, tuple] = {
        cell: (0, None if seconds is None else 0) for cell, (_, seconds) in differences.items()
    }
    reasons = set()
    for *cell, reason, count, seconds in pipeline.query(
        "select tenant_id, date, inbox_id, metric, reason, count_delta, sum_delta"
        " from marts.rpt_chatwoot_parity_reasons"
    ):
        reasons.add(reason)
        before = explained[Cell(*cell)]
        explained[Cell(*cell)] = (
            before[0] + count,
            None if before[1] is None else before[1] + (seconds or 0),
        )
    assert explained == differences
    assert "other" not in reasons
    assert len(reasons) > 8


@pytest.mark.parametrize(
    ("reason", "metric", "expected"),
    [
        (
            "private_notes",
            "outgoing_messages_count",
            "select -count(*) from raw_chatwoot.messages where message_type = 1 and private"
            " and _deleted_at is null and inbox_id = any(%s)",
        ),
        (
            "duplicate_events",
            "resolutions_count",
            "select count(distinct (conversation_id, event_end_time)) - count(*)"
            " from raw_chatwoot.reporting_events where name = 'conversation_resolved'"
            " and _deleted_at is null and inbox_id = any(%s)",
        ),
        (
            "no_conversation",
            "incoming_messages_count",
            "select -count(*) from raw_chatwoot.messages as messages where message_type = 0"
            " and _deleted_at is null and inbox_id = any(%s) and not exists (select 1"
            " from raw_chatwoot.conversations where id = messages.conversation_id)",
        ),
    ],
)
def test_a_reason_is_what_it_says(
    pipeline: Pipeline,
    zones: dict[int, tuple[int, ZoneInfo]],
    reason: str,
    metric: str,
    expected: str,
) -> None:
    ((stored,),) = pipeline.query(
        "select sum(count_delta) from marts.rpt_chatwoot_parity_reasons"
        " where reason = %s and metric = %s",
        reason,
        metric,
    )
    ((counted,),) = pipeline.query(expected, list(zones))
    assert stored == counted < 0


# What SQL tools, old releases, broken clocks and deletions leave in a table, which is the `{}`.
BROKEN = {
    "conversations": (
        "update {} set created_at = 'infinity' where id % 401 = 0",
        "update {} set created_at = '-infinity', last_activity_at = 'infinity' where id % 409 = 0",
        "update {} set inbox_id = 8 where inbox_id = 1 and id % 31 = 0",  # moved to another tenant
        "update {} set inbox_id = 15 where inbox_id = 1 and id % 37 = 0",  # and to nobody
        "update {} set _deleted_at = now() where id % 211 = 0",
        "update {} set status = 9 where id % 419 = 0",
        """update {} set additional_attributes = '{{"referer": "https://x/?utm_source=%FF"}}'
        where id % 17 = 0""",
    ),
    "messages": (
        "update {} set created_at = 'infinity' where id % 1009 = 0",
        "update {} set created_at = '-infinity' where id % 1013 = 0",
        "update {} set created_at = '1970-01-01' where id % 5003 = 0",
        "update {} set created_at = '5000-01-01' where id % 5009 = 0",
        "update {} set inbox_id = 2 where inbox_id = 3 and id % 41 = 0",
        "update {} set private = true where message_type = 0 and id % 1019 = 0",
        "update {} set created_at = date_trunc('hour', created_at) where conversation_id % 50 = 0",
    ),
    "reporting_events": (
        "update {} set _deleted_at = now() where id % 97 = 0",
        "update {} set _deleted_at = now(), value = null where id % 89 = 0",
        "update {} set event_end_time = null where id % 101 = 0",
        "update {} set event_end_time = 'infinity' where id % 307 = 0",
        "update {} set value = null where id % 103 = 0",
        "update {} set value = value + 0.5 where id % 211 = 0",
        "update {} set value = 'NaN' where id % 503 = 0",
        "update {} set value = '-infinity' where id % 509 = 0",
        "update {} set inbox_id = 2 where id % 107 = 0",
        "update {} set inbox_id = 15 where id % 109 = 0",
        "update {} set conversation_id = null where id % 113 = 0",
        "update {} set conversation_id = 999999 where id % 127 = 0",
        "update {} set event_start_time = null where id % 131 = 0",
        "update {} set created_at = created_at - interval '300 days' where id % 139 = 0",
    ),
    "csat_survey_responses": ("update {} set created_at = 'infinity' where id % 9 = 0",),
    "taggings": ("update {} set created_at = 'infinity' where id % 10 = 0",),
    "working_hours": (
        "update {} set open_hour = null where id % 5 = 0",
        "update {} set close_hour = 30 where id % 7 = 0",
    ),
    "inboxes": ("update {} set timezone = 'Brasilia' where id = 8",),
    "contacts": ("update {} set phone_number = '+12' where id % 11 = 0",),
}


@pytest.fixture
def broken(copied: Pipeline) -> Pipeline:
    """A copy of the warehouse, built from a raw schema full of broken rows."""
    with psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as connection:
        for table, changes in BROKEN.items():
            for change in changes:
                connection.execute(change.format(f"raw_chatwoot.{table}"))
    build(copied.settings, copied.warehouse)
    return copied


def test_broken_rows_break_no_mart_and_no_reason(
    broken: Pipeline, zones: dict[int, tuple[int, ZoneInfo]]
) -> None:
    """Every model builds, every data test passes, and parity holds as on whole rows."""
    ((infinite, gone),) = broken.query(
        "select (select count(*) from raw_chatwoot.messages where not isfinite(created_at)),"
        " (select count(*) from raw_chatwoot.reporting_events where _deleted_at is not null)"
    )
    assert infinite > 50
    assert gone > 300
    test_chatwoots_numbers_are_what_chatwoot_counts(broken, zones)
    test_our_numbers_are_those_of_the_days(broken)
    test_reasons_add_up_to_every_difference_and_nothing_is_left(broken)
