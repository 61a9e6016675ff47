"""When a build is due, and what the pages may call fresh."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Pipeline
from warehouse.build import AFTER_ENRICHMENT, build
from warehouse.db import fetch_all


@pytest.fixture
def owner(pipeline: Pipeline) -> Iterator[psycopg.Connection]:
    """A connection of the owner; what the test wrote about runs and builds is undone."""
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        runs, builds = connection.execute(
            "select (select max(id) from app.sync_runs), (select max(id) from app.builds)"
        ).fetchone() or (0, 0)
        yield connection
        connection.execute("delete from app.sync_runs where id > %s", [runs])
        connection.execute("delete from app.builds where id > %s", [builds])


def load(owner: psycopg.Connection, *, changed: int, status: str = "succeeded") -> None:
    owner.execute(
        "insert into app.sync_runs (pass, status, started_at, finished_at, rows_changed)"
        " values ('tick', %s, clock_timestamp(), clock_timestamp(), %s)",
        [status, changed],
    )


def built(owner: psycopg.Connection, *, status: str = "succeeded", part: str | None = None) -> None:
    owner.execute(
        "insert into app.builds (status, selection, started_at, finished_at)"
        " values (%s, %s, clock_timestamp(), clock_timestamp())",
        [status, part],
    )


def shown(pipeline: Pipeline) -> int:
    """Which run's data the pages say they show."""
    rows = fetch_all(pipeline.warehouse.dsn("app"), "select last_loaded_at from app.load_state()")
    return pipeline.query("select id from app.sync_runs where started_at = %s", rows[0][0])[0][0]


def newest(owner: psycopg.Connection) -> int:
    row = owner.execute("select max(id) from app.sync_runs").fetchone()
    assert row
    return int(row[0])


def test_data_is_as_fresh_as_the_newest_load_that_was_built(
    pipeline: Pipeline, owner: psycopg.Connection
) -> None:
    built(owner)
    load(owner, changed=0)
    fresh = newest(owner)
    assert shown(pipeline) == fresh  # nothing new: the marts show this moment
    load(owner, changed=0, status="failed")
    assert shown(pipeline) == fresh
    load(owner, changed=7)
    load(owner, changed=0)
    assert shown(pipeline) == fresh  # not built yet
    built(owner, status="failed")
    built(owner, part=AFTER_ENRICHMENT)
    assert shown(pipeline) == fresh  # and not by these
    built(owner)
    assert shown(pipeline) == newest(owner)


def test_build_is_due_only_when_an_input_changed(
    pipeline: Pipeline, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the project stands for the whole only where nothing but the scores changed."""
    import warehouse.build

    monkeypatch.setattr(
        warehouse.build, "_run_dbt", lambda *_: warehouse.build.BuildReport(1, 1, ())
    )

    def is_due() -> bool:
        return not build(pipeline.settings, pipeline.warehouse, only_if_changed=True).skipped

    def change(column: str) -> None:
        owner.execute(f"update app.tenants set {column} = {column} || ' '")

    is_due()
    assert not is_due()
    load(owner, changed=3)
    assert is_due()
    assert not is_due()
    change("plan")
    build(pipeline.settings, pipeline.warehouse, select=AFTER_ENRICHMENT)
    assert is_due()
    build(pipeline.settings, pipeline.warehouse, select=AFTER_ENRICHMENT)
    assert not is_due()
    build(pipeline.settings, pipeline.warehouse, select="fct_messages")
    assert is_due()
    built(owner, status="failed")
    assert is_due()
    owner.execute("update app.tenants set plan = btrim(plan)")


def test_snapshots_outlive_every_build(pipeline: Pipeline, owner: psycopg.Connection) -> None:
    """Nothing new records nothing; a change ends a state; a full refresh keeps what was seen."""
    history = "select count(*), max(observed_at) from intermediate.int_conversation_states_observed"
    conversation_id = pipeline.query(
        "select min(conversation_id) from marts.snap_conversations where status = 'resolved'"
    )[0][0]

    def record(*, full_refresh: bool = False) -> list[tuple]:
        build(
            pipeline.settings, pipeline.warehouse, full_refresh=full_refresh,
            select="int_conversation_states_observed snap_conversations",
        )  # fmt: skip
        return pipeline.query(
            "select status, valid_from, valid_to from marts.snap_conversations"
            " where conversation_id = %s order by valid_from",
            conversation_id,
        )

    (rows, last_seen) = pipeline.query(history)[0]
    (first,) = record()
    assert pipeline.query(history) == [(rows, last_seen)]
    source = "update raw_chatwoot.conversations set status = %s where id = %s"
    owner.execute(source, [0, conversation_id])
    try:
        states = record(full_refresh=True)
        assert [state[0] for state in states] == ["resolved", "open"]
        assert states[0] == ("resolved", first[1], states[1][1])
        assert states[1][2] is None
        assert pipeline.query(history)[0][0] == rows + 1
    finally:
        owner.execute(source, [1, conversation_id])
        owner.execute(
            "delete from intermediate.int_conversation_states_observed"
            " where conversation_id = %s and observed_at > %s",
            [conversation_id, first[1]],
        )
        assert record() == [first]
