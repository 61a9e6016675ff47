"""SQL log-ins of analysts: one tenant each, read only, dead when the tenant is suspended."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection, sql

from warehouse.audit import Actor, record
from warehouse.db import Warehouse, is_superuser, scram_hash, with_login
from warehouse.errors import MiranteError, UsageError

log = logging.getLogger(__name__)

CONNECTION_LIMIT = 4
# Defaults of the log-in's sessions. It may set them otherwise, but for the connection limit; its
# rights, which are to read, do not depend on them.
SESSION_SETTINGS = {
    "statement_timeout": "60s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
    "default_transaction_read_only": "on",
    "search_path": "marts",
    "work_mem": "16MB",
    "max_parallel_workers_per_gather": "0",
}


@dataclass(frozen=True)
class Analyst:
    """A log-in as it is on the server; `can_log_in` is off while its tenant is not active."""

    role_name: str
    tenant_slug: str
    created_at: datetime
    can_log_in: bool
    connections: int


def add_analyst(warehouse: Warehouse, slug: str, actor: Actor) -> tuple[str, str]:
    """Make a log-in for one tenant; return its name and its URI with the password, kept nowhere.

    Raises UsageError on an unknown tenant, MiranteError on one that is not active or when the
    administrator may not create roles.
    """
    password = secrets.token_urlsafe(24)
    with _administration(warehouse) as connection:
        tenant = connection.execute(
            "select id, status from app.tenants where slug = %s for share", [slug]
        ).fetchone()
        if tenant is None:
            raise UsageError(f"--tenant {slug!r} does not exist: see `mirante tenant list`")
        tenant_id, status = tenant
        if status != "active":
            raise MiranteError(f"tenant {slug!r} is {status}: its log-ins would see nothing")
        # The number at the end is what the policies compare with the rows.
        role = f"mirante_analyst_{secrets.token_hex(8)}_t{tenant_id}"
        connection.execute(
            sql.SQL(
                "create role {} login connection limit {} password {} in role mirante_analyst"
            ).format(
                sql.Identifier(role), sql.Literal(CONNECTION_LIMIT),
                sql.Literal(scram_hash(connection, role, password)),
            )
        )  # fmt: skip
        for name, value in SESSION_SETTINGS.items():
            connection.execute(
                sql.SQL("alter role {} set {} = {}").format(
                    sql.Identifier(role), sql.Identifier(name), sql.Literal(value)
                )
            )
        connection.execute(
            "insert into app.analyst_logins (role_name, tenant_id) values (%s, %s)",
            [role, tenant_id],
        )
        record(
            connection, "analyst.add", actor=actor, tenant_id=tenant_id, target=f"analyst:{role}"
        )
    return role, with_login(warehouse.admin_dsn, role, password)


def list_analysts(warehouse: Warehouse, slug: str | None = None) -> list[Analyst]:
    """The log-ins of a tenant, or of all."""
    with _administration(warehouse) as connection:
        rows = connection.execute(
            """
            select
                logins.role_name, tenants.slug, logins.created_at,
                coalesce(roles.rolcanlogin, false),
                (select count(*) from pg_stat_activity as a where a.usename = logins.role_name)
            from app.analyst_logins as logins
            inner join app.tenants as tenants on logins.tenant_id = tenants.id
            left join pg_roles as roles on logins.role_name = roles.rolname
            where %(slug)s::text is null or tenants.slug = %(slug)s
            order by 2, 3, 1
            """,
            {"slug": slug},
        ).fetchall()
    return [Analyst(*row) for row in rows]


def remove_analyst(
    warehouse: Warehouse, slug: str, actor: Actor, *, role: str | None = None
) -> str:
    """End a log-in's connections and drop its role; return its name.

    Without `role` the tenant's only one. Raises UsageError when there is none, or more than one.
    """
    roles = [analyst.role_name for analyst in list_analysts(warehouse, slug)]
    if role is None and len(roles) != 1:
        raise UsageError(
            f"tenant {slug!r} has {len(roles)} log-ins"
            + (f": give --role, one of {', '.join(roles)}" if roles else "")
        )
    if role is not None and role not in roles:
        raise UsageError(f"--role {role!r} is no log-in of {slug!r}: see `mirante analyst list`")
    _remove(warehouse, [role or roles[0]], actor)
    return role or roles[0]


def remove_all(warehouse: Warehouse, tenant_id: int, actor: Actor) -> None:
    """Remove every log-in of a tenant."""
    _remove(warehouse, _roles(warehouse, tenant_id), actor)


def disable(warehouse: Warehouse, tenant_id: int) -> None:
    """Refuse a tenant's log-ins and end their connections.

    They see no row already, by app.login_is_active(). Raises MiranteError when the administrator
    may not do it.
    """
    roles = _roles(warehouse, tenant_id)
    if not roles:
        return
    with _administration(warehouse) as connection:
        for role in _existing(connection, roles):
            connection.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(role)))
    # After the commit: one that comes in between is ended as well, and none comes later.
    with _administration(warehouse) as connection:
        _end_sessions(connection, roles)


def enable(warehouse: Warehouse, tenant_id: int) -> None:
    """Let the log-ins of a tenant in again."""
    roles = _roles(warehouse, tenant_id)
    if not roles:
        return
    with _administration(warehouse) as connection:
        for role in _existing(connection, roles):
            connection.execute(sql.SQL("alter role {} login").format(sql.Identifier(role)))


def _roles(warehouse: Warehouse, tenant_id: int) -> list[str]:
    with psycopg.connect(warehouse.dsn("owner")) as connection:
        return [
            row[0]
            for row in connection.execute(
                "select role_name from app.analyst_logins where tenant_id = %s order by 1",
                [tenant_id],
            )
        ]


def _existing(connection: Connection[Any], roles: Sequence[str]) -> list[str]:
    """Those of the roles that the server has: somebody may have dropped one by hand."""
    return [
        row[0]
        for row in connection.execute(
            "select rolname from pg_roles where rolname = any (%s) order by 1", [list(roles)]
        )
    ]


@contextmanager
def _administration(warehouse: Warehouse) -> Iterator[Connection[Any]]:
    """A transaction of the administrator's; what it may not do is one line without a password."""
    try:
        with psycopg.connect(warehouse.admin_dsn) as connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        reason = str(error).strip().splitlines()[0]
        raise MiranteError(
            f"{reason} ({warehouse!r}): the administrator needs CREATEROLE, and the roles as "
            "`mirante migrate` made them"
        ) from None


