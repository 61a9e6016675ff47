"""What extraction asks of Chatwoot's own server: little, by its indexes, only reading."""

import logging
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql

from extract import pipeline
from extract.databases import ExtractError, connect, pipe
from extract.source import connect_source
from tests.chatwoot import (
    READER,
    READER_PASSWORD,
    Databases,
    assert_equal_to_source,
    changes,
    make_cloner,
    make_small,
    rows_of,
)
from warehouse.db import SAMPLE_DATABASE, Warehouse
from warehouse.embedded import EmbeddedServer, _free_port
from warehouse.settings import PROJECT_ROOT

LARGE = ("messages", "reporting_events", "attachments")


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        patch.setattr(pipeline, "BULK_ROWS", 10_000)
        patch.setattr("extract.comparison.BATCH_IDS", 8_000)
        patch.setattr("extract.comparison.FETCH_ROWS", 5_000)
        yield


@pytest.fixture(scope="module")
def clone(
    warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Databases]:
    return make_cloner(warehouse, tmp_path_factory.mktemp("session"), "session")


@pytest.fixture(scope="module")
def sample(warehouse: Warehouse, sample_dsn: str, clone: Callable[..., Databases]) -> Databases:
    """A copy of the sample Chatwoot, with all of Chatwoot's indexes, and a warehouse for it."""
    databases = clone(SAMPLE_DATABASE)
    parts = conninfo.conninfo_to_dict(sample_dsn)
    databases.reader_dsn = conninfo.make_conninfo(
        databases.admin_dsn, user=parts["user"], password=parts["password"]
    )
    databases.source("analyze")
    return databases


def scans(databases: Databases) -> dict[str, int]:
    """Sequential scans of each table so far; a session's numbers arrive when it ends."""
    time.sleep(0.2)
    rows = databases.source("select relname, seq_scan from pg_stat_user_tables")
    return dict(rows)


