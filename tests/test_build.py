"""When a build is due, and what the pages may call fresh."""

from collections.abc import Iterator

import psycopg
import pytest

import warehouse.build
from extract.pipeline import run_extract
from tests.conftest import Pipeline
from warehouse.build import READ_BY_INDEX, BuildReport, Plan, build
from warehouse.db import Warehouse, fetch_all
from warehouse.errors import MiranteError
from warehouse.settings import Settings
from warehouse.tenants import add_tenant


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
    built(owner, part="fct_messages")
    assert shown(pipeline) == fresh  # and not by these
    built(owner)
    assert shown(pipeline) == newest(owner)


def test_sessions_of_a_build(copied: Pipeline) -> None:
    """One a thread, not one a model; one that broke costs its model and is replaced."""
    dsn = copied.warehouse.dsn("owner")

    def sessions() -> int:
        return int(
            copied.query(
                "select sessions from pg_stat_database where datname = current_database()"
            )[0][0]
        )

    with psycopg.connect(dsn, autocommit=True) as owner:
        change = (
            "update raw_chatwoot.conversations set priority = coalesce(priority, 0) + 1"
            " where id in (select id from raw_chatwoot.conversations order by id limit 50)"
        )
        owner.execute(change)
        before = sessions()
        assert build(copied.settings, copied.warehouse).models > 35
        assert 2 < sessions() - before < 15
        owner.execute(
            "create function intermediate.break() returns trigger language plpgsql as"
            " 'begin perform pg_terminate_backend(pg_backend_pid()); return new; end'"
        )
        owner.execute(
            "create trigger break before insert on marts.agg_hourly"
            " for each row execute function intermediate.break()"
        )
        owner.execute(change)
        with pytest.raises(
            MiranteError, match=r"1 models failed: agg_hourly: (server closed|terminating)"
        ):
            build(copied.settings, copied.warehouse)
        owner.execute("drop function intermediate.break() cascade")
        build(copied.settings, copied.warehouse)
        ((temporary,),) = owner.execute(
            "select count(*) from pg_class where relpersistence = 't'"
        ).fetchall()
        assert temporary == 0


