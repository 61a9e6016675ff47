"""Roles, schemas and the control plane's tables."""

import logging

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection, sql

from warehouse.db import LOGIN_ROLES, Warehouse, is_superuser, scram_hash
from warehouse.errors import MiranteError
from warehouse.settings import PROJECT_ROOT

log = logging.getLogger(__name__)

NOLOGIN_ROLES = ("mirante_analyst", "mirante_auth", "mirante_audit")
SCHEMAS = ("raw_chatwoot", "staging", "intermediate", "marts", "ai", "app")
MINIMUM_VERSION = 150000
# Two migrations at once would both create the roles.
LOCK_KEY = 0x4D495241


def migrate(warehouse: Warehouse) -> None:
    """Bring roles, schemas and tables to this version; a second run changes nothing.

    Existing roles are adopted and get the passwords of `credentials.json` (or the settings).
    Raises MiranteError when the administrator may not do it.
    """
    try:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute("set lock_timeout = '60s'")
            connection.execute("select pg_advisory_lock(%s)", [LOCK_KEY])
            _check_server(connection)
            with connection.transaction():
                _make_roles(connection, warehouse)
                _make_schemas(connection)
                _close_catalog(connection, warehouse)
            _upgrade(connection, warehouse.dsn("owner"))
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise MiranteError(f"migrate: {reason} (warehouse {warehouse!r})") from error


def _check_server(connection: Connection) -> None:
    if connection.info.server_version < MINIMUM_VERSION:
        raise MiranteError(
            f"migrate: PostgreSQL {connection.info.server_version // 10000} is too old, "
            f"{MINIMUM_VERSION // 10000} or later is needed"
        )
    database = connection.info.dbname
    if connection.execute("select to_regclass('public.conversations')").fetchone() != (None,):
        raise MiranteError(
            f"migrate: database {database} is a Chatwoot; the warehouse wants a database of its own"
        )


def _make_roles(connection: Connection, warehouse: Warehouse) -> None:
    existing = {row[0] for row in connection.execute("select rolname from pg_roles")}
    logins = {f"mirante_{role}": warehouse.passwords[role] for role in LOGIN_ROLES}
    # Only a superuser may write these attributes; a new role has none of them by default.
    harden = (
        "nosuperuser nobypassrls noreplication nocreatedb nocreaterole"
        if is_superuser(connection)
        else ""
    )
    for role in (*logins, *NOLOGIN_ROLES):
        verb = "alter" if role in existing else "create"
        connection.execute(
            sql.SQL(
                "{verb} role {role} {login} {harden} {password}"
            ).format(
                verb=sql.SQL(verb), role=sql.Identifier(role), harden=sql.SQL(harden),
                login=sql.SQL("login" if role in logins else "nologin"),
                password=_password(connection, role, logins.get(role)),
            )
        )  # fmt: skip
    powerful = connection.execute(
        "select rolname from pg_roles where rolname = any (%s)"
        " and (rolsuper or rolbypassrls or rolcreaterole)",
        [[*logins, *NOLOGIN_ROLES]],
    ).fetchall()
    if powerful:
        raise MiranteError(
            f"migrate: role {powerful[0][0]} exists and passes row security: "
            "take SUPERUSER, BYPASSRLS and CREATEROLE from it"
        )
    # Hands functions over to it. Of mirante_audit it is a member only while steps run.
    connection.execute("grant mirante_auth to mirante_owner")
    # A build waits for the slowest reader, and every other reader behind it: not for ever.
    connection.execute("alter role mirante_owner set lock_timeout = '10s'")
    # It sorts and aggregates whole tables, in one or two statements at a time.
    connection.execute("alter role mirante_owner set work_mem = '64MB'")
    connection.execute("alter role mirante_owner set maintenance_work_mem = '256MB'")
    connection.execute("alter role mirante_owner set jit = off")
    # A page's statements are short and many at a time: their sorts fit into memory, and what gets a
    # long one ready (workers, compiled code) takes longer than they do. From 16 on a page's rows
    # would be sorted whole by contact before each median sorts its own: 96 ms, now 60, for a year.
    page_settings = {"work_mem": "16MB", "max_parallel_workers_per_gather": "0", "jit": "off"}
    if connection.info.server_version >= 160000:
        page_settings["enable_presorted_aggregate"] = "off"
    for name, value in page_settings.items():
        connection.execute(
            sql.SQL("alter role mirante_app set {} = {}").format(
                sql.Identifier(name), sql.Literal(value)
            )
        )
    if not harden:  # to give a schema to a role, a plain administrator must be able to become it
        connection.execute("grant mirante_owner to current_user")