def _remove(warehouse: Warehouse, roles: Sequence[str], actor: Actor) -> None:
    if not roles:
        return
    with _administration(warehouse) as connection:
        for role, tenant_id in connection.execute(
            "delete from app.analyst_logins where role_name = any (%s)"
            " returning role_name, tenant_id",
            [list(roles)],
        ).fetchall():
            record(
                connection, "analyst.remove", actor=actor, tenant_id=tenant_id,
                target=f"analyst:{role}",
            )  # fmt: skip
        for role in _existing(connection, roles):
            connection.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(role)))
    with _administration(warehouse) as connection:
        _end_sessions(connection, roles)
        for role in _existing(connection, roles):
            with _membership(connection, role):  # large objects, grants made by hand
                connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(role)))
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def _end_sessions(connection: Connection[Any], roles: Sequence[str]) -> None:
    for role in _existing(connection, roles):
        with _membership(connection, role):
            connection.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = %s",
                [role],
            )


@contextmanager
def _membership(connection: Connection[Any], role: str) -> Iterator[None]:
    """Acting for a role takes membership from whoever is no superuser; for as long only."""
    if is_superuser(connection):
        yield
        return
    name = sql.Identifier(role)
    connection.execute(sql.SQL("grant {} to current_user").format(name))
    yield
    connection.execute(sql.SQL("revoke {} from current_user").format(name))