def test_build_is_due_only_when_an_input_changed(
    pipeline: Pipeline, owner: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is no larger than what changed; a part stands for nothing but itself."""
    plans: list[Plan] = []

    def run_dbt(settings: object, warehouse: object, project: str, plan: Plan) -> BuildReport:
        plans.append(plan)
        if plan.select is None:
            owner.execute("delete from app.changed_conversations")
        return BuildReport(1, 1, ())

    monkeypatch.setattr(warehouse.build, "_run_dbt", run_dbt)

    def due() -> str | None:
        """What is built: all, none, or a selection."""
        plans.clear()
        if build(pipeline.settings, pipeline.warehouse, only_if_changed=True).skipped:
            assert not plans
            return "none"
        ((select, full_refresh, tests),) = plans
        assert full_refresh == tests
        return select or ("all anew" if full_refresh else "all")

    due()
    assert due() == "none"
    load(owner, changed=3)
    assert due() == "all"
    assert due() == "none"
    owner.execute("update app.tenants set name = name || ' '")
    build(pipeline.settings, pipeline.warehouse, select="fct_messages")
    assert due() == "all"
    assert due() == "none"
    owner.execute("update app.tenants set name = btrim(name)")
    assert due() == "all"
    owner.execute(
        "update ai.conversation_scores set scored_at = scored_at"
        " where conversation_id = (select min(conversation_id) from ai.conversation_scores)"
    )
    assert due() == (
        "int_inbox_settings int_conversations_touched int_days_touched int_contacts_touched"
        " fct_conversations source:ai.conversation_scores+"
    )
    owner.execute("delete from app.changed_conversations")
    assert due() == "none"
    built(owner, status="failed")
    assert due() == "all"
    monkeypatch.setattr(warehouse.build, "PROJECT_FILES", ("README.md",))
    assert due() == "all anew"
    assert due() == "none"


def test_history_of_an_inbox_mapped_late_and_what_is_deleted_at_the_source(
    own: tuple[Settings, Warehouse, str, str],
) -> None:
    """Mapped after the extract: all of it. Deleted: gone, but for the events of a removed agent."""
    settings, warehouse, chatwoot, reader = own
    owner = warehouse.dsn("owner")
    locks = (
        "select count(*) from pg_locks where locktype = 'advisory' and database ="
        " (select oid from pg_database where datname = current_database())"
    )
    run_extract(reader, owner, settings.home)
    assert fetch_all(owner, locks) == [(0,)]  # nor is a session waited for that is about to end
    accounts = [row[0] for row in fetch_all(chatwoot, "select id from accounts")]
    add_tenant(owner, slug="todos", name="Todos", segment="general", account_ids=accounts)
    build(settings, warehouse)
    assert fetch_all(owner, locks) == [(0,)]
    # So that their pages are read by an index alone from the first reader on.
    vacuumed = (
        "select schemaname || '.' || relname from pg_stat_user_tables"
        " where schemaname = 'marts' and vacuum_count > 0 order by 1"
    )
    assert [mart for (mart,) in fetch_all(owner, vacuumed)] == list(READ_BY_INDEX)
    counts = "select count(*), sum(message_count) from marts.fct_conversations"
    sums = "select sum(conversations), sum(resolutions), sum(csat_count) from marts.agg_daily"
    before, daily = fetch_all(owner, counts)[0], fetch_all(owner, sums)[0]
    assert before[0] == fetch_all(chatwoot, "select count(*) from conversations")[0][0] > 3000

    (lost, resolutions, csat, messages) = fetch_all(
        owner,
        "select conversation_id, resolution_count, (csat_rating is not null)::int, message_count "
        "from marts.fct_conversations where resolution_count > 0 and csat_rating is not null "
        "order by 1 limit 1",
    )[0]
    with psycopg.connect(chatwoot) as source:
        # As Chatwoot does: a conversation with all that hangs on it, and an agent who leaves.
        source.execute("delete from conversations where id = %s", [lost])
        for table in ("messages", "reporting_events", "csat_survey_responses"):
            source.execute(f"delete from {table} where conversation_id = %s", [lost])
        (agent,) = source.execute(
            "select user_id from reporting_events where name = 'conversation_resolved' "
            "and user_id is not null group by 1 order by count(*) desc limit 1"
        ).fetchone() or (0,)
        events = source.execute("delete from reporting_events where user_id = %s", [agent]).rowcount
        source.execute("update messages set sender_id = null where sender_type = 'User' "
                       "and sender_id = %s", [agent])  # fmt: skip
        source.execute(
            "update conversations set assignee_id = null where assignee_id = %s", [agent]
        )
        source.execute("delete from users where id = %s", [agent])
    assert events > 100
    run_extract(reader, owner, settings.home, full=True)
    build(settings, warehouse)
    for mart in ("fct_conversations", "fct_messages", "fct_replies"):
        rows = fetch_all(owner, f"select 1 from marts.{mart} where conversation_id = %s", [lost])
        assert rows == [], mart
    assert fetch_all(owner, counts)[0] == (before[0] - 1, before[1] - messages)
    assert fetch_all(owner, sums)[0] == (daily[0] - 1, daily[1] - resolutions, daily[2] - csat)
    assert fetch_all(
        owner,
        "select count(*), count(content), count(content_attributes) from raw_chatwoot.messages "
        "where conversation_id = %s",
        [lost],
    )[0][1:] == (0, 0)


def test_snapshots_outlive_every_build(pipeline: Pipeline, owner: psycopg.Connection) -> None:
    """Nothing new records nothing; a change ends a state; a full refresh keeps what was seen."""
    history = "select count(*), max(observed_at) from intermediate.int_conversation_states_observed"
    conversation_id = pipeline.query(
        "select min(conversation_id) from marts.snap_conversations where status = 'resolved'"
    )[0][0]

    def record(*, full_refresh: bool = False) -> list[tuple]:
        build(
            pipeline.settings, pipeline.warehouse, full_refresh=full_refresh,
            select="int_conversations_touched int_conversation_states_observed snap_conversations",
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
