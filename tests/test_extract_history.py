"""Random histories of a Chatwoot and of runs that are killed: raw ends as the source is.

A tick must bring all of the tables it compares whole, and recent messages; the reconcile pass
everything. Rows of the erasure ledger are nowhere, and a tombstone holds nobody's words.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg import conninfo, sql

from extract import raw
from extract.databases import Session
from extract.pipeline import run_extract
from extract.tables import TABLES, Table
from tests.chatwoot import SAMPLES, Databases, contents, make_cloner, make_small
from warehouse.db import Warehouse

BY_NAME = {table.name: table for table in TABLES}
ERASABLE = ("messages", "contacts", "conversations", "taggings")
# Rows of every table are drawn; those of the large ones more often.
table_names = st.sampled_from([*BY_NAME, *["messages", "conversations", "contacts"] * 5])
numbers = st.integers(0, 400)
places = st.integers(0, 40)


def _fetch(session: psycopg.Connection, query: str, values: tuple[Any, ...]) -> list[Any]:
    return session.execute(query, values or None).fetchall()


class History(RuleBasedStateMachine):
    """Somebody's Chatwoot, and a warehouse beside it."""

    clone: Callable[..., Databases]
    drop: Callable[[Databases], None]
    loaded: tuple[str, str]  # templates of a pair after a first load

    def __init__(self) -> None:
        super().__init__()
        self.late: psycopg.Connection | None = None

    @initialize(from_empty=st.booleans())
    def begin(self, from_empty: bool) -> None:
        self.databases = self.clone() if from_empty else self.clone(*self.loaded)
        self.admin = psycopg.connect(self.databases.admin_dsn, autocommit=True)
        self.admin.execute("set session_replication_role = replica")
        self.warehouse = psycopg.connect(self.databases.warehouse_dsn, autocommit=True)
        # One session for all the comparing: logging in takes longer than reading a table.
        self.databases.source = lambda query, *values: _fetch(self.admin, query, values)
        self.databases.raw = lambda query, *values: _fetch(self.warehouse, query, values)
        self.erased: set[tuple[str, int]] = set()
        self.next_id = 10_000
        self.dropped = False

    def teardown(self) -> None:
        if not hasattr(self, "admin"):
            return
        try:
            self.commit_late()
            self.reconcile()
            assert self.run() == 0  # and then there is nothing left to do
        finally:
            self.admin.close()
            self.warehouse.close()
            if self.late:
                self.late.close()
            self.drop(self.databases)

    # What happens at the source.

    def ids(self, table: str) -> list[int]:
        rows = self.admin.execute(f"select id from public.{table} order by id")
        return [row[0] for row in rows]

    def some_id(self, table: str, number: int) -> int | None:
        ids = self.ids(table)
        return ids[number % len(ids)] if ids else None

    def insert_into(self, session: psycopg.Connection, table: str, place: int, age: str) -> None:
        values: dict[str, Any] = {}
        columns = session.execute(
            "select attname, typname, attnotnull from pg_attribute inner join pg_type on atttypid ="
            " pg_type.oid where attrelid = %s::regclass and attnum > 0 and not attisdropped",
            [f"public.{table}"],
        ).fetchall()
        for offset, (name, type_, is_required) in enumerate(columns):
            samples = SAMPLES[type_][:-1] if is_required else SAMPLES[type_]
            values[name] = samples[(place * (offset + 1) + offset) % len(samples)]
        self.next_id += 1 + place % 3
        values["id"] = self.next_id
        session.execute(
            sql.SQL("insert into {} ({}) values ({})").format(
                sql.Identifier("public", table),
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Literal, values.values())),
            )
        )
        if "created_at" in values and age:
            session.execute(
                f"update public.{table} set created_at = now() at time zone 'utc' - %s::interval"
                " where id = %s",
                [age, values["id"]],
            )

    @rule(table=table_names, place=places, age=st.sampled_from(["", "1 minute", "1 day", "1 year"]))
    def insert(self, table: str, place: int, age: str) -> None:
        """Also in the past, as imports do."""
        self.insert_into(self.admin, table, place, age)

    @precondition(lambda self: self.late is None)
    @rule(table=table_names, place=places)
    def insert_without_commit(self, table: str, place: int) -> None:
        self.late = psycopg.connect(self.databases.admin_dsn)
        self.late.execute("set session_replication_role = replica")
        self.insert_into(self.late, table, place, "")

    @precondition(lambda self: self.late is not None)
    @rule()
    def commit_late(self) -> None:
        if self.late:
            self.late.commit()
            self.late.close()
            self.late = None

    @rule(table=table_names, number=numbers, place=places, silent=st.booleans())
    def update(self, table: str, number: int, place: int, silent: bool) -> None:
        """A column of a row gets another value; silently, without moving updated_at."""
        columns = [c for c in BY_NAME[table].columns if c.name not in ("id", "created_at")]
        column = columns[place % len(columns)]
        found = self.admin.execute(
            "select typname, attnotnull from pg_attribute inner join pg_type on atttypid ="
            " pg_type.oid where attrelid = %s::regclass and attname = %s",
            [f"public.{table}", column.name],
        ).fetchone()
        id_ = self.some_id(table, number)
        if found is None or id_ is None:
            return
        samples = SAMPLES[found[0]][:-1] if found[1] else SAMPLES[found[0]]
        changes = {column.name: sql.Literal(samples[place % len(samples)])}
        if not silent and "updated_at" in BY_NAME[table].column_names:
            changes["updated_at"] = sql.SQL("now() at time zone 'utc'")
        self.admin.execute(
            sql.SQL("update {} set {} where id = {}").format(
                sql.Identifier("public", table),
                sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(sql.Identifier(name), value)
                    for name, value in changes.items()
                ),
                id_,
            )
        )

    @rule(table=table_names, number=numbers, count=st.integers(1, 30))
    def delete(self, table: str, number: int, count: int) -> None:
        id_ = self.some_id(table, number)
        self.admin.execute(
            f"delete from public.{table} where id in (select id from public.{table}"
            " where id >= %s order by id limit %s)",
            [id_, count],
        )

    @rule(number=numbers, other=numbers)
    def merge_contacts(self, number: int, other: int) -> None:
        gone, kept = self.some_id("contacts", number), self.some_id("contacts", other)
        if gone == kept:
            return
        for table, column in (("conversations", "contact_id"), ("contact_inboxes", "contact_id"),
                              ("messages", "sender_id")):  # fmt: skip
            self.admin.execute(
                f"update public.{table} set {column} = %s, updated_at = now() at time zone 'utc'"
                f" where {column} = %s",
                [kept, gone],
            )
        self.admin.execute("delete from public.csat_survey_responses where contact_id = %s", [gone])
        self.admin.execute("delete from public.contacts where id = %s", [gone])

    @rule(number=numbers)
    def retag(self, number: int) -> None:
        """A label that is renamed: every tagging goes and comes back under another id."""
        if (id_ := self.some_id("taggings", number)) is None:
            return
        self.next_id += 1
        self.admin.execute("update public.taggings set id = %s where id = %s", [self.next_id, id_])

    @rule(number=numbers, with_children=st.booleans())
    def delete_conversation(self, number: int, with_children: bool) -> None:
        if (id_ := self.some_id("conversations", number)) is None:
            return
        self.admin.execute("delete from public.conversations where id = %s", [id_])
        if with_children:
            for table in ("messages", "reporting_events", "conversation_participants"):
                self.admin.execute(f"delete from public.{table} where conversation_id = %s", [id_])

    @precondition(lambda self: self.late is None)
    @rule()
    def change_schema(self) -> None:
        """An optional column goes, or comes back with values."""
        if self.dropped:
            self.admin.execute("alter table public.messages add column source_id text")
            self.admin.execute("update public.messages set source_id = id::text where id % 3 = 0")
            self.admin.execute("grant select (source_id) on public.messages to extract_reader")
        else:
            self.admin.execute("alter table public.messages drop column source_id")
        self.dropped = not self.dropped

    # What happens at the warehouse.

    @rule(table=st.sampled_from(ERASABLE), number=numbers)
    def erase(self, table: str, number: int) -> None:
        if (id_ := self.some_id(table, number)) is None:
            return
        self.warehouse.execute(
            "insert into app.erased_rows (source_table, source_id) values (%s, %s)"
            " on conflict do nothing",
            [table, id_],
        )
        self.erased.add((table, id_))

    def run(self, **options: Any) -> int:
        runs = run_extract(
            self.databases.reader_dsn, self.databases.warehouse_dsn, self.databases.home, **options
        )
        return sum(run.rows_changed for run in runs)

    @rule(at=st.integers(1, 170), full=st.booleans())
    def kill(self, at: int, full: bool) -> None:
        """A run whose process kills itself, -9, at its n-th statement or COPY."""
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
            return
        try:
            calls = 0

            def counted(call: Callable[..., Any]) -> Callable[..., Any]:
                def count(*arguments: Any, **keywords: Any) -> Any:
                    nonlocal calls
                    calls += 1
                    if calls == at:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return call(*arguments, **keywords)

                return count

            Session.execute = counted(Session.execute)  # type: ignore[method-assign]
            raw.pipe = counted(raw.pipe)
            self.run(full=full)
        except BaseException:
            os._exit(1)
        os._exit(0)

    @rule()
    def tick(self) -> None:
        self.run()
        for table in TABLES:
            if table.read == "whole":
                self.compare(table)
        recent = (
            "created_at between (now() at time zone 'utc' - interval '47 hours') "
            "and (now() at time zone 'utc')"
        )
        for name in ("messages", "reporting_events"):
            self.compare(BY_NAME[name], recent)
        self.check_tombstones()

    @rule()
    def reconcile(self) -> None:
        self.run(full=True)
        for table in TABLES:
            self.compare(table)
        self.check_tombstones()

    def compare(self, table: Table, condition: str = "true") -> None:
        expected = [
            row
            for row in contents(self.databases, table.name, of_source=True, condition=condition)
            if (table.name, int(row[0])) not in self.erased
        ]
        found = contents(self.databases, table.name, of_source=False, condition=condition)
        assert found == expected, table.name

    def check_tombstones(self) -> None:
        for table in TABLES:
            lost = [c.name for c in table.columns if not table.is_kept(c)]
            if lost:
                filled = self.warehouse.execute(
                    f"select count(*) from raw_chatwoot.{table.name} where _deleted_at is not null"
                    f" and num_nonnulls({', '.join(lost)}) > 0"
                ).fetchone()
                assert filled == (0,), table.name


@pytest.fixture(scope="module")
def machine(
    warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> type[RuleBasedStateMachine]:
    """The machine on databases of this server."""
    clone = make_cloner(warehouse, Path(tmp_path_factory.mktemp("history")), "history")
    first = clone()
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        first.run()
    loaded = tuple(
        conninfo.conninfo_to_dict(dsn)["dbname"] for dsn in (first.admin_dsn, first.warehouse_dsn)
    )

    def drop(databases: Databases) -> None:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            for dsn in (databases.admin_dsn, databases.warehouse_dsn):
                name = conninfo.conninfo_to_dict(dsn)["dbname"]
                connection.execute(f"drop database {name} with (force)")

    members = {"clone": staticmethod(clone), "drop": staticmethod(drop), "loaded": loaded}
    return type("HistoryHere", (History,), members)


def run_histories(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_histories(machine: type[RuleBasedStateMachine]) -> None:
    run_histories(machine, examples=10, steps=25)


@pytest.mark.soak
def test_many_histories(machine: type[RuleBasedStateMachine]) -> None:
    run_histories(machine, examples=400, steps=60)
