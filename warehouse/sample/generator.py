# ruff: noqa: S311 (a sample has to be repeatable)
"""Fills an empty database with a Chatwoot that never was, and with the truth about it.

The same seed, end of history and size give the same rows. Conversations are planned first (when,
where, which script), then played in the order their rows came to be, so that ids grow with time
as in a live Chatwoot. Rows go out by COPY in blocks: memory holds the plan, the contacts and what
is still under way, not the messages.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

import psycopg

from warehouse.errors import MiranteError
from warehouse.sample import truth
from warehouse.sample.people import People
from warehouse.sample.plan import HISTORY, Planned, plan_conversations
from warehouse.sample.rows import Message, Tables
from warehouse.sample.scenarios import SCENARIOS
from warehouse.sample.talk import Talk
from warehouse.sample.world import SAMPLE_TENANTS, Row, SampleTenant, world_rows

log = logging.getLogger(__name__)

VERSION = 1  # of what a seed means; part of the sample's identity
MIN_CONVERSATIONS = len(SCENARIOS)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SampleState:
    """What a whole sample was made from."""

    seed: int
    until: datetime
    conversations: int
    version: int


def create_sample(
    dsn: str,
    *,
    conversations: int = 4000,
    seed: int = 20260101,
    until: datetime | None = None,
    progress: Progress | None = None,
) -> tuple[SampleTenant, ...]:
    """Fill the empty database at `dsn`, whose owner (or a superuser) it must name.

    `until` is where history ends, by default the present hour; a naive one is UTC. `progress` is
    told (what, done, of how many). All in one transaction: an interrupted fill leaves the database
    empty. Raises MiranteError when it is not empty or `conversations` is too small.
    """
    if conversations < MIN_CONVERSATIONS:
        raise MiranteError(
            f"a sample of {conversations} conversations is too small: {MIN_CONVERSATIONS} at least"
        )
    until = (until or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0)
    until = until.astimezone(UTC).replace(tzinfo=None) if until.tzinfo else until
    tell = progress or (lambda what, done, total: None)
    tables_sql, indexes_sql = _chatwoot_sql()
    with psycopg.connect(dsn) as connection:
        _refuse_unless_empty(connection)
        connection.execute("set local timezone to 'UTC'")
        connection.execute("set local client_min_messages to warning")
        connection.execute("set local maintenance_work_mem to '128MB'")
        connection.execute(tables_sql)
        connection.execute(truth.DDL)
        tables = Tables(connection)
        for table, row in world_rows(until - HISTORY - timedelta(days=30)):
            tables.add(table, row)
        tables.copy_all()
        plan = plan_conversations(random.Random(seed), conversations, until)
        people = People(tables)
        for number, planned in enumerate(plan):
            if number % 250 == 0:
                tell("conversations", number, conversations)
            tables.flush(planned.written_at)
            rng = random.Random(f"{seed}:{number}")
            if number % 500 == 40:
                _leave_orphans(rng, planned, tables)
            Talk(rng, planned, until, tables, people).play()
        tables.flush(until + timedelta(days=1))
        people.write()
        tables.write_tags()
        tables.copy_all()
        tell("conversations", conversations, conversations)
        tell("indexes", 0, 1)
        connection.execute(indexes_sql)
        tables.set_sequences()
        tell("indexes", 1, 1)
        connection.execute(
            "insert into sample_truth.sample values (%s, %s, %s, %s)",
            [seed, until.replace(tzinfo=UTC), conversations, VERSION],
        )
        connection.execute("analyze")
        log.info("sample: %d conversations, %d messages", conversations, tables.count("messages"))
    return SAMPLE_TENANTS


def sample_state(dsn: str) -> SampleState | None:
    """What the whole sample in this database was made from; None when there is no whole one."""
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select to_regclass('sample_truth.sample')").fetchone()
        if found is None or found[0] is None:
            return None
        row = connection.execute(
            "select seed, until, conversations, version from sample_truth.sample"
        ).fetchone()
    return SampleState(*row) if row else None


def _chatwoot_sql() -> tuple[str, str]:
    """The tables, then the indexes, which are made faster once the rows are in."""
    ddl = resources.files("warehouse.sample").joinpath("chatwoot.sql").read_text("utf-8")
    tables_sql, indexes_sql = ddl.split("\n-- Indexes\n")
    return tables_sql, indexes_sql


def _refuse_unless_empty(connection: psycopg.Connection) -> None:
    row = connection.execute(
        "select current_database(), (select relname from pg_class"
        " where relkind = 'r' and relnamespace::regnamespace::text"
        " not in ('pg_catalog', 'information_schema', 'pg_toast') order by relname limit 1)"
    ).fetchone()
    if row and row[1]:
        raise MiranteError(
            f"database {row[0]} is not empty (it has a table {row[1]}): a sample needs its own"
        )


def _leave_orphans(rng: random.Random, planned: Planned, tables: Tables) -> None:
    """Messages of a conversation that was deleted a moment ago: children go after the parent."""
    conversation_id = tables.next_id("conversations")
    for n in range(3):
        at = planned.written_at + timedelta(seconds=20 * n, microseconds=rng.randrange(1_000_000))
        row: Row = {
            "id": None,
            "content": "Oi, alguém?",
            "account_id": planned.business.account_id,
            "inbox_id": planned.inbox.id,
            "conversation_id": conversation_id,
            "message_type": n % 2,
            "created_at": at,
            "updated_at": at,
            "private": False,
            "status": 0,
            "source_id": None,
            "content_type": 0,
            "sender_type": None if n % 2 else "Contact",
            "sender_id": None,
            "additional_attributes": "{}",
        }
        tables.later(at, "messages", Message(row, None, is_plain=False))
