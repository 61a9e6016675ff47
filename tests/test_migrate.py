"""Roles, schemas and what each role may do before any tenant exists."""

import psycopg
import pytest
from psycopg import sql

from tests.conftest import Pipeline
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


def test_readers_may_only_read(pipeline: Pipeline, analyst: tuple[str, int, int]) -> None:
    """No role but the owners, an analyst's log-in included, may more than read, in any schema."""
    analyst_role = analyst[0].split("//")[1].split(":")[0]
    granted = pipeline.query(
        """
        select relations.oid::regclass::text, granted.grantee::regrole::text, privilege_type
        from pg_class as relations, aclexplode(relations.relacl) as granted
        where granted.grantee <> relations.relowner
            and (
                granted.is_grantable
                or privilege_type not in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            )
        union all
        select oid::regclass::text || ' columns', grantee::regrole::text, privilege_type
        from (
            select attrelid as oid, (aclexplode(attacl)).* from pg_attribute
            where attacl is not null
        ) as columns
        where oid::regclass::text !~ '^(pg_|information_schema)' and grantee <> 0
        """,
        role="admin",
    )
    # What an admin sets of its tenant, in functions of mirante_auth.
    assert {row for row in granted if row[1] in (*READERS, "mirante_auth", analyst_role)} == {
        ("app.tenants columns", "mirante_auth", "UPDATE"),
    }
    powers = pipeline.query(
        """
        select roles.rolname, relations.oid::regclass::text
        from pg_roles as roles
        cross join pg_class as relations
        where roles.rolname = any (%s)
            and relations.relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
            and relations.relkind in ('r', 'p', 'v', 'm', 'f')
            and (
                has_table_privilege(roles.oid, relations.oid, 'truncate, references, trigger')
                or has_any_column_privilege(roles.oid, relations.oid, 'references')
                or has_table_privilege(roles.oid, relations.oid, 'insert, update, delete')
                    and roles.rolname <> 'mirante_auth'  -- what it writes: test_matrix.py
            )
        """,
        [*READERS, "mirante_auth", analyst_role],
        role="admin",
    )
    assert powers == []
    creators = pipeline.query(
        """
        select rolname, nspname from pg_roles, pg_namespace
        where (rolname = any (%s) or rolname = 'mirante_audit' and nspname <> 'app')
            and has_schema_privilege(rolname, nspname, 'create')
        union all
        select rolname, 'database' from pg_roles
        where rolname = any (%s)
            and has_database_privilege(rolname, current_database(), 'create, temp')
        """,
        [*READERS, "mirante_auth", analyst_role],
        [*READERS, "mirante_auth", "mirante_audit", analyst_role],
        role="admin",
    )
    assert creators == []
    # Whatever is made later starts closed too.
    with psycopg.connect(pipeline.warehouse.dsn("owner")) as connection:
        connection.execute("create function app.later() returns integer language sql return 1")
        connection.execute("create table app.later_table (id integer)")
        for role in (*READERS, analyst_role):
            assert connection.execute(
                "select has_function_privilege(%(role)s, 'app.later()', 'execute')"
                " or has_table_privilege(%(role)s, 'app.later_table', 'select, insert')",
                {"role": role},
            ).fetchone() == (False,)
        connection.rollback()


def test_other_databases_of_our_own_server_are_closed(
    pipeline: Pipeline, analyst: tuple[str, int, int]
) -> None:
    analyst_role = analyst[0].split("//")[1].split(":")[0]
    open_to = pipeline.query(
        "select datname::text from pg_database"
        " where datname in ('postgres', 'template0', 'template1', 'chatwoot_sample')"
        " and datallowconn and has_database_privilege(%s, oid, 'connect')",
        analyst_role,
        role="admin",
    )
    assert open_to == []


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


def test_app_functions_are_all_the_app_role_can_call(warehouse: Warehouse) -> None:
    callable_functions = fetch_all(
        warehouse.admin_dsn,
        "select proname::text, proowner::regrole::text, prosecdef, proconfig::text from pg_proc"
        " where pronamespace = 'app'::regnamespace"
        " and has_function_privilege('mirante_app', oid, 'execute') order by 1",
    )
    assert [row[0] for row in callable_functions] == [
        "add_rule",
        "admit_code",
        "admit_export",
        "admit_log_in",
        "ai_budget",
        "begin_export",
        "close_session",
        "confirm_totp",
        "correct_conversation",
        "current_session",
        "delete_view",
        "end_own_sessions",
        "forgive_log_in",
        "inbox_gaps",
        "invite_user",
        "link_user",
        "load_state",
        "login_candidate",
        "manage_user",
        "managed_rules",
        "managed_settings",
        "managed_users",
        "offer_totp",
        "open_session",
        "opted_out_contacts",
        "opted_out_keys",
        "own_account",
        "own_sessions",
        "pass_second_factor",
        "pending_session",
        "pipeline_state",
        "recent_exports",
        "record_audit",
        "rehash_password",
        "remember_device",
        "remove_rule",
        "renew_second_factor",
        "save_view",
        "saved_views",
        "selectable_tenants",
        "set_ai_budget",
        "set_ai_outside",
        "set_looks",
        "set_own_password",
        "source_loads",
        "start_reset",
        "touch_session",
        "use_link",
        "view_tenant",
    ]
    for name, owner, is_definer, config in callable_functions:
        assert owner == ("mirante_audit" if name == "record_audit" else "mirante_auth")
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
