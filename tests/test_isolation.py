"""Tenant A asks for B's rows: every mart, every way a setting can be wrong, a shared pool."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Pipeline
from warehouse.db import fetch_all, open_pool, tenant_connection

MARTS = (
    "agg_backlog",
    "agg_daily",
    "agg_daily_campaign",
    "agg_hourly",
    "dim_agents",
    "dim_contacts",
    "dim_inboxes",
    "dim_tenants",
    "fct_backlog_intervals",
    "fct_conversation_events",
    "fct_conversations",
    "fct_funnel_events",
    "fct_messages",
    "fct_replies",
    "rpt_chatwoot_parity",
    "rpt_chatwoot_parity_reasons",
    "rpt_remarketing_queue",
    "snap_conversations",
)
AGENCY_MARTS = ("rpt_tenant_comparison",)  # of no tenant's log-in
READERS = ("mirante_app", "mirante_analyst", "mirante_super")


def mart(name: str) -> sql.Identifier:
    return sql.Identifier("marts", name)


def test_every_mart_is_on_the_list(pipeline: Pipeline) -> None:
    """A mart that nobody listed here would escape the tests below."""
    relations = pipeline.query(
        "select relname, relkind::text from pg_class"
        " where relnamespace = 'marts'::regnamespace and relkind in ('r', 'v', 'm', 'p', 'f')"
        " order by 1"
    )
    assert relations == [(name, "r") for name in sorted(MARTS + AGENCY_MARTS)]


@pytest.mark.parametrize("name", MARTS + AGENCY_MARTS)
def test_mart_has_row_security_and_only_select(pipeline: Pipeline, name: str) -> None:
    readers = ["mirante_super"] if name in AGENCY_MARTS else sorted(READERS)
    assert pipeline.query(
        "select relrowsecurity, relforcerowsecurity, relowner::regrole::text"
        " from pg_class where oid = %s::regclass",
        f"marts.{name}",
    ) == [(True, False, "mirante_owner")]
    policies = pipeline.query(
        "select roles::text[], cmd, permissive from pg_policies"
        " where schemaname = 'marts' and tablename = %s order by 1",
        name,
    )
    assert policies == [([role], "SELECT", "PERMISSIVE") for role in readers]
    granted = pipeline.query(
        "select grantee::text, string_agg(privilege_type, ',')"
        " from information_schema.table_privileges"
        " where table_schema = 'marts' and table_name = %s and grantee <> 'mirante_owner'"
        " group by 1 order by 1",
        name,
        role="admin",
    )
    assert granted == [(role, "SELECT") for role in readers]


def test_no_view_reads_a_mart(pipeline: Pipeline) -> None:
    """A view runs as its owner and would show every tenant's rows."""
    views = (
        "select rules.ev_class::regclass::text, dependencies.refobjid::regclass::text"
        " from pg_depend as dependencies"
        " inner join pg_rewrite as rules on dependencies.objid = rules.oid"
        " inner join pg_class as marts on dependencies.refobjid = marts.oid"
        " where dependencies.classid = 'pg_rewrite'::regclass"
        " and marts.relnamespace = 'marts'::regnamespace"
    )
    assert pipeline.query(views) == []
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        connection.execute("create view staging.leak as select * from marts.dim_agents")
        assert len(connection.execute(views).fetchall()) > 0
        connection.rollback()


