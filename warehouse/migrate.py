"""Roles, schemas and the control plane's tables."""

import logging

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection, sql

from warehouse.db import LOGIN_ROLES, Warehouse
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
    is_superuser = connection.execute("select usesuper from pg_user where usename = user")
    # Only a superuser may write these attributes; a new role has none of them by default.
    harden = (
        "nosuperuser nobypassrls noreplication nocreatedb nocreaterole"
        if is_superuser.fetchone() == (True,)
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
    if not harden:  # to give a schema to a role, a plain administrator must be able to become it
        connection.execute("grant mirante_owner to current_user")


def _password(connection: Connection, role: str, password: str | None) -> sql.Composable:
    """Hash it here: a server that logs statements would log the password."""
    if password is None:
        return sql.SQL("")
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return sql.SQL("password {}").format(sql.Literal(hashed.decode()))


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
    connection.execute(sql.SQL("grant connect on database {} to {}").format(database, logins))


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
