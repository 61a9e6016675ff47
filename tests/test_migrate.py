"""Roles, schemas and what each role may do before any tenant exists."""

import psycopg
import pytest
from psycopg import sql

from warehouse.db import Warehouse, fetch_all
from warehouse.errors import MiranteError
from warehouse.migrate import migrate

ROLES = (
    "mirante_owner",
    "mirante_app",
    "mirante_super",
    "mirante_analyst",
    "mirante_auth",
    "mirante_audit",
)
# Tables whose rows a tenant's own page writes; tests/test_corrections.py says whose.
TENANTS_OWN = {("app", "ai", "corrections")}
READERS = ("mirante_app", "mirante_super", "mirante_analyst")
OWNERS = ("mirante_owner", "mirante_auth", "mirante_audit")


def test_second_migrate_changes_nothing(warehouse: Warehouse) -> None:
    catalog = """
        select relname::text, relacl::text, relowner::text from pg_class
        where relnamespace::regnamespace::text in ('app', 'ai')
        union all
        select proname::text, proacl::text, proowner::text from pg_proc
        where pronamespace::regnamespace::text = 'app'
        union all
        select nspname::text, nspacl::text, nspowner::text from pg_namespace
        order by 1, 2
    """
    before = fetch_all(warehouse.admin_dsn, catalog)
    migrate(warehouse)
    assert fetch_all(warehouse.admin_dsn, catalog) == before


@pytest.mark.parametrize("role", ROLES)
def test_no_role_is_powerful(warehouse: Warehouse, role: str) -> None:
    assert fetch_all(
        warehouse.admin_dsn,
        "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, rolcanlogin"
        " from pg_roles where rolname = %s",
        [role],
    ) == [(False,) * 5 + (role in ("mirante_owner", "mirante_app", "mirante_super"),)]


@pytest.mark.parametrize("role", READERS)
def test_readers_own_nothing_and_belong_to_no_owner(warehouse: Warehouse, role: str) -> None:
    owned = fetch_all(
        warehouse.admin_dsn,
        "select classid::regclass, objid from pg_shdepend"
        " where refobjid = %s::regrole and deptype = 'o'",
        [role],
    )
    assert owned == []
    for owner in OWNERS:
        assert fetch_all(
            warehouse.admin_dsn, "select pg_has_role(%s, %s, 'member')", [role, owner]
        ) == [(False,)]


@pytest.mark.parametrize("role", READERS)
def test_readers_create_nowhere(warehouse: Warehouse, role: str) -> None:
    assert (
        fetch_all(
            warehouse.admin_dsn,
            "select nspname from pg_namespace where has_schema_privilege(%s, nspname, 'create')",
            [role],
        )
        == []
    )
    assert fetch_all(
        warehouse.admin_dsn,
        "select has_database_privilege(%s, current_database(), 'create, temporary')",
        [role],
    ) == [(False,)]


def test_public_has_nothing(warehouse: Warehouse) -> None:
    """No table, function or schema of ours is open to everybody."""
    assert (
        fetch_all(
            warehouse.admin_dsn,
            """
        select relation.oid::regclass::text
        from pg_class as relation, aclexplode(relation.relacl) as granted
        where granted.grantee = 0
            and relation.relnamespace::regnamespace::text
                not in ('pg_catalog', 'information_schema')
        union all
        select routine.oid::regprocedure::text
        from pg_proc as routine,
            aclexplode(coalesce(routine.proacl, acldefault('f', routine.proowner))) as granted
        where granted.grantee = 0
            and routine.pronamespace::regnamespace::text = 'app'
        union all
        select schema.nspname
        from pg_namespace as schema, aclexplode(schema.nspacl) as granted
        where granted.grantee = 0 and schema.nspname not in ('pg_catalog', 'information_schema')
        """,
        )
        == []
    )


@pytest.mark.parametrize("role", ["app", "super"])
@pytest.mark.parametrize("schema", ["app", "ai", "raw_chatwoot", "staging", "intermediate"])
def test_readers_see_no_table_outside_marts(warehouse: Warehouse, role: str, schema: str) -> None:
    relations = fetch_all(
        warehouse.admin_dsn,
        "select relname from pg_class"
        " where relnamespace = %s::regnamespace and relkind in ('r', 'v')",
        [schema],
    )
    with psycopg.connect(warehouse.dsn(role), autocommit=True) as connection:
        for (relation,) in relations:
            for statement in (
                "select * from {} limit 1",
                "insert into {} default values",
                "delete from {}",
                "truncate {}",
                "copy {} to stdout",
            ):
                if (role, schema, relation) in TENANTS_OWN and statement != "truncate {}":
                    continue
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(schema, relation)))


def test_app_functions_are_all_the_app_role_can_call(warehouse: Warehouse) -> None:
    callable_functions = fetch_all(
        warehouse.admin_dsn,
        "select proname::text, proowner::regrole::text, prosecdef, proconfig::text from pg_proc"
        " where pronamespace = 'app'::regnamespace"
        " and has_function_privilege('mirante_app', oid, 'execute') order by 1",
    )
    assert [row[0] for row in callable_functions] == [
        "close_session",
        "current_session",
        "load_state",
        "login_candidate",
        "open_session",
        "selectable_tenants",
        "touch_session",
        "view_tenant",
    ]
    for _, owner, is_definer, config in callable_functions:
        assert owner == "mirante_auth"
        assert is_definer
        assert "search_path=pg_catalog, pg_temp" in config


def test_a_chatwoot_database_is_refused(warehouse: Warehouse, sample_admin_dsn: str) -> None:
    """Migrating into the source by a swapped DSN would write into production."""
    wrong = Warehouse(sample_admin_dsn, warehouse.passwords, is_embedded=True)
    with pytest.raises(MiranteError, match="chatwoot_sample is a Chatwoot"):
        migrate(wrong)


def test_migrate_as_a_managed_servers_administrator(warehouse: Warehouse) -> None:
    """CREATEROLE and CREATE on the database are enough; then the roles work."""
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        for statement in (
            "create role managed_admin login createrole password 'managed'",
            "create database managed owner managed_admin",
        ):
            connection.execute(statement)
        # On a managed server the roles would be its own; here they exist already.
        for role in ROLES:
            connection.execute(
                sql.SQL("grant {} to managed_admin with admin option").format(sql.Identifier(role))
            )
    dsn = warehouse.dsn("admin", "managed").replace(
        warehouse.dsn("admin").split("//")[1].split("@")[0], "managed_admin:managed"
    )
    managed = Warehouse(dsn, warehouse.passwords, is_embedded=False)
    try:
        migrate(managed)
        migrate(managed)
        assert fetch_all(managed.dsn("app"), "select data_version from app.load_state()") == [(1,)]
    finally:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute("drop database managed with (force)")
            connection.execute("drop owned by managed_admin")
            connection.execute("drop role managed_admin")


def test_failed_migrate_is_one_line_without_password(warehouse: Warehouse) -> None:
    wrong = Warehouse(warehouse.dsn("app"), warehouse.passwords, is_embedded=False)
    with pytest.raises(MiranteError) as caught:
        migrate(wrong)
    assert "\n" not in str(caught.value)
    assert warehouse.passwords["app"] not in str(caught.value)