@pytest.mark.parametrize("name", AGENCY_MARTS)
def test_what_is_the_agencys_is_nobody_elses(
    pipeline: Pipeline, analyst: tuple[str, int, int], name: str
) -> None:
    query = sql.SQL("select distinct tenant_id from {}").format(mart(name))
    tenant_id = next(iter(pipeline.tenants.values()))
    with (
        open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool,
        tenant_connection(pool, tenant_id) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(query)
    with (
        psycopg.connect(analyst[0]) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(query)
    with psycopg.connect(pipeline.warehouse.dsn("super")) as connection:
        seen = {row[0] for row in connection.execute(query)}
    assert seen == set(pipeline.tenants.values())


@pytest.mark.parametrize("name", MARTS)
@pytest.mark.parametrize("setting", [None, "", "0", "-1", "999999", "garbage"])
def test_wrong_setting_sees_nothing(pipeline: Pipeline, name: str, setting: str | None) -> None:
    with psycopg.connect(pipeline.warehouse.dsn("app"), autocommit=True) as connection:
        if setting is not None:
            connection.execute("select set_config('app.current_tenant_id', %s, false)", [setting])
        query = sql.SQL("select count(*) from {}").format(mart(name))
        if setting == "garbage":
            with pytest.raises(psycopg.errors.InvalidTextRepresentation):
                connection.execute(query)
        else:
            assert connection.execute(query).fetchone() == (0,)


@pytest.mark.parametrize("name", MARTS)
def test_each_tenant_sees_exactly_its_own_rows(pipeline: Pipeline, name: str) -> None:
    """And none of B's when it asks for B by name."""
    query = sql.SQL("select tenant_id, count(*) from {} group by 1").format(mart(name))
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        truth = dict(connection.execute(query).fetchall())
    assert set(truth) == set(pipeline.tenants.values())
    foreign = sql.SQL("select count(*) from {} where tenant_id <> %s").format(mart(name))
    with open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool:
        for tenant_id in pipeline.tenants.values():
            with tenant_connection(pool, tenant_id) as connection:
                assert connection.execute(query).fetchall() == [(tenant_id, truth[tenant_id])]
                assert connection.execute(foreign, [tenant_id]).fetchone() == (0,)
            # The one connection of the pool comes back without a tenant.
            with pool.connection() as connection:
                assert connection.execute(query).fetchall() == []


def test_shared_pool_under_many_threads(pipeline: Pipeline) -> None:
    """2,000 mixed reads of 32 threads on three connections, some killed, some timed out."""
    tenants = list(pipeline.tenants.values())
    queries = [
        sql.SQL("select tenant_id, count(*) from {} group by 1").format(mart(name))
        for name in MARTS
    ]
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        truth = [dict(connection.execute(query).fetchall()) for query in queries]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    reads = [
        (chance.choice(tenants), chance.randrange(len(MARTS)), chance.random()) for _ in range(2000)
    ]
    outcomes: Counter[str] = Counter()
    done = Event()

    def kill() -> None:
        with psycopg.connect(pipeline.warehouse.admin_dsn, autocommit=True) as connection:
            while not done.wait(0.05):
                function = chance.choice(["pg_terminate_backend", "pg_cancel_backend"])
                connection.execute(
                    f"select {function}(pid) from pg_stat_activity"
                    " where usename = 'mirante_app' and datname = current_database()"
                    " order by random() limit 1"
                )

    with open_pool(pipeline.warehouse.dsn("app"), max_size=3, connect_timeout=10) as pool:

        def read(position: int) -> None:
            tenant_id, question, luck = reads[position]
            try:
                with tenant_connection(pool, tenant_id) as connection:
                    if luck < 0.1:
                        connection.execute("set local statement_timeout = 1")
                        connection.execute("select pg_sleep(0.05)")
                    rows = connection.execute(queries[question]).fetchall()
                    right = rows == [(tenant_id, truth[question][tenant_id])]
                    outcomes["right" if right else f"wrong: {tenant_id} saw {rows}"] += 1
                    if luck > 0.9:
                        connection.execute("select 1 / 0")
            except psycopg.errors.DivisionByZero:
                pass
            except psycopg.errors.QueryCanceled:
                outcomes["timed out or cancelled"] += 1
            except psycopg.OperationalError:
                outcomes["killed"] += 1
            if luck > 0.8:  # the next borrower, who sets nothing
                try:
                    with pool.connection() as connection:
                        rows = connection.execute(queries[question]).fetchall()
                        outcomes["right" if rows == [] else f"wrong: nobody saw {rows}"] += 1
                except psycopg.OperationalError:
                    outcomes["killed"] += 1

        with ThreadPoolExecutor(33) as threads:
            killing = threads.submit(kill)
            list(threads.map(read, range(len(reads))))
            done.set()
            killing.result(timeout=60)
    print(outcomes)
    assert [outcome for outcome in outcomes if outcome.startswith("wrong")] == []
    assert outcomes["killed"] > 3
    assert outcomes["timed out or cancelled"] > 100
    assert outcomes["right"] > 1500


@pytest.mark.parametrize("tenant_id", [0, -1])
def test_no_connection_for_an_impossible_tenant(pipeline: Pipeline, tenant_id: int) -> None:
    with (
        open_pool(pipeline.warehouse.dsn("app"), max_size=1) as pool,
        pytest.raises(ValueError, match=str(tenant_id)),
        tenant_connection(pool, tenant_id),
    ):
        pass


@pytest.mark.parametrize("role", ["app", "super"])
@pytest.mark.parametrize("name", MARTS + AGENCY_MARTS)
def test_readers_write_nothing(pipeline: Pipeline, role: str, name: str) -> None:
    tenant_id = next(iter(pipeline.tenants.values()))
    with psycopg.connect(pipeline.warehouse.dsn(role), autocommit=True) as connection:
        connection.execute(
            "select set_config('app.current_tenant_id', %s, false)", [str(tenant_id)]
        )
        for statement in (
            "insert into {} (tenant_id) values (1)",
            "update {} set tenant_id = 1",
            "delete from {}",
            "truncate {}",
            "alter table {} disable row level security",
            "drop table {}",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement).format(mart(name)))


def test_super_sees_every_tenant(pipeline: Pipeline) -> None:
    rows = pipeline.query("select distinct tenant_id from marts.fct_messages", role="super")
    assert {row[0] for row in rows} == set(pipeline.tenants.values())


def test_analyst_login_is_bound_to_its_tenant(
    pipeline: Pipeline, analyst: tuple[str, int, int]
) -> None:
    """Whatever it sets, and dead when the tenant is suspended or the log-in unbound."""
    dsn, tenant_id, foreign_id = analyst
    count = "select array_agg(distinct tenant_id) from marts.fct_conversations"
    with psycopg.connect(dsn, autocommit=True) as connection:
        for trick in (
            "select 1",
            f"set app.current_tenant_id = '{foreign_id}'",
            "set row_security = on",
            "set role mirante_analyst",
        ):
            connection.execute(trick)
            assert connection.execute(count).fetchone() == ([tenant_id],)
        for refused in ("set role mirante_app", "set session authorization mirante_app"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(refused)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from app.load_state()")
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        connection.execute("update app.tenants set status = 'suspended' where id = %s", [tenant_id])
        assert fetch_all(dsn, count) == [(None,)]
        connection.execute("update app.tenants set status = 'active' where id = %s", [tenant_id])
        assert fetch_all(dsn, count) == [([tenant_id],)]
        with pytest.raises(psycopg.errors.CheckViolation):  # the name says whose it is
            connection.execute("update app.analyst_logins set tenant_id = %s", [foreign_id])
        connection.execute("delete from app.analyst_logins")
        assert fetch_all(dsn, count) == [(None,)]


METHODS = ("seqscan", "indexscan", "bitmapscan", "indexonlyscan")
WAYS = ({"seqscan"}, {"indexscan"}, {"bitmapscan"}, {"indexscan", "indexonlyscan"})


@pytest.mark.parametrize("name", MARTS)
def test_analysts_plans_tell_nothing_of_foreign_values(
    pipeline: Pipeline, analyst: tuple[str, int, int], name: str
) -> None:
    """EXPLAIN ANALYZE is the same for a value another tenant has and for one nobody has."""
    dsn, _, foreign_id = analyst
    columns = pipeline.query(
        "select column_name from information_schema.columns where table_schema = 'marts'"
        " and table_name = %s and data_type = 'text'",
        name,
    )
    compared = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (column,) in columns:
            existing = pipeline.query(
                f"select {column} from marts.{name} as t where tenant_id = %s"
                f" and {column} is not null and not exists (select 1 from marts.{name} as own"
                f" where own.tenant_id <> %s and own.{column} >= t.{column}"
                f" and own.{column} < t.{column} || 'y')"  # no own row in the ranges asked for
                f" and length({column}::text) < 60 limit 1",
                foreign_id,
                foreign_id,
            )
            if not existing:
                continue
            value = existing[0][0]
            invented = value + "xq"
            # One way at a time: which of them it takes follows from estimates (a known limit).
            for way in WAYS:
                for method in METHODS:
                    switch = "on" if method in way else "off"
                    connection.execute(f"set enable_{method} = {switch}")
                for condition in ("= {value}", "= any (array[{value}])", "> any (array[{value}])"):
                    seen = plan_of(connection, name, column, condition, value)
                    assert seen == plan_of(connection, name, column, condition, invented)
                    compared += 1
    if name in ("dim_contacts", "dim_inboxes", "fct_conversations", "fct_messages"):
        assert compared  # the others have no text that is one tenant's alone


def plan_of(
    connection: psycopg.Connection, name: str, column: str, condition: str, value: str
) -> str:
    """The plan as it ran, without the value asked for; a range ends just above it."""
    query = sql.SQL(
        "explain (analyze, costs off, timing off, buffers off, summary off)"
        " select 1 from {mart} where {column} " + condition + " and {column} < any (array[{end}])"
    )
    end = value + "y"
    asked = {"value": sql.Literal(value), "end": sql.Literal(end), "column": sql.Identifier(column)}
    rows = connection.execute(query.format(mart=mart(name), **asked))
    text = "\n".join(row[0] for row in rows)
    return text.replace(end, "?").replace(value, "?")


def test_a_policy_with_a_subquery_would_be_seen(
    pipeline: Pipeline, analyst: tuple[str, int, int]
) -> None:
    """The test above can fail: it sees the policy that leaked."""
    policy = "alter policy analyst_isolation on marts.fct_conversations using ({})"
    with psycopg.connect(pipeline.warehouse.dsn("owner"), autocommit=True) as connection:
        kept = connection.execute(
            "select pg_get_expr(polqual, polrelid) from pg_policy"
            " where polname = 'analyst_isolation'"
            " and polrelid = 'marts.fct_conversations'::regclass"
        ).fetchone()
        assert kept
        connection.execute(
            policy.format(
                "tenant_id = any ((select array_agg(substring(session_user::text from"
                " '_t([0-9]+)$')::int) where app.login_is_active())::int[])"
            )
        )
        try:
            with pytest.raises(AssertionError):
                test_analysts_plans_tell_nothing_of_foreign_values(
                    pipeline, analyst, "fct_conversations"
                )
        finally:
            connection.execute(policy.format(kept[0]))


def test_rebuild_never_shows_a_bare_mart(pipeline: Pipeline) -> None:
    """A reader that asks without a tenant all through a build sees zero rows, always."""
    from warehouse.build import build

    done = Event()

    def watch() -> tuple[int, int]:
        asked = seen = 0
        with psycopg.connect(pipeline.warehouse.dsn("app"), autocommit=True) as connection:
            while not done.is_set():
                row = connection.execute("select count(*) from marts.fct_messages").fetchone()
                assert row is not None
                asked, seen = asked + 1, seen + row[0]
        return asked, seen

    with ThreadPoolExecutor(1) as threads:
        watching = threads.submit(watch)
        try:
            build(pipeline.settings, pipeline.warehouse, select="fct_messages", full_refresh=True)
        finally:
            done.set()
        asked, seen = watching.result(timeout=60)
    assert asked > 10
    assert seen == 0


def test_no_credential_in_any_raw_or_mart_column(pipeline: Pipeline, sample_admin_dsn: str) -> None:
    """Every credential of the sample carries a marker; none of it arrives anywhere."""
    from warehouse.sample import SECRET_MARKER

    planted = fetch_all(
        sample_admin_dsn, "select count(*) from users where encrypted_password like %s",
        [f"%{SECRET_MARKER}%"],
    )  # fmt: skip
    assert planted[0][0] > 0
    tables = pipeline.query(
        "select table_schema, table_name from information_schema.tables"
        " where table_schema not in ('pg_catalog', 'information_schema')"
    )
    assert len(tables) > 30
    with psycopg.connect(pipeline.warehouse.dsn("admin")) as connection:
        for schema, table in tables:
            found = connection.execute(
                sql.SQL("select count(*) from {} as t where t::text like %s").format(
                    sql.Identifier(schema, table)
                ),
                [f"%{SECRET_MARKER}%"],
            ).fetchone()
            assert found == (0,), f"{schema}.{table}"
    for path in pipeline.settings.home.rglob("*"):
        if path.is_file() and "postgres" not in path.relative_to(pipeline.settings.home).parts[0]:
            assert SECRET_MARKER.encode() not in path.read_bytes(), path


def test_nobody_sees_an_unmapped_inbox(pipeline: Pipeline) -> None:
    raw, mapped = pipeline.query(
        "select (select count(distinct inbox_id) from raw_chatwoot.conversations),"
        " (select count(distinct inbox_id) from marts.fct_conversations)"
    )[0]
    assert raw > mapped > 0