def _password(connection: Connection, role: str, password: str | None) -> sql.Composable:
    if password is None:
        return sql.SQL("")
    return sql.SQL("password {}").format(sql.Literal(scram_hash(connection, role, password)))


def _make_schemas(connection: Connection) -> None:
    database = sql.Identifier(connection.info.dbname)
    logins = sql.SQL(", ").join(sql.Identifier(f"mirante_{role}") for role in LOGIN_ROLES)
    for schema in SCHEMAS:
        connection.execute(
            sql.SQL("create schema if not exists {} authorization mirante_owner").format(
                sql.Identifier(schema)
            )
        )
    connection.execute(sql.SQL("revoke all on database {} from public").format(database))
    connection.execute("revoke all on schema public from public")
    # dlt makes its own staging schema beside raw_chatwoot.
    connection.execute(sql.SQL("grant create on database {} to mirante_owner").format(database))
    connection.execute(
        sql.SQL("grant connect, temporary on database {} to mirante_owner").format(database)
    )
    connection.execute(
        sql.SQL("grant connect on database {} to {}, mirante_analyst").format(database, logins)
    )


def _close_catalog(connection: Connection, warehouse: Warehouse) -> None:
    """Take from PUBLIC what PostgreSQL gives everybody; only a superuser may.

    An advisory lock of an analyst's could stop a build, a large object or a WAL message could
    fill the disk, and on a server of our own nobody needs its other databases.
    """
    if not is_superuser(connection):
        return
    functions = connection.execute(
        r"""
        select oid::regprocedure::text, proname like '%advisory%' from pg_proc as routines
        where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f'
            and (
                proname like '%advisory%' or proname ~ '^(lo_|loread|lowrite)'
                or proname = 'pg_logical_emit_message'
            )
            and exists (
                select 1 from aclexplode(coalesce(proacl, acldefault('f', proowner))) as granted
                where granted.grantee = 0
            )
        """
    ).fetchall()
    for name, is_lock in functions:
        function = sql.SQL(name)  # as the server writes it
        connection.execute(sql.SQL("revoke all on function {} from public").format(function))
        if is_lock:  # builds and extractions take turns by them
            connection.execute(
                sql.SQL("grant execute on function {} to mirante_owner").format(function)
            )
    if warehouse.is_embedded:
        connection.execute("revoke all on database postgres, template1 from public")


def _upgrade(admin: Connection, owner_dsn: str) -> None:
    """Run the steps that are due; only meanwhile may mirante_owner act as mirante_audit."""
    config = Config()
    config.set_main_option("script_location", str(PROJECT_ROOT / "warehouse" / "migrations"))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(
        sqlalchemy.make_url(owner_dsn.replace("postgres://", "postgresql://", 1)).set(
            drivername="postgresql+psycopg"
        ),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table_schema": "app"})
        heads = set(ScriptDirectory.from_config(config).get_heads())
        try:
            if set(context.get_current_heads()) != heads:
                connection.rollback()
                admin.execute("grant mirante_audit to mirante_owner")
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                connection.commit()
        finally:
            _leave_audit(admin)


def _leave_audit(admin: Connection) -> None:
    """Take mirante_audit from mirante_owner, whoever gave it: a member could rewrite the log."""
    # From 16 on a grant is kept for each grantor, and taken back one by one.
    if admin.info.server_version >= 160000:
        grantors = admin.execute(
            "select grantor::regrole::text from pg_auth_members"
            " where roleid = 'mirante_audit'::regrole and member = 'mirante_owner'::regrole"
        ).fetchall()
        givers = [sql.SQL("granted by ") + sql.SQL(name) for (name,) in grantors]  # quoted there
    else:
        givers = [sql.Composed([])]
    for giver in givers:
        admin.execute(sql.SQL("revoke mirante_audit from mirante_owner {}").format(giver))
