"""Extraction against a small Chatwoot of its own: what arrives, what is missed, what heals."""

import dataclasses
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import dlt
import psycopg
import pytest
from psycopg import conninfo

from extract import comparison, pipeline, raw, source
from extract.databases import ExtractError, as_extract_error
from extract.pipeline import TableRun, run_extract
from extract.tables import FORBIDDEN_COLUMNS, FORBIDDEN_TABLES, TABLES, grant_statements
from tests.chatwoot import (
    READER,
    READER_PASSWORD,
    SIZES,
    Databases,
    assert_equal_to_source,
    changes,
    contents,
    make_cloner,
    make_small,
    rows_of,
)
from warehouse.db import Warehouse


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        yield


@pytest.fixture(scope="module")
def clone(
    warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Databases]:
    """Makes a pair of databases from templates: a filled Chatwoot and an empty warehouse."""
    return make_cloner(warehouse, tmp_path_factory.mktemp("extract"), "extract")


@pytest.fixture(scope="module")
def loaded(clone: Callable[..., Databases]) -> tuple[Databases, dict[str, TableRun]]:
    """After a first load. A run that changes nothing may use it; other tests take a copy.

    On the way it looks into the working folder, which is gone afterwards.
    """
    databases = clone()
    original = dlt.Pipeline.load

    def load(self: dlt.Pipeline) -> Any:
        info = original(self)
        check_working_folder(databases)
        return info

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlt.Pipeline, "load", load)
        return databases, databases.run()


def check_working_folder(databases: Databases) -> None:
    """After the load and before it is removed: private, no rows, no password."""
    folder = databases.home / "dlt"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert "state.json" in {path.name for path in files}
    for path in files:
        assert path.suffix != ".parquet", path
        assert "é".encode() not in path.read_bytes(), path  # of the messages
        for dsn in (databases.reader_dsn, databases.warehouse_dsn):
            password = str(conninfo.conninfo_to_dict(dsn)["password"])
            assert password.encode() not in path.read_bytes(), path


@pytest.fixture
def copy(
    clone: Callable[..., Databases], loaded: tuple[Databases, dict[str, TableRun]]
) -> Databases:
    """A loaded pair to change."""
    first = loaded[0]
    names = [
        conninfo.conninfo_to_dict(dsn)["dbname"] for dsn in (first.admin_dsn, first.warehouse_dsn)
    ]
    return clone(*map(str, names))


