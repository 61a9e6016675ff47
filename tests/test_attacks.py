"""An analyst's log-in against the server: not one row or value of another tenant, nothing done."""

import re
import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Pipeline
from tests.test_isolation import MARTS
from warehouse import analysts
from warehouse.audit import SYSTEM, list_lines
from warehouse.db import Warehouse, fetch_all, with_login
from warehouse.errors import MiranteError, UsageError
from warehouse.migrate import migrate
from warehouse.tenants import (
    add_tenant,
    delete_tenant,
    purge_tenants,
    restore_tenant,
    suspend_tenant,
)

OWN, FOREIGN = "academia-movimento", "loja-dona-flor"


@pytest.fixture(scope="module")
def login(copied: Pipeline) -> Iterator[tuple[str, str]]:
    """Name and URI of a log-in as the command makes it."""
    role, dsn = analysts.add_analyst(copied.warehouse, OWN, SYSTEM)
    yield role, dsn
    analysts.remove_analyst(copied.warehouse, OWN, SYSTEM, role=role)


@pytest.fixture
def session(login: tuple[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(login[1], autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = off")  # it may; see what it helps
        yield connection


def test_the_log_in_is_as_it_should_be(copied: Pipeline, login: tuple[str, str]) -> None:
    role, dsn = login
    assert re.fullmatch(rf"mirante_analyst_[0-9a-f]{{16}}_t{copied.tenants[OWN]}", role)
    assert OWN not in role
    assert fetch_all(
        copied.warehouse.admin_dsn,
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolinherit,"
        " rolconnlimit from pg_roles where rolname = %s",
        [role],
    ) == [(False, False, False, False, False, True, analysts.CONNECTION_LIMIT)]
    for name, value in (
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("default_transaction_read_only", "on"),
    ):
        assert fetch_all(dsn, "select current_setting(%s)", [name]) == [(value,)]  # type: ignore[arg-type]
    # Without a schema, as an analyst writes.
    assert fetch_all(dsn, "select array_agg(distinct tenant_id) from fct_messages") == [
        ([copied.tenants[OWN]],)
    ]
    owned = fetch_all(
        copied.warehouse.admin_dsn,
        "select deptype::text, classid::regclass::text from pg_shdepend"
        " where refobjid = %s::regrole",
        [role],
    )
    assert owned == []  # no object, no right of its own: dropping it is enough


def test_no_more_connections_than_the_limit(login: tuple[str, str]) -> None:
    held = [psycopg.connect(login[1]) for _ in range(analysts.CONNECTION_LIMIT)]
    try:
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(login[1])
    finally:
        for connection in held:
            connection.close()


def sees(session: psycopg.Connection, mart: str = "fct_conversations") -> list[tuple]:
    query = sql.SQL("select distinct tenant_id from {}").format(sql.Identifier("marts", mart))
    return session.execute(query).fetchall()


@pytest.mark.parametrize(
    "trick",
    [
        "set app.current_tenant_id = '{foreign}'",
        "select set_config('app.current_tenant_id', '{foreign}', false)",
        "set row_security = on",
        "set role mirante_analyst",
        "set role none",
        "reset all",
        "discard all",
        "reset role",
        "reset session authorization",
        "set session characteristics as transaction isolation level serializable",
        "set search_path = pg_temp, marts, pg_catalog",
        "set enable_seqscan = off",
        "set plan_cache_mode = force_generic_plan",
        "do $$ begin perform set_config('app.current_tenant_id', '{foreign}', false); end $$",
        "prepare p (integer) as select count(*) from marts.fct_conversations where tenant_id = $1",
        "declare c cursor with hold for select * from marts.fct_messages",
        "listen mirante",
        "notify mirante, 'x'",
        "set statement_timeout = 0",
        "set application_name = 'mirante'",
        "set session_preload_libraries = ''",
        "load 'auto_explain'",
    ],
)
def test_after_any_statement_it_sees_its_own(
    copied: Pipeline, session: psycopg.Connection, trick: str
) -> None:
    own, foreign = copied.tenants[OWN], copied.tenants[FOREIGN]
    try:
        session.execute(trick.format(foreign=foreign).encode())
    except psycopg.errors.InsufficientPrivilege:
        assert trick.startswith(("set session_preload", "load "))
    for mart in MARTS:
        assert sees(session, mart) == [(own,)], mart
    if trick.startswith("prepare"):
        assert session.execute(f"execute p ({foreign})".encode()).fetchall() == [(0,)]


@pytest.mark.parametrize(
    "statement",
    [
        "set row_security = off; select count(*) from marts.fct_conversations",
        "set role mirante_app",
        "set role mirante_owner",
        "set role mirante_super",
        "set role mirante_audit",
        "set session authorization mirante_app",
        "create table marts.mine (id integer)",
        "create temp table mine (id integer)",
        "create temp view mine as select * from marts.fct_conversations",
        "create view marts.mine as select * from marts.fct_conversations",
        "create schema mine",
        "create function marts.leak(text) returns boolean language sql cost 0.1 as 'select true'",
        "create function pg_temp.leak(text) returns boolean language sql as 'select true'",
        "create extension dblink",
        "create sequence marts.mine",
        "create type marts.mine as (id integer)",
        "create publication mine for all tables",
        "create role mine",
        "create database mine",
        "alter role mirante_analyst nologin",
        "alter system set row_security = off",
        "alter table marts.fct_conversations disable row level security",
        "drop policy analyst_isolation on marts.fct_conversations",
        "create policy mine on marts.fct_conversations using (true)",
        "create index mine on marts.fct_conversations (tenant_id)",
        "create statistics marts.mine on tenant_id, inbox_id from marts.fct_conversations",
        "begin; lock table marts.fct_conversations in access exclusive mode",
        "comment on table marts.fct_conversations is 'mine'",
        "insert into marts.fct_conversations (tenant_id) values (1)",
        "update marts.fct_conversations set status = 'open'",
        "delete from marts.fct_conversations",
        "truncate marts.fct_conversations",
        "select * from marts.fct_conversations for update",
        "copy marts.fct_conversations to program 'cat'",
        "copy marts.fct_conversations to '/tmp/leak'",
        "copy marts.fct_conversations from stdin",
        "select pg_read_file('PG_VERSION')",
        "select pg_ls_dir('.')",
        "select pg_stat_file('PG_VERSION')",
        "select lo_create(0)",
        "select lo_from_bytea(0, 'x')",
        "select lo_import('/etc/passwd')",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock(1296650818)",
        "select pg_advisory_xact_lock_shared(1, 2)",
        "select pg_logical_emit_message(false, 'x', repeat('x', 1000))",
        "select pg_stat_reset()",
        "select pg_reload_conf()",
        "select pg_switch_wal()",
        "select pg_create_restore_point('x')",
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'mirante_admin'",
        "select pg_cancel_backend(pid) from pg_stat_activity where usename = 'mirante_admin'",
        "select * from pg_authid",
        "select * from pg_statistic",
        "select * from pg_largeobject",
        "select * from pg_user_mapping",
        "select * from pg_hba_file_rules",
        "select * from pg_file_settings",
        "select * from app.load_state()",
        "select * from app.login_candidate('cliente@loja-dona-flor.example')",
        "select app.record_audit('a.b', 'user', '1', 1, null, null, null, null)",
        "select nextval('app.data_version')",
        "select query_to_xml('select * from app.users', true, true, '')",
        "select * from ts_stat('select to_tsvector(email) from app.users')",
        "analyze (verbose) app.users; select * from app.users",
        "explain analyze select * from app.users",
        "do $$ begin perform * from app.tenants; end $$",
    ],
)
def test_refused(copied: Pipeline, session: psycopg.Connection, statement: str) -> None:
    with (
        psycopg.connect(copied.warehouse.admin_dsn),  # somebody to be ended, and is not
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        run(session, statement)


def run(session: psycopg.Connection, statement: str) -> None:
    """Each part of it, with the rows there are."""
    for part in [statement] if "$$" in statement else statement.split("; "):
        cursor = session.execute(part.encode())
        if cursor.description:
            cursor.fetchall()


def test_it_grants_nothing_to_anybody(copied: Pipeline, session: psycopg.Connection) -> None:
    """PostgreSQL warns where others are refused."""
    rights = "select relacl::text from pg_class where oid = 'marts.fct_conversations'::regclass"
    before = copied.query(rights)
    for whom in ("public", "mirante_app"):
        session.execute(f"grant select on marts.fct_conversations to {whom}".encode())
    assert copied.query(rights) == before


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from marts.fct_messages where tenant_id = {foreign} and content::int = 1",
        "select count(*) from marts.fct_conversations where tenant_id = {foreign}"
        " and 1 / (conversation_id - conversation_id) = 1",
        "explain analyze select 1 from marts.dim_contacts where tenant_id = {foreign}"
        " and cast(name as date) > now()",
        "select count(*) from marts.fct_conversations where tenant_id <> {own}"
        " and pg_sleep(5)::text is not null",
        "select * from marts.fct_messages tablesample system (100) where tenant_id = {foreign}",
        "select * from marts.fct_messages where ctid = any (array("
        "select format('(%s,%s)', p, n)::tid"
        " from generate_series(0, 20) as p, generate_series(1, 60) as n)) and tenant_id <> {own}",
        "copy (select * from marts.dim_contacts where tenant_id = {foreign}) to stdout",
        "select * from marts.dim_contacts as c full join marts.fct_conversations as f"
        " on c.contact_id = f.contact_id where coalesce(c.tenant_id, f.tenant_id) <> {own}",
    ],
)
def test_conditions_run_on_its_own_rows_alone(
    copied: Pipeline, session: psycopg.Connection, query: str
) -> None:
    """A cast that fails would say the value, a function would be handed it, a sleep would take."""
    text = query.replace("{own}", str(copied.tenants[OWN]))
    text = text.replace("{foreign}", str(copied.tenants[FOREIGN]))
    started = time.monotonic()
    if text.startswith("copy"):
        with session.cursor().copy(text.encode()) as copy:
            assert list(copy) == []
    elif text.startswith("explain"):
        assert session.execute(text.encode()).fetchall()
    else:
        assert session.execute(text.encode()).fetchall() in ([], [(0,)])
    assert time.monotonic() - started < 4


def test_the_catalogue_tells_no_foreign_value(
    copied: Pipeline, session: psycopg.Connection
) -> None:
    """Everything a log-in can read of PostgreSQL's own, while others are at work."""
    foreign, own = copied.tenants[FOREIGN], copied.tenants[OWN]
    values = {
        value
        for column, table in (
            ("name", "dim_contacts"), ("phone", "dim_contacts"), ("email", "dim_contacts"),
            ("name", "dim_inboxes"), ("slug", "dim_tenants"), ("name", "dim_tenants"),
            ("utm_campaign", "fct_conversations"),
        )
        for (value,) in copied.query(
            f"select distinct {column}::text from marts.{table} as t where tenant_id = %s"
            f" and length({column}::text) > 5 and not exists (select 1 from marts.{table} as o"
            f" where o.tenant_id <> %s and o.{column} = t.{column})",
            foreign, foreign,
        )
    }  # fmt: skip
    assert len(values) > 100
    secret = max(values, key=len)
    seen = {}
    with (
        psycopg.connect(copied.warehouse.dsn("owner"), autocommit=True) as owner,
        psycopg.connect(copied.warehouse.dsn("app")) as busy,
    ):
        owner.execute("analyze marts.dim_contacts")
        busy.execute(sql.SQL("prepare p as select {}").format(secret))
        busy.execute(sql.SQL("select {} from pg_sleep(0)").format(secret))
        for schema, name in session.execute(
            "select relnamespace::regnamespace::text, relname from pg_class"
            " where relkind in ('r', 'v') and relnamespace::regnamespace::text"
            " in ('pg_catalog', 'information_schema', 'pg_toast')"
            " and has_table_privilege(oid, 'select')"
        ).fetchall():
            try:
                rows = session.execute(
                    sql.SQL("select t::text from {} as t").format(sql.Identifier(schema, name))
                ).fetchall()
            except psycopg.errors.InsufficientPrivilege:
                continue
            seen[name] = "\n".join(row[0] or "" for row in rows)
    assert len(seen) > 150
    for name, text in seen.items():
        for value in values:
            assert value not in text, (name, value)
    # Row security hides a mart's, its own as well; the word alone may stand in pg_namespace's.
    assert not re.search(r"^\(marts,", seen["pg_stats"], re.MULTILINE)
    # What is told, and docs/isolation.md says so: names of log-ins, with tenants' numbers.
    assert f"_t{own}" in seen["pg_roles"]


def test_buffers_of_a_plan_are_the_same_for_a_foreign_value(
    copied: Pipeline, session: psycopg.Connection
) -> None:
    """No index leads to another tenant's rows by their values."""
    not_by_tenant = copied.query(
        "select indexrelid::regclass::text from pg_index as indexes"
        " inner join pg_class as marts on indexes.indrelid = marts.oid"
        " inner join pg_attribute as first on first.attrelid = marts.oid"
        " and first.attnum = indexes.indkey[0]"
        " where marts.relnamespace = 'marts'::regnamespace and first.attname <> 'tenant_id'"
    )
    assert not_by_tenant == []
    phone, contact_id = copied.query(
        "select phone, contact_id from marts.dim_contacts where tenant_id = %s"
        " and phone is not null limit 1",
        copied.tenants[FOREIGN],
    )[0]

    def pages(condition: str, value: object) -> int:
        counts = []
        for _ in range(3):
            plan = session.execute(
                sql.SQL(
                    "explain (analyze, buffers, costs off, timing off, summary off)"
                    " select 1 from marts.dim_contacts where {} = {}"
                ).format(sql.Identifier(condition), sql.Literal(value))
            ).fetchall()
            top = next(line for (line,) in plan if "Buffers:" in line)
            counts.append(sum(int(n) for n in re.findall(r"(?:hit|read)=(\d+)", top)))
        return min(counts)

    assert pages("phone", phone) == pages("phone", phone[:-3] + "xyz")
    assert pages("contact_id", contact_id) == pages("contact_id", 2**40)


def test_suspension_ends_it_and_restoring_revives_it(copied: Pipeline) -> None:
    role, dsn = analysts.add_analyst(copied.warehouse, OWN, SYSTEM)
    other_role, other_dsn = analysts.add_analyst(copied.warehouse, FOREIGN, SYSTEM)
    alive, other = psycopg.connect(dsn), psycopg.connect(other_dsn)
    assert sees(alive)
    suspend_tenant(copied.warehouse, OWN, SYSTEM)
    with pytest.raises(psycopg.OperationalError):
        sees(alive)
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(dsn)
    assert sees(other) == [(copied.tenants[FOREIGN],)]
    with pytest.raises(MiranteError, match="is suspended: its log-ins would see nothing"):
        analysts.add_analyst(copied.warehouse, OWN, SYSTEM)
    assert {a.can_log_in for a in analysts.list_analysts(copied.warehouse, OWN)} == {False}
    restore_tenant(copied.warehouse, OWN, SYSTEM)
    assert fetch_all(dsn, "select distinct tenant_id from marts.dim_agents") == [
        (copied.tenants[OWN],)
    ]
    with psycopg.connect(dsn) as alive:
        assert analysts.remove_analyst(copied.warehouse, OWN, SYSTEM, role=role) == role
        with pytest.raises(psycopg.OperationalError):
            sees(alive)
    other.close()
    with pytest.raises(UsageError, match="is no log-in of"):  # not by another tenant's name
        analysts.remove_analyst(copied.warehouse, OWN, SYSTEM, role=other_role)
    analysts.remove_analyst(copied.warehouse, FOREIGN, SYSTEM)
    with pytest.raises(UsageError, match="has 0 log-ins"):
        analysts.remove_analyst(copied.warehouse, FOREIGN, SYSTEM)
    actions = [line.action for line in list_lines(copied.warehouse.dsn("owner"), action="analyst")]
    assert actions[:4] == ["analyst.remove", "analyst.remove", "analyst.add", "analyst.add"]
    assert "password" not in repr(list_lines(copied.warehouse.dsn("owner"), action="analyst"))


def test_what_a_log_in_leaves_behind_goes_with_it(copied: Pipeline) -> None:
    """Where an administrator gave it something by hand."""
    role, _ = analysts.add_analyst(copied.warehouse, OWN, SYSTEM)
    with psycopg.connect(copied.warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"grant select on app.plans to {role}".encode())
        connection.execute(f"create schema by_hand authorization {role}".encode())
    analysts.remove_analyst(copied.warehouse, OWN, SYSTEM, role=role)
    assert fetch_all(copied.warehouse.admin_dsn, "select to_regnamespace('by_hand')") == [(None,)]


def test_a_managed_servers_administrator_is_enough(warehouse: Warehouse) -> None:
    """CREATEROLE, no superuser: log-ins are made, ended while connected, and dropped."""
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute("create role managed_two login createrole password 'managed'")
        connection.execute("create database managed_two owner managed_two")
        for role in ("owner", "app", "super", "analyst", "auth", "audit"):
            connection.execute(f"grant mirante_{role} to managed_two with admin option".encode())
    dsn = with_login(warehouse.admin_dsn, "managed_two", "managed", "managed_two")
    managed = Warehouse(dsn, warehouse.passwords, is_embedded=False)
    try:
        migrate(managed)
        tenant_id = add_tenant(managed.dsn("owner"), slug="um", name="Um", segment="gym")
        role, uri = analysts.add_analyst(managed, "um", SYSTEM)
        assert role.endswith(f"_t{tenant_id}")
        with psycopg.connect(uri) as alive:
            assert alive.execute("select 1").fetchone() == (1,)
            alive.commit()
            suspend_tenant(managed, "um", SYSTEM)
            with pytest.raises(psycopg.OperationalError):
                alive.execute("select 1")
        delete_tenant(managed, "um", SYSTEM, grace_days=0)
        assert [slug for slug, _ in purge_tenants(managed, SYSTEM)] == ["um"]
        assert fetch_all(
            warehouse.admin_dsn, "select 1 from pg_roles where rolname = %s", [role]
        ) == []  # fmt: skip
        # As an administrator who may not make roles: one line, no password, nothing half done.
        plain = Warehouse(managed.dsn("owner"), warehouse.passwords, is_embedded=False)
        add_tenant(managed.dsn("owner"), slug="dois", name="Dois", segment="gym")
        with pytest.raises(MiranteError, match="needs CREATEROLE") as caught:
            analysts.add_analyst(plain, "dois", SYSTEM)
        assert "\n" not in str(caught.value)
        assert fetch_all(managed.dsn("owner"), "select * from app.analyst_logins") == []
    finally:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute("drop database managed_two with (force)")
            connection.execute("drop owned by managed_two")
            connection.execute("drop role managed_two")