@contextmanager
def watched(databases: Databases) -> Iterator[list[int]]:
    """How many sessions of the reader there were, again and again."""
    seen: list[int] = []
    is_over = threading.Event()
    user = conninfo.conninfo_to_dict(databases.reader_dsn)["user"]

    def watch() -> None:
        with psycopg.connect(databases.admin_dsn, autocommit=True) as session:
            while not is_over.is_set():
                row = session.execute(
                    "select count(*) from pg_stat_activity"
                    " where usename = %s and datname = current_database()",
                    [user],
                ).fetchone()
                seen.append(row[0] if row else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        is_over.set()
        watcher.join()


def test_no_scan_of_a_large_table_and_two_sessions_at_most(
    sample: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First load in ranges, ticks with and without news, reconcile: all by the indexes."""
    before = scans(sample)
    monkeypatch.setenv("LOAD__WORKERS", "8")  # dlt's own setting
    with watched(sample) as sessions:
        runs = sample.run()
    assert runs["messages"].rows_inserted > 40_000
    assert max(sessions) == 2
    sample.source("""
        insert into messages (content, account_id, inbox_id, conversation_id, message_type,
            content_attributes, created_at, updated_at)
        select 'nova', account_id, inbox_id, conversation_id, 0, '{}', now() at time zone 'utc',
            now() at time zone 'utc' from messages order by id limit 100
    """)
    sample.source("update messages set status = 3 where created_at > now() - interval '1 h'")
    after_changes = scans(sample)  # of the statements above
    with watched(sample) as sessions:
        assert sample.run()["messages"].rows_inserted == 100
        assert changes(sample.run()) == {}
        sample.source("update messages set sender_id = -1 where id in (50, 5000)")
        assert changes(sample.run(full=True)) == {"messages": (0, 2, 0)}
    assert max(sessions) <= 2
    after = scans(sample)
    for table in LARGE:
        own = after_changes[table] - before[table]
        assert own <= (1 if table == "messages" else 0), table
        assert after[table] == after_changes[table], table
    assert_equal_to_source(sample)


def test_session_only_reads_and_gives_up_in_time(clone: Callable[..., Databases]) -> None:
    databases = clone(target=None)
    with connect_source(databases.admin_dsn) as session:  # an administrator, even
        with pytest.raises(ExtractError, match="cannot execute UPDATE in a read-only transaction"):
            session.execute("update public.tags set name = 'x'")
        settings = {
            name: session.execute(f"show {name}").fetchone()[0]
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
        assert settings == {
            "statement_timeout": "2min",
            "lock_timeout": "10s",
            "idle_in_transaction_session_timeout": "15min",
        }
        assert session.execute("select 1 from pg_stat_activity where application_name = 'mirante' "
                               "and pid = pg_backend_pid()").fetchone() == (1,)  # fmt: skip


def test_rows_hidden_meanwhile_are_not_taken_for_deleted(
    clone: Callable[..., Databases], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row security that begins after the source was looked at ends the run."""
    databases = clone()
    databases.run()
    inspect = pipeline.inspect_source

    def inspect_then_hide(*arguments: Any) -> Any:
        found = inspect(*arguments)
        databases.source("alter table contacts enable row level security")
        return found

    monkeypatch.setattr(pipeline, "inspect_source", inspect_then_hide)
    with pytest.raises(ExtractError, match='row-level security policy for table "contacts"'):
        databases.run()
    assert databases.raw("select count(*) from raw_chatwoot.contacts "
                         "where _deleted_at is null") == [(60,)]  # fmt: skip
    databases.source(f"alter role {READER} bypassrls")
    try:
        assert changes(databases.run()) == {}
    finally:
        databases.source(f"alter role {READER} nobypassrls")


def test_copy_may_take_longer_than_a_statement(clone: Callable[..., Databases]) -> None:
    """A range lasts as long as a slow warehouse or link takes for it."""
    databases = clone(target=None)
    with (
        connect_source(databases.admin_dsn) as source,
        connect("warehouse", databases.admin_dsn) as sink,
    ):
        sink.execute("create temporary table target (words text)")
        source.execute("set statement_timeout = '200ms'")
        slow = sql.SQL("select pg_sleep(0.1)::text from generate_series(1, 10)")
        assert pipe(source, slow, sink, sql.SQL("target")) == 10
        assert source.execute("show statement_timeout").fetchone() == ("2min",)


def test_locked_table_ends_the_run_in_time(
    clone: Callable[..., Databases], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration of Chatwoot holds a table: the run says so, and the next one goes on."""
    databases = clone()
    monkeypatch.setattr("extract.source.SESSION", "set default_transaction_read_only = on;"
                        "set lock_timeout = '200ms'")  # fmt: skip
    with psycopg.connect(databases.admin_dsn) as migration:
        migration.execute("lock table messages in access exclusive mode")
        with pytest.raises(ExtractError, match=r"^source .*: canceling statement due to lock time"):
            databases.run()
    databases.run()
    assert_equal_to_source(databases)


def test_pause_between_ranges(
    clone: Callable[..., Databases], monkeypatch: pytest.MonkeyPatch
) -> None:
    databases = clone()
    pauses: list[float] = []
    monkeypatch.setattr(pipeline, "BULK_ROWS", 100)
    monkeypatch.setattr("extract.comparison.FETCH_ROWS", 40)
    monkeypatch.setattr("extract.pipeline.time.sleep", pauses.append)
    databases.run(pause=0.25)
    # 6 ranges of messages, counted and read, and one of two other tables each.
    assert pauses.count(0.25) >= 2 * 6 + 2 * 2
    pauses.clear()
    assert changes(databases.run(full=True, pause=0.25)) == {}
    assert pauses.count(0.25) > 240 // 50  # also where nothing differs


def test_interrupt_is_heard_while_the_source_is_silent(clone: Callable[..., Databases]) -> None:
    databases = clone(target=None)
    slow = sql.SQL("select pg_sleep(20)::text")

    def copy_slowly() -> None:
        with (
            connect_source(databases.admin_dsn) as source,
            connect("warehouse", databases.admin_dsn) as sink,
        ):
            sink.execute("create temporary table target (nothing text)")
            threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
            pipe(source, slow, sink, sql.SQL("target"))

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        copy_slowly()
    assert time.monotonic() - started < 10


@pytest.fixture(scope="module")
def standby(clone: Callable[..., Databases]) -> Iterator[tuple[str, str]]:
    """A server with the small Chatwoot and its hot standby: administrators' DSNs of both."""
    from extract.tables import grant_statements
    from tests.chatwoot import fill_chatwoot

    with tempfile.TemporaryDirectory(prefix="mirante standby ") as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder) / "primary")
        with server.running() as admin:
            with psycopg.connect(admin) as session:
                fill_chatwoot(session)
                session.execute(f"create role {READER} login password '{READER_PASSWORD}'")
                for statement in grant_statements(READER):
                    session.execute(statement)
            data = server.root / "standby"
            server._run(
                "pg_basebackup", "-D", str(data), "-R", "-X", "stream", "-c", "fast",
                "-d", conninfo.make_conninfo(admin, dbname="replication"),
            )  # fmt: skip
            port = _free_port()
            options = (
                f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
                " -c shared_buffers=16MB -c max_connections=100"
            )
            log = str(server.root / "standby.log")
            server._run("pg_ctl", "-D", str(data), "-l", log, "-o", options, "-w", "start")
            try:
                yield admin, conninfo.make_conninfo(admin, port=port)
            finally:
                server._run("pg_ctl", "-D", str(data), "-m", "immediate", "stop", check=False)


def reader(dsn: str, **changes: Any) -> str:
    return conninfo.make_conninfo(dsn, user=READER, password=READER_PASSWORD, **changes)


def wait_for(dsn: str, query: str) -> None:
    deadline = time.monotonic() + 20
    while rows_of(dsn, query) != [(True,)]:
        assert time.monotonic() < deadline, query
        time.sleep(0.05)


def test_replica_is_read_unless_it_is_behind(
    clone: Callable[..., Databases],
    standby: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    primary, replica = standby
    monkeypatch.setattr("extract.source.RECEIVER_TIMEOUT", "0 s")  # no need to wait a minute
    databases = clone()
    databases.admin_dsn = primary
    databases.reader_dsn = reader(primary, port=1)  # out of reach: all comes from the replica
    wait_for(replica, "select count(*) = 60 from contacts")
    runs = databases.run(replica_dsn=reader(replica))
    assert runs["messages"].rows_inserted == 240
    assert_equal_to_source(databases)

    # Behind what raw has: it would take rows back.
    databases.reader_dsn = reader(primary)
    rows_of(primary, "update contacts set name = 'primeira' where id = 1")
    wait_for(replica, "select name = 'primeira' from contacts where id = 1")
    rows_of(replica, "select pg_wal_replay_pause()")
    wait_for(replica, "select pg_get_wal_replay_pause_state() = 'paused'")
    rows_of(primary, "update contacts set name = 'segunda' where id = 1")
    wait_for(replica, "select pg_last_wal_receive_lsn() <> pg_last_wal_replay_lsn()")
    databases.run()
    with caplog.at_level(logging.WARNING, logger="extract"):
        assert changes(databases.run(replica_dsn=reader(replica))) == {}
    assert "replica not used: it is as of" in caplog.text
    assert databases.raw("select name from raw_chatwoot.contacts where id = 1") == [("segunda",)]
    assert databases.raw("select drift[1] like 'replica not used%' from app.sync_runs "
                         "order by id desc limit 1") == [(True,)]  # fmt: skip

    rows_of(replica, "select pg_wal_replay_resume()")
    wait_for(replica, "select name = 'segunda' from contacts where id = 1")
    databases.reader_dsn = reader(primary, port=1)
    assert changes(databases.run(replica_dsn=reader(replica))) == {}

    with pytest.raises(ExtractError, match=r"^source: cannot log in"):
        databases.run(replica_dsn=reader(replica, port=1))


SLOW_SINK = """
import resource, sys
from psycopg import sql
from extract.databases import connect, pipe
with connect("source", sys.argv[1]) as source, connect("warehouse", sys.argv[1]) as sink:
    sink.execute("create temporary table target (words text)")
    sink.execute("create function pg_temp.wait() returns trigger language plpgsql as "
                 "$$ begin perform pg_sleep(0.001); return new; end $$")
    sink.execute("create trigger wait before insert on target "
                 "for each row execute function pg_temp.wait()")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    words = sql.SQL("select repeat(md5(i::text), 3000) from generate_series(1, 1500) as i")
    rows = pipe(source, words, sink, sql.SQL("target"))
    print(rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_rows_do_not_pile_up_before_a_slow_warehouse(clone: Callable[..., Databases]) -> None:
    """144 MB through a process that keeps a buffer of 128 kB."""
    databases = clone(target=None)
    output = subprocess.run(
        [sys.executable, "-c", SLOW_SINK, databases.admin_dsn],
        cwd=PROJECT_ROOT, check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    rows, megabytes = map(int, output.split())
    assert rows == 1500
    assert megabytes < 20