def test_first_load_equals_the_source(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, runs = loaded
    assert_equal_to_source(databases)
    for table in TABLES:
        run = runs[table.name]
        rows = SIZES.get(table.name, 12)
        assert (run.rows_inserted, run.rows_updated, run.rows_deleted) == (rows, 0, 0), run
        # The large ones came in bulk; the tick after it looked at what is recent again.
        again = 5 + 2 * (table.name == "reporting_events")  # the last ids, and infinite times
        assert run.rows_read == rows + (again if table.read == "recent" else 0), run
    assert len(runs) == len(TABLES)


def test_types_are_the_sources(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    query = (
        "select table_name::text, column_name::text, udt_name::text from information_schema.columns"
        " where table_schema = %s and left(table_name, 4) <> '_dlt' and left(column_name, 1) <> '_'"
    )
    in_raw = set(databases.raw(query, "raw_chatwoot"))
    assert in_raw <= set(databases.source(query, "public"))
    assert len(in_raw) == sum(len(table.columns) for table in TABLES)
    assert databases.raw(
        "select distinct data_type::text from information_schema.columns "
        "where table_schema = 'raw_chatwoot' and column_name = '_deleted_at'"
    ) == [("timestamp with time zone",)]


def test_both_encodings_of_content_attributes_arrive(
    loaded: tuple[Databases, dict[str, TableRun]],
) -> None:
    kinds = loaded[0].raw(
        "select distinct json_typeof(content_attributes) from raw_chatwoot.messages order by 1"
    )
    assert kinds == [("object",), ("string",), (None,)]


def test_keys_come_with_the_first_load_and_indexes_at_the_latest_with_the_next(
    copy: Databases,
) -> None:
    def missing() -> set[str]:
        rows = copy.raw("select indexname from pg_indexes where schemaname = 'raw_chatwoot'")
        return wanted - {name for (name,) in rows}

    wanted = {f"{table.name}_pkey" for table in TABLES}
    wanted |= {f"{table.name}_{column}" for table in TABLES for column in table.indexes}
    wanted |= {"conversations__deleted_at", "messages__deleted_at"}
    assert missing() <= {
        "messages_conversation_id",
        "attachments_message_id",
        "reporting_events_conversation_id",
    }
    copy.raw("drop index raw_chatwoot.messages__deleted_at")  # of earlier versions
    copy.run()
    assert missing() == set()


@pytest.mark.parametrize(
    ("lost", "made_again"),
    [
        ("alter table raw_chatwoot.messages drop constraint messages_pkey",
         "alter table raw_chatwoot.messages add constraint messages_pkey primary key (id)"),
        ("drop index raw_chatwoot.conversations_contact_id",
         "create index conversations_contact_id on raw_chatwoot.conversations (contact_id)"),
    ],
)  # fmt: skip
def test_index_that_a_killed_run_still_builds_is_waited_for(
    copy: Databases, lost: str, made_again: str
) -> None:
    """Its server process goes on after the lock of the run is free, and then commits."""
    copy.run()
    copy.raw(lost)
    with (
        psycopg.connect(copy.warehouse_dsn) as orphan,
        ThreadPoolExecutor(1) as pool,
    ):
        orphan.execute(made_again)
        running = pool.submit(copy.run)
        deadline = time.monotonic() + 20
        while copy.raw("select count(*) from pg_locks where not granted and database = "
                       "(select oid from pg_database where datname = current_database())"
                       ) == [(0,)]:  # fmt: skip
            assert time.monotonic() < deadline
            time.sleep(0.05)
        orphan.commit()
        assert changes(running.result()) == {}


def test_server_gives_up_what_a_killed_run_asked_for(copy: Databases) -> None:
    """It looks every 2 seconds whether anybody waits for the statement."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; from extract.raw import connect_raw\n"
         "with connect_raw(sys.argv[1]) as session: session.execute('select pg_sleep(60)')",
         copy.warehouse_dsn],
        cwd=Path(source.__file__).parents[1],
    )  # fmt: skip
    sleeping = ("select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' "
                "and datname = current_database()")  # fmt: skip
    for is_asleep in (1, 0):
        deadline = time.monotonic() + 20
        while copy.raw(sleeping) != [(is_asleep,)]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        child.kill()
    child.wait()


def test_run_is_recorded(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, runs = loaded
    total = sum(run.rows_read for run in runs.values())
    changed = sum(run.rows_inserted for run in runs.values())
    assert databases.raw(
        "select pass, status, rows_read, rows_changed, error, drift, lag_seconds between 0 and 60 "
        "from app.sync_runs where id = 1"
    ) == [("tick", "succeeded", total, changed, None, [], True)]
    recorded = databases.raw(
        "select source_table, rows_inserted, seconds > 0, watermark::timestamp > '2024-01-01' "
        "from app.sync_tables where sync_run_id = 1"
    )
    assert len(recorded) == len(TABLES)
    assert ("messages", 240, True, True) in recorded
    assert ("tags", 12, True, True) in recorded
    assert databases.raw("select is_called from app.data_version") == [(True,)]


def test_loads_are_dlts(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    """Every row bears a load id that dlt knows: one of the bulk, one of the tick."""
    databases, _ = loaded
    loads = databases.raw("select load_id, status from raw_chatwoot._dlt_loads order by 1")
    assert [status for _, status in loads] == [0, 0]
    bulk, tick = (load_id for load_id, _ in loads)
    for table, load_id in (("messages", bulk), ("contacts", tick), ("tags", tick)):
        assert databases.raw(f"select distinct _dlt_load_id from raw_chatwoot.{table}") == [
            (load_id,)
        ]


def test_nothing_stays_on_disk(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    assert list(databases.home.iterdir()) == []
    assert databases.raw("select to_regnamespace('raw_chatwoot_staging')") == [(None,)]


def test_no_credential_arrives(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    planted = databases.source("select count(*) from users where users::text like '%SECRET-TOKEN%'")
    assert planted == [(12,)]
    tables = databases.raw(
        "select schemaname, tablename from pg_tables where schemaname like 'raw_chatwoot%'"
    )
    assert len(tables) > len(TABLES)
    for schema, table in tables:
        found = databases.raw(
            f"select count(*) from {schema}.{table} as t "
            "where position('SECRET-TOKEN' in t::text) > 0"
        )
        assert found == [(0,)], table


def test_allow_list_holds_nothing_forbidden() -> None:
    for table in TABLES:
        assert table.name not in FORBIDDEN_TABLES
        assert not FORBIDDEN_COLUMNS.get(table.name, frozenset()) & set(table.column_names)
        assert not table.left_out & set(table.column_names)
        assert all(f" {name} " not in " token secret password hmac " for name in table.column_names)


def test_reader_may_read_nothing_else(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    with (
        psycopg.connect(loaded[0].reader_dsn) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select pubsub_token from users")


def test_document_shows_the_grants() -> None:
    path = Path(source.__file__).parents[1] / "docs" / "source-role.md"
    shown = path.read_text().split("```sql\n")[2].split("```")[0]
    assert shown == "".join(f"{line};\n" for line in grant_statements("mirante_reader"))


def test_nothing_new_loads_nothing(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    databases.run()  # the indexes that a bulk leaves for later
    counts = (
        "select (select count(*) from raw_chatwoot._dlt_loads), "
        "(select count(*) from raw_chatwoot._dlt_pipeline_state), "
        "(select last_value from app.data_version)"
    )
    before = databases.raw(counts)
    runs = databases.run()
    assert databases.raw(counts) == before
    assert [run for run in runs.values() if run.rows_changed] == []
    assert runs["messages"].rows_read == 5  # the overlap, not the table
    assert (runs["contacts"].rows_compared, runs["contacts"].rows_read) == (60, 0)


def test_tick_finds_what_changed_and_nothing_else(copy: Databases) -> None:
    copy.source("""
        update contacts set name = '', middle_name = null, updated_at = '2024-03-05' where id = 7;
        insert into messages (id, content, account_id, inbox_id, conversation_id, message_type,
            content_attributes, created_at, updated_at)
        values (9001, 'antiga', 1, 1, 1, 0, '"{}"', '2023-01-01', '2023-01-01');
        insert into tags (id, name) values (77, 'nova');
        delete from taggings where id in (3, 60);
        delete from team_members where id = 12;
    """)
    runs = copy.run()
    assert_equal_to_source(copy)
    assert changes(runs) == {
        "contacts": (0, 1, 0),
        "messages": (1, 0, 0),
        "tags": (1, 0, 0),
        "taggings": (0, 0, 2),
        "team_members": (0, 0, 1),
    }
    assert copy.raw("select rows_changed from app.sync_runs order by id desc limit 1") == [(6,)]
    assert copy.raw("select count(*) from raw_chatwoot._dlt_loads") == [(3,)]
    rewritten = copy.raw(
        "select id from raw_chatwoot.contacts where _dlt_load_id = "
        "(select max(load_id) from raw_chatwoot._dlt_loads)"
    )
    assert rewritten == [(7,)]  # equal rows of the same range are not written again


def test_tick_sees_what_moves_no_timestamp(copy: Databases) -> None:
    """Resolves, leaving agents, imports, re-tagging. Nothing of it shows in a cursor."""
    copy.source("""
        update conversations set waiting_since = null, assignee_id = 9 where id = 2;
        update contacts set phone_number = '+5511', updated_at = updated_at - interval '1 year'
            where id = 3;
        update contact_inboxes set contact_id = 4 where id = 5;
        update csat_survey_responses set rating = 1, assigned_agent_id = null where id = 6;
        update labels set title = 'outra' where id = 7;
        insert into taggings select 9000 + id, tag_id, taggable_type, taggable_id, tagger_type,
            tagger_id, context, created_at from taggings where id = 8;
        delete from taggings where id = 8;
    """)
    assert changes(copy.run()) == {
        "conversations": (0, 1, 0),
        "contacts": (0, 1, 0),
        "contact_inboxes": (0, 1, 0),
        "csat_survey_responses": (0, 1, 0),
        "labels": (0, 1, 0),
        "taggings": (1, 0, 1),
    }
    assert_equal_to_source(copy)


def test_tick_reads_recent_messages_again(copy: Databases) -> None:
    """By the index on created_at; older ones are for the reconcile pass."""
    copy.source("""
        update messages set created_at = now() at time zone 'utc' - interval '47 hours',
            status = 2 where id in (10, 11);
        update messages set created_at = now() at time zone 'utc' - interval '50 hours',
            status = 2 where id = 20;
    """)
    assert changes(copy.run()) == {"messages": (0, 2, 0)}
    copy.source("update messages set status = 3 where id in (11, 20)")  # moves no updated_at
    assert changes(copy.run()) == {"messages": (0, 1, 0)}
    assert changes(copy.run(recent=timedelta(hours=51))) == {"messages": (0, 1, 0)}
    assert_equal_to_source(copy)


def test_tick_sees_deletes_of_recent_rows(copy: Databases) -> None:
    copy.source("""
        insert into messages (id, account_id, inbox_id, conversation_id, message_type, created_at,
            updated_at)
        select 300 + n, 1, 1, 1, 0, '2023-01-01', '2023-01-01' from generate_series(1, 9) as n
    """)
    copy.run()
    copy.source("delete from messages where id in (304, 309)")
    assert changes(copy.run()) == {"messages": (0, 0, 2)}
    assert_equal_to_source(copy)


def test_first_days_see_deletes_of_recent_rows_too(clone: Callable[..., Databases]) -> None:
    """Below the overlap of ids, when no mark is as old as what a tick looks at again."""
    databases = clone()
    recent = databases.source(
        "update messages set created_at = now() at time zone 'utc' - interval '1 hour'"
        " where id > (select max(id) from messages) - 20 returning id"
    )
    databases.run()
    gone = min(recent)
    databases.source("delete from messages where id = %s", *gone)
    assert changes(databases.run()) == {"messages": (0, 0, 1)}
    # And one that is older waits for the nightly pass.
    databases.source("delete from messages where id = %s", gone[0] - 1)
    assert changes(databases.run()) == {}


def test_source_without_the_index_on_created_at_is_read_by_id(copy: Databases) -> None:
    """To ask what was created lately would be a scan a tick."""
    copy.source("drop index messages_created_at_idx")
    runs = copy.run()
    rows = copy.source("select count(*) from messages")[0][0]
    assert 0 < runs["messages"].rows_read <= pipeline.ID_OVERLAP + 1 < rows
    ((drift,),) = copy.raw("select drift from app.sync_runs order by id desc limit 1")
    assert "source has no index on messages.created_at: ticks find new rows by id alone" in drift
    assert not [line for line in drift if "reporting_events.created_at" in line]
    copy.source("update messages set content = 'nova' where id = (select max(id) from messages)")
    assert changes(copy.run()) == {"messages": (0, 1, 0)}


def test_children_of_a_deleted_conversation_go_in_the_same_tick(copy: Databases) -> None:
    """Chatwoot deletes them in a job of its own: those that still exist stay."""
    conversation = 17
    copy.source("update messages set conversation_id = %s where id between 30 and 60", conversation)
    copy.source("update attachments set message_id = 31 where id < 4")
    copy.source("update reporting_events set conversation_id = %s where id < 3", conversation)
    copy.run(full=True)
    copy.source(f"""
        delete from conversations where id = {conversation};
        delete from messages where id between 30 and 50;
        delete from attachments where message_id = 31;
        delete from reporting_events where conversation_id = {conversation};
    """)
    assert changes(copy.run()) == {
        "conversations": (0, 0, 1),
        "messages": (0, 0, 21),
        "attachments": (0, 0, 3),
        "reporting_events": (0, 0, 2),
    }
    assert_equal_to_source(copy)


def test_children_that_go_later_than_their_conversation_go_in_a_tick(copy: Databases) -> None:
    copy.source("update messages set conversation_id = 17 where id between 30 and 60")
    copy.source("update attachments set message_id = 31 where id < 4")
    copy.source("update reporting_events set conversation_id = 17 where id < 3")
    copy.run(full=True)
    copy.source("delete from conversations where id = 17")
    assert changes(copy.run()) == {"conversations": (0, 0, 1)}
    copy.source("delete from messages where id between 30 and 50")
    copy.source("delete from reporting_events where id = 1")
    assert changes(copy.run()) == {"messages": (0, 0, 21), "reporting_events": (0, 0, 1)}
    copy.source("delete from attachments where message_id = 31")
    assert changes(copy.run()) == {"attachments": (0, 0, 3)}
    assert_equal_to_source(copy)
    copy.raw("update raw_chatwoot.conversations set _deleted_at = now() - interval '49 hours' "
             "where id = 17")  # fmt: skip
    copy.source("delete from messages where id > 50 and conversation_id = 17")
    assert changes(copy.run()) == {}  # as old as that, it is for the reconcile pass


def test_contact_merge(copy: Databases) -> None:
    """Everything moves to the other contact, messages too, and the merged one is gone."""
    copy.source("""
        update conversations set contact_id = 2 where contact_id = 1;
        update contact_inboxes set contact_id = 2 where contact_id = 1;
        update messages set sender_id = 2, updated_at = now() at time zone 'utc'
            where sender_type = 'Ana' and sender_id = 1;
        delete from contacts where id = 1;
    """)
    copy.run()
    assert contents(copy, "conversations", of_source=True) == contents(
        copy, "conversations", of_source=False
    )
    assert copy.raw("select name from raw_chatwoot.contacts where id = 1") == [(None,)]
    copy.run(full=True)
    assert_equal_to_source(copy)


def test_three_ticks_in_a_row(copy: Databases) -> None:
    """A transaction that commits late, a label taken off and put back, a clock that is ahead."""
    insert = (
        "insert into messages (id, content, account_id, inbox_id, conversation_id, message_type, "
        "created_at, updated_at) values (%s, 'oi', 1, 1, 1, 0, '2023-01-01', '2023-01-01')"
    )
    copy.source("create table kept as select * from taggings where id = 3")
    with psycopg.connect(copy.admin_dsn) as late:
        late.execute(insert, [1000])
        copy.source(insert, 1001)
        copy.source("delete from taggings where id = 3")
        copy.source("update contacts set updated_at = '2999-01-01' where id = 1")
        assert copy.run()["messages"].rows_inserted == 1
        copy.source("delete from messages where id = 1001")  # raw's last id is one that is gone
    tombstone = copy.raw(
        "select context, to_jsonb(t) - '_deleted_at' - '_dlt_load_id' - 'context', "
        "_deleted_at > now() - interval '1 minute' from raw_chatwoot.taggings as t where id = 3"
    )
    expected = copy.source("select to_jsonb(kept) - 'context' from kept")
    assert tombstone == [(None, expected[0][0], True)]

    copy.source("update contacts set name = 'já' where id = 2")
    assert changes(copy.run()) == {"messages": (1, 0, 1), "contacts": (0, 1, 0)}

    copy.source("insert into taggings select * from kept")
    copy.source(insert, 1001)
    assert changes(copy.run()) == {"messages": (0, 1, 0), "taggings": (0, 1, 0)}
    assert_equal_to_source(copy)


def test_tick_is_one_moment_and_one_transaction(
    copy: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What commits while a run reads waits for the next; what is read is seen all at once."""
    copy.source("update accounts set name = 'antes'; update working_hours set open_hour = 6")
    stage, load = pipeline._Tick.stage, pipeline._Tick.load
    seen = []

    def change_then_stage(self: Any, pair: Any, *arguments: Any) -> None:
        if pair.table.name == "inboxes":
            copy.source("update labels set title = 'durante'; delete from conversations")
        stage(self, pair, *arguments)

    def look_then_load(self: Any, *arguments: Any) -> None:
        load(self, *arguments)
        seen.extend(copy.raw("select count(*) from raw_chatwoot.accounts where name = 'antes'"))

    monkeypatch.setattr(pipeline._Tick, "stage", change_then_stage)
    monkeypatch.setattr(pipeline._Tick, "load", look_then_load)
    assert changes(copy.run()) == {"accounts": (0, 12, 0), "working_hours": (0, 12, 0)}
    assert seen == [(0,), (0,)]
    monkeypatch.undo()
    assert changes(copy.run()) == {"labels": (0, 12, 0), "conversations": (0, 0, 60)}
    assert_equal_to_source(copy)


def test_failed_table_leaves_all_tables_of_the_tick_as_they_were(copy: Databases) -> None:
    copy.source("update accounts set name = 'nova'; update working_hours set open_hour = 6")
    copy.raw("alter table raw_chatwoot.working_hours add constraint no check (open_hour <> 6)")
    with pytest.raises(ExtractError, match="the server refused it"):
        copy.run()
    assert copy.raw("select count(*) from raw_chatwoot.accounts where name = 'nova'") == [(0,)]
    copy.raw("alter table raw_chatwoot.working_hours drop constraint no")
    copy.run()
    assert_equal_to_source(copy)


def test_reconcile_finds_silent_writes_and_deletes(copy: Databases) -> None:
    copy.source("""
        update messages set sender_id = null, content = 'outra' where id in (5, 90);
        delete from messages where id between 20 and 29;
        delete from reporting_events where id = 4;
        insert into attachments (id, file_type, message_id, account_id, created_at, updated_at)
            values (-3, 0, 1, 1, '2020-01-01', '2020-01-01');
    """)
    assert changes(copy.run()) == {}  # a tick cannot see any of it
    event = copy.raw("select to_jsonb(t) from raw_chatwoot.reporting_events as t where id = 4")
    before = copy.raw("select id, conversation_id from raw_chatwoot.messages where id between 20 "
                      "and 29 order by 1")  # fmt: skip
    runs = copy.run(full=True)
    assert changes(runs) == {
        "messages": (0, 2, 10),
        "attachments": (1, 0, 0),
        "reporting_events": (0, 0, 1),
    }
    # Only ranges that differ travelled: of 2 ids each here, those of 20 to 29 without a row, and
    # the overlap of the tick.
    assert (runs["messages"].rows_compared, runs["messages"].rows_read) == (240, 2 + 2 + 0 + 5)
    assert_equal_to_source(copy)
    assert copy.raw(
        "select id, conversation_id from raw_chatwoot.messages where _deleted_at is not null "
        "and content is null and content_attributes is null order by 1"
    ) == before  # fmt: skip
    # An event of a removed agent goes on counting: its tombstone keeps all.
    kept = copy.raw("select to_jsonb(t) from raw_chatwoot.reporting_events as t where id = 4")
    changed = {key for key in kept[0][0] if kept[0][0][key] != event[0][0][key]}
    assert changed == {"_deleted_at", "_dlt_load_id"}
    assert copy.raw("select pass from app.sync_runs order by id desc limit 1") == [("reconcile",)]
    assert changes(copy.run(full=True)) == {}


def test_hash_of_text_finds_the_same(copy: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of servers before 14, or of another byte order."""
    monkeypatch.setattr(comparison, "choose_method", lambda *_: "text")
    assert changes(copy.run(full=True)) == {}
    copy.source("update messages set content = 'outra' where id = 90")
    copy.source("update contacts set name = '' where id = 9")
    assert changes(copy.run(full=True)) == {"messages": (0, 1, 0), "contacts": (0, 1, 0)}
    assert_equal_to_source(copy)


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("content", None, ""),
        ("content", "", "NULL"),
        ("content", "a", "A"),
        ("content_attributes", "{}", "{ }"),
        ("content_attributes", '"{}"', "{}"),
        ("additional_attributes", '{"a": 1.1}', '{"a": 1.10}'),
        ("sender_id", None, "0"),
        ("private", "false", "true"),
        ("created_at", "2020-01-01", "2020-01-01 00:00:00.000001"),
        ("created_at", "infinity", "-infinity"),
    ],
)
def test_hash_and_merge_tell_values_apart(
    copy: Databases, column: str, before: str | None, after: str | None
) -> None:
    update = f"update messages set {column} = %s where id = 100"
    copy.source(update, before)
    copy.run(full=True)
    copy.source(update, after)
    assert changes(copy.run(full=True)) == {"messages": (0, 1, 0)}
    assert_equal_to_source(copy)


def test_ledger_rows_leave_and_stay_out(copy: Databases) -> None:
    copy.raw(
        "insert into app.erased_rows (source_table, source_id) values ('messages', 240), "
        "('messages', 3), ('contacts', 5), ('tags', 1), ('messages', 999999)"
    )
    version = copy.raw("select last_value from app.data_version")[0][0]
    assert changes(copy.run()) == {
        "messages": (0, 0, 2),
        "contacts": (0, 0, 1),
        "tags": (0, 0, 1),
    }
    assert copy.raw("select last_value from app.data_version")[0][0] == version + 1
    copy.source("update messages set content = 'de novo', updated_at = '2024-03-05' where id = 240")
    runs = copy.run(full=True)
    assert changes(runs) == {}
    # Not even read: the ranges around them count as equal.
    assert (runs["contacts"].rows_compared, runs["contacts"].rows_read) == (59, 0)
    assert runs["messages"].rows_read == 4
    for table, id_ in (("messages", 240), ("messages", 3), ("contacts", 5), ("tags", 1)):
        assert copy.raw(f"select 1 from raw_chatwoot.{table} where id = {id_}") == []


def test_ledger_holds_in_a_first_load(clone: Callable[..., Databases]) -> None:
    databases = clone()
    databases.raw(
        "insert into app.erased_rows (source_table, source_id) values ('messages', 7), "
        "('contacts', 5)"
    )
    runs = databases.run()
    assert (runs["messages"].rows_inserted, runs["contacts"].rows_inserted) == (239, 59)
    assert databases.raw("select 1 from raw_chatwoot.messages where id = 7") == []


# What an older release lacks: Chatwoot 3 before Captain, and no conversation_opened.
OLDER_CHATWOOT = """
    create table priorities as select id, priority from conversations;
    alter table conversations drop column priority, drop column cached_label_list,
        drop column assignee_agent_bot_id, drop column waiting_since;
    alter table contacts drop column blocked, drop column company_id;
    alter table csat_survey_responses drop column csat_review_notes,
        drop column review_notes_updated_at, drop column review_notes_updated_by_id;
    alter table working_hours drop column open_all_day;
    alter table captain_inboxes rename to later;
    drop table captain_assistants, conversation_participants;
    delete from reporting_events where name = 'conversation_opened';
"""


def test_older_source_then_upgraded(
    clone: Callable[..., Databases], caplog: pytest.LogCaptureFixture
) -> None:
    databases = clone()
    databases.source(OLDER_CHATWOOT)
    databases.source("alter table messages add column ctwa text default 'novo'")
    with caplog.at_level(logging.INFO, logger="extract"):
        runs = databases.run()
    news = "source has columns that are not read: messages.ctwa"
    assert news in caplog.messages
    drift = databases.raw("select drift from app.sync_runs order by id desc limit 1")[0][0]
    assert drift[0] == news
    lacking = drift[1].removeprefix("source lacks, and raw has empty: ").split(", ")
    assert {"conversations.priority", "conversations.cached_label_list", "contacts.blocked",
            "captain_inboxes", "captain_assistants"} <= set(lacking)  # fmt: skip
    assert runs["captain_inboxes"].rows_read == 0
    assert databases.raw(
        "select pg_typeof(priority)::text, count(priority), count(*) "
        "from raw_chatwoot.conversations group by 1"
    ) == [("integer", 0, 60)]
    assert databases.raw("select count(*) from raw_chatwoot.captain_inboxes") == [(0,)]
    assert changes(databases.run()) == {}
    databases.source("""
        alter table conversations add column priority integer, add column cached_label_list text,
            add column assignee_agent_bot_id bigint, add column waiting_since timestamp;
        update conversations set priority = priorities.priority from priorities
        where conversations.id = priorities.id;
        alter table contacts add column blocked boolean default false,
            add column company_id bigint;
        alter table csat_survey_responses add column csat_review_notes text,
            add column review_notes_updated_at timestamp,
            add column review_notes_updated_by_id bigint;
        alter table working_hours add column open_all_day boolean default true;
        alter table later rename to captain_inboxes;
        create table captain_assistants (id bigserial primary key, name varchar, account_id bigint,
            created_at timestamp, updated_at timestamp);
        create table conversation_participants (id bigserial primary key, account_id bigint,
            user_id bigint, conversation_id bigint, created_at timestamp, updated_at timestamp);
        insert into conversation_participants values (1, 1, 1, 1, '2024-01-01', '2024-01-01');
        alter table messages alter column id type bigint;
        alter table messages alter column source_id type varchar;
        insert into messages (id, account_id, inbox_id, conversation_id, message_type, created_at,
            updated_at)
        values (5000000000, 1, 1, 1, 0, '2024-03-05', '2024-03-05');
    """)
    for statement in grant_statements(READER):
        databases.source(statement)
    databases.raw("create view staging.stg_of_messages as select id from raw_chatwoot.messages")
    caplog.clear()
    runs = databases.run()
    assert databases.raw("select to_regclass('staging.stg_of_messages')") == [(None,)]
    assert "source has messages.id as int8, was int4" in caplog.messages
    assert "source has messages.source_id as varchar, was text" in caplog.messages
    filled = databases.source("select count(priority) from conversations")[0][0]
    assert changes(runs) == {
        "conversations": (0, filled, 0),
        "contacts": (0, 60, 0),
        "working_hours": (0, 12, 0),
        "captain_inboxes": (12, 0, 0),
        "conversation_participants": (1, 0, 0),
        "messages": (1, 0, 0),
    }
    assert_equal_to_source(databases)


def test_optional_column_that_is_dropped_becomes_null(copy: Databases) -> None:
    """Also in rows that no tick would look at, of a table too large for one."""
    filled = copy.source("select count(source_id) from messages")[0][0]
    copy.source("alter table messages drop column source_id")
    assert changes(copy.run()) == {"messages": (0, filled, 0)}
    assert copy.raw("select count(source_id) from raw_chatwoot.messages") == [(0,)]
    assert changes(copy.run()) == {}


def test_rows_of_an_optional_table_that_is_dropped_go_with_it(copy: Databases) -> None:
    """And come back with it. One that is there but not granted stops the run before anything."""
    copy.source(f"revoke select on captain_inboxes from {READER}")
    with pytest.raises(ExtractError, match="no permission on captain_inboxes"):
        copy.run()
    copy.source("alter table captain_inboxes rename to later")
    assert changes(copy.run()) == {"captain_inboxes": (0, 0, 12)}
    assert changes(copy.run()) == {}
    copy.source("alter table later rename to captain_inboxes")
    copy.source(f"grant select on captain_inboxes to {READER}")
    assert changes(copy.run()) == {"captain_inboxes": (0, 12, 0)}
    assert_equal_to_source(copy)


BAD_SOURCES = {
    "required column": (
        "alter table messages drop column sender_type",
        "messages.sender_type is missing",
    ),
    "changed type": (
        "alter table messages alter column private type text",
        "messages.private is text, expected bool",
    ),
    "required table": ("drop table labels", "required table missing: labels"),
    "not Chatwoot": (
        "drop table messages, inboxes, labels",
        "is not a Chatwoot database: schema public has no table messages, inboxes",
    ),
    "column not granted": (
        f"revoke select on messages from {READER}; grant select (id) on messages to {READER}",
        "no permission on messages: GRANT SELECT (content, account_id, ",
    ),
    "table not granted": (
        f"revoke select on contacts from {READER}",
        f'phone_number, account_id, created_at, updated_at, identifier, custom_attributes, '
        f'last_activity_at, contact_type, middle_name, last_name, location, country_code, blocked, '
        f'company_id) ON public.contacts TO "{READER}"',
    ),
    "schema not granted": (
        f"revoke usage on schema public from public, {READER}",
        f'GRANT USAGE ON SCHEMA public TO "{READER}"',
    ),
    "row security": (
        "alter table messages enable row level security;"
        "alter table contacts enable row level security;"
        "create policy everything on contacts using (true)",
        f'row security hides rows of contacts, messages: ALTER ROLE "{READER}" BYPASSRLS',
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def unwritten(clone: Callable[..., Databases]) -> Databases:
    """A warehouse that no run has written to."""
    return clone()


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_unfit_source_stops_before_anything_is_written(
    clone: Callable[..., Databases], unwritten: Databases, case: str
) -> None:
    change, message = BAD_SOURCES[case]
    databases = dataclasses.replace(clone(target=None), warehouse_dsn=unwritten.warehouse_dsn)
    databases.source(change)
    with pytest.raises(ExtractError) as failure:
        databases.run()
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)
    assert str(conninfo.conninfo_to_dict(databases.admin_dsn)["dbname"]) in str(failure.value)
    assert databases.raw("select 1 from pg_tables where schemaname like 'raw_chatwoot%'") == []
    assert databases.raw("select status, error from app.sync_runs order by id desc limit 1") == [
        ("failed", str(failure.value))
    ]


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("password", "errada/secreta", "password authentication failed"),
        ("port", "1", "@127.0.0.1:1/"),
        ("dbname", "not_there", 'database "not_there" does not exist'),
    ],
)
def test_source_out_of_reach(
    loaded: tuple[Databases, dict[str, TableRun]],
    caplog: pytest.LogCaptureFixture,
    part: str,
    value: str,
    message: str,
) -> None:
    databases, _ = loaded
    dsn = conninfo.make_conninfo(databases.reader_dsn, **{part: value})
    with pytest.raises(ExtractError) as failure, caplog.at_level(logging.DEBUG):
        run_extract(dsn, databases.warehouse_dsn, databases.home)
    last = databases.raw("select status, error from app.sync_runs order by id desc limit 1")
    assert last == [("failed", str(failure.value))]
    said = f"{failure.value} {caplog.text}"
    assert message in said
    assert "\n" not in str(failure.value)
    assert READER_PASSWORD not in said
    assert "secreta" not in said


def test_warehouse_out_of_reach(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    dsn = conninfo.make_conninfo(databases.warehouse_dsn, password="errada")
    with pytest.raises(ExtractError, match=r"^warehouse: cannot log in to mirante_owner@"):
        run_extract(databases.reader_dsn, dsn, databases.home)
    with pytest.raises(ExtractError, match="not a PostgreSQL URI") as failure:
        run_extract("postgresql://u:p%zz@h/d", databases.warehouse_dsn, databases.home)
    assert "p%zz" not in str(failure.value)
    elsewhere = conninfo.make_conninfo(databases.admin_dsn)  # no migration was run there
    with pytest.raises(ExtractError, match=r'relation "app.sync_runs" does not exist'):
        run_extract(databases.reader_dsn, elsewhere, databases.home)


@pytest.mark.parametrize("side", ["source", "warehouse"])
def test_server_lost_in_the_middle(
    copy: Databases, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    copy.source("update accounts set name = 'nova'; update working_hours set open_hour = 6")
    admin, role = {
        "source": (copy.admin_dsn, READER),
        "warehouse": (conninfo.make_conninfo(copy.admin_dsn, dbname=_database(copy.warehouse_dsn)),
                      "mirante_owner"),
    }[side]  # fmt: skip
    original = pipeline._Tick.stage

    def stage(self: Any, pair: Any, *arguments: Any) -> None:
        if pair.table.name == "messages":
            rows_of(
                admin,
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
                "current_database() and usename = %s",
                (role,),
            )
        original(self, pair, *arguments)

    monkeypatch.setattr(pipeline._Tick, "stage", stage)
    with pytest.raises(ExtractError, match=rf"^{side} {role}@.*: .*(terminating|lost)"):
        copy.run()
    monkeypatch.undo()
    assert changes(copy.run()) == {"accounts": (0, 12, 0), "working_hours": (0, 12, 0)}
    assert_equal_to_source(copy)


def _database(dsn: str) -> str:
    return str(conninfo.conninfo_to_dict(dsn)["dbname"])


def test_what_an_unfinished_run_loaded_still_counts_as_change(
    copy: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be built of it: to the next run it is no news."""
    copy.source("insert into tags (name) values ('a'); insert into tags (name) values ('b')")
    version = copy.raw("select last_value from app.data_version")[0][0]

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        copy.run()
    monkeypatch.undo()
    assert copy.raw("select count(*) from raw_chatwoot.tags") == [(14,)]
    assert copy.run()["tags"].rows_inserted == 0
    assert copy.raw(
        "select status, rows_changed, error from app.sync_runs order by id desc limit 2"
    ) == [("succeeded", 2, None), ("failed", 2, "interrupted")]
    assert copy.raw("select last_value from app.data_version")[0][0] == version + 1
    copy.run()
    assert copy.raw("select last_value from app.data_version")[0][0] == version + 1


def test_failed_load_says_nothing_of_the_rows_and_heals(
    copy: Databases, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    copy.source("update messages set content = 'palavra-secreta', updated_at = '2024-03-05'")
    copy.raw("""
        create function raw_chatwoot.refuse() returns trigger language plpgsql as
            $$ begin raise exception 'refused: %', new.content; end $$;
        create trigger refuse before update on raw_chatwoot.messages
            for each row execute function raw_chatwoot.refuse();
    """)
    with pytest.raises(ExtractError) as failure, caplog.at_level(logging.DEBUG):
        copy.run(full=True)
    assert str(failure.value).endswith("the server refused it (PostgreSQL error P0001)")
    recorded = copy.raw("select error from app.sync_runs where status = 'failed'")
    output = capfd.readouterr()
    said = f"{failure.value} {recorded} {caplog.text} {output.out} {output.err}"
    assert "palavra-secreta" not in said
    assert failure.value.__cause__ is None
    assert list(copy.home.iterdir()) == []
    copy.raw("drop trigger refuse on raw_chatwoot.messages")
    assert copy.run(full=True)["messages"].rows_updated == 240
    assert_equal_to_source(copy)


def test_full_disk_is_said() -> None:
    full = OSError(28, "No space left on device: /secret/path")
    wrapped = RuntimeError("extract failed")
    wrapped.__cause__ = full
    assert "no space left" in str(as_extract_error(wrapped, "warehouse", "postgresql://h/d"))
    with pytest.raises(psycopg.errors.DiskFull) as failure:
        raise psycopg.errors.DiskFull("could not extend file")
    said = str(as_extract_error(failure.value, "warehouse", "postgresql://u:p@h/d"))
    assert said == "warehouse u@h:5432/d: its disk is full (PostgreSQL error 53100)"


def test_second_run_at_once_is_refused(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    databases, _ = loaded
    before = databases.raw("select count(*) from app.sync_runs")
    with psycopg.connect(databases.warehouse_dsn) as holder:
        holder.execute("select pg_advisory_lock(%s)", [pipeline.LOCK_KEY])
        with pytest.raises(ExtractError, match=f"pid {holder.info.backend_pid} since 20"):
            databases.run()
    assert databases.raw("select count(*) from app.sync_runs") == before


def test_lock_that_is_lost_on_the_way_is_noticed(
    copy: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run may have begun: nothing of this one shows."""
    copy.source("update accounts set name = 'nova'")
    original = pipeline._Tick.stage

    def stage(self: Any, pair: Any, *arguments: Any) -> None:
        if pair.table.name == "messages":
            copy.raw(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
                " and classid = 0 and objid = %s and database = ("
                " select oid from pg_database where datname = current_database())",
                pipeline.LOCK_KEY,
            )
        original(self, pair, *arguments)

    monkeypatch.setattr(pipeline._Tick, "stage", stage)
    with pytest.raises(ExtractError, match="held the extraction's lock was ended"):
        copy.run()
    assert copy.raw("select count(*) from raw_chatwoot.accounts where name = 'nova'") == [(0,)]
    monkeypatch.undo()
    assert changes(copy.run()) == {"accounts": (0, 12, 0)}


def test_standby_that_is_behind_the_one_just_asked_is_not_read(
    copy: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address of several standbys answers twice, and not as of the same moment."""
    copy.source("update accounts set name = 'nova'")
    copy.raw("update app.sync_runs set source_moment = now() + interval '1 hour'")
    monkeypatch.setattr(pipeline, "choose_source", lambda _, replica, __: (replica, ""))
    with pytest.raises(ExtractError, match=r"as of 20.* UTC, raw is later, .* name one standby"):
        copy.run(replica_dsn=copy.reader_dsn)
    assert copy.raw("select count(*) from raw_chatwoot.accounts where name = 'nova'") == [(0,)]


# A process of its own, with ranges as small as here. KILL_AT: it kills itself at that statement or
# COPY of its own, -9.
CHILD = """
import os, signal, sys
from pathlib import Path
from extract import comparison, databases, pipeline, raw
comparison.RANGE_IDS, comparison.FINE_IDS = 4, 2
comparison.BATCH_IDS, comparison.FETCH_ROWS = 50, 40
pipeline.BULK_ROWS, pipeline.ID_OVERLAP = 100, 5
events = 0
def counted(call):
    def count(*arguments, **options):
        global events
        events += 1
        if str(events) == os.environ.get("KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return count
databases.Session.execute = counted(databases.Session.execute)
raw.pipe = counted(raw.pipe)
full = os.environ.get("FULL") == "1"
try:
    runs = pipeline.run_extract(sys.argv[1], sys.argv[2], Path(sys.argv[3]), full=full)
finally:
    print("streamlit" in sys.modules, "pyarrow" in sys.modules, events)
print(sum(run.rows_changed for run in runs))
"""


def _start(databases: Databases, **environment: str) -> subprocess.Popen[str]:
    root = Path(source.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, databases.reader_dsn, databases.warehouse_dsn,
         str(databases.home)],
        cwd=root, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip


def test_cold_process_imports_little(loaded: tuple[Databases, dict[str, TableRun]]) -> None:
    output, _ = _start(loaded[0]).communicate(timeout=60)
    assert output.split()[:2] == ["False", "False"]
    assert output.split()[3] == "0"


def _killed(databases: Databases, at: int, **environment: str) -> bool:
    """Run a process that kills itself at its n-th statement; False: it ended before that."""
    child = _start(databases, KILL_AT=str(at), **environment)
    child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL)
    return child.returncode != 0


def _statements(databases: Databases, **environment: str) -> int:
    """Statements and COPYs of a run of its own."""
    output, _ = _start(databases, **environment).communicate(timeout=60)
    return int(output.split()[2])


def test_first_load_killed_again_and_again(clone: Callable[..., Databases]) -> None:
    """Each process gets a little further than the one before it, the last one to the end."""
    databases = clone()
    total = _statements(clone())
    killed = [_killed(databases, at) for at in range(total // 8, total * 3 // 4, total // 8)]
    assert sum(killed) > 3
    databases.run()
    assert_equal_to_source(databases)
    statuses = databases.raw("select status, error is null from app.sync_runs order by id")
    assert statuses[-1] == ("succeeded", True)
    assert ("failed", False) in statuses
    assert ("running", True) not in statuses
    assert list(databases.home.iterdir()) == []


def test_hole_of_a_killed_first_load_is_filled_in_ranges(
    copy: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dlt's jobs go in no order: the last range alone may have arrived. Never all in one piece."""
    copy.raw("delete from raw_chatwoot.messages where id <= 220")
    copy.raw("delete from raw_chatwoot._dlt_pipeline_state")  # of a load that never ended
    pieces: list[int] = []
    receive = raw.Incoming.receive

    def count(self: raw.Incoming, *arguments: Any) -> None:
        before = self.rows_read
        receive(self, *arguments)
        pieces.append(self.rows_read - before)

    monkeypatch.setattr(raw.Incoming, "receive", count)
    assert changes(copy.run()) == {"messages": (220, 0, 0)}
    assert max(pieces) <= comparison.FETCH_ROWS
    assert_equal_to_source(copy)


def test_tick_and_reconcile_killed(copy: Databases) -> None:
    """A kill leaves a tick undone or done, never half: then the next one does the rest."""
    copy.run()
    for turn, (at, full) in enumerate([(60, ""), (100, ""), (120, ""), (70, "1"), (95, "1")]):
        text = f"volta {turn}"
        copy.source("update contacts set name = %s", text)
        copy.source("update labels set title = %s", text)
        copy.source("update messages set content = %s where id %% 5 = 0", text)
        copy.source("delete from messages where id = %s", 200 + turn)
        _killed(copy, at, FULL=full)
        (names,) = copy.raw("select count(*) from raw_chatwoot.contacts where name = %s", text)
        (titles,) = copy.raw("select count(*) from raw_chatwoot.labels where title = %s", text)
        assert (names, titles) in [((0,), (0,)), ((60,), (12,))]
    copy.run(full=True)
    assert_equal_to_source(copy)


@pytest.mark.soak
def test_kills_at_random_moments(clone: Callable[..., Databases]) -> None:
    """The long form: 40 runs, each killed at some moment while the source goes on changing."""
    databases = clone()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for position in range(40):
        databases.source(
            "update public.messages set content = %s, updated_at = now() at time zone 'utc'"
            " where id %% 7 = %s",
            f"volta {position}",
            chance.randrange(7),
        )
        child = _start(databases)
        try:
            child.wait(chance.uniform(0.2, 6))
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    databases.run(full=True)
    assert_equal_to_source(databases)
    assert databases.raw("select 1 from app.sync_runs where status = 'running'") == []


def test_empty_source_and_lost_raw(clone: Callable[..., Databases]) -> None:
    """A table emptied by hand is read again, whatever dlt's state says."""
    databases = clone()
    databases.source(f"truncate {', '.join(table.name for table in TABLES)}")
    assert sum(run.rows_read for run in databases.run().values()) == 0
    databases.source("insert into tags (name) values ('a'); insert into tags (name) values ('b')")
    assert databases.run()["tags"].rows_inserted == 2
    databases.raw("truncate raw_chatwoot.tags")
    assert databases.run()["tags"].rows_inserted == 2
