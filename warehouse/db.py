"""The warehouse's connections: one log-in per role, and the tenant set per transaction."""

import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import Connection, conninfo
from psycopg_pool import ConnectionPool

from warehouse.embedded import EmbeddedServer, write_private
from warehouse.errors import MiranteError, UsageError
from warehouse.settings import Settings

log = logging.getLogger(__name__)

Role = Literal["admin", "owner", "app", "super"]
LOGIN_ROLES: tuple[Role, ...] = ("owner", "app", "super")
SAMPLE_DATABASE = "chatwoot_sample"
SAMPLE_READER = "chatwoot_reader"


@dataclass(frozen=True)
class Warehouse:
    """Where the warehouse is, and how each role gets in. `repr` shows no password."""

    admin_dsn: str
    passwords: Mapping[str, str]
    is_embedded: bool

    def __repr__(self) -> str:
        return f"Warehouse({describe_dsn(self.admin_dsn)})"

    def dsn(self, role: Role, database: str | None = None) -> str:
        """URI of `role` (without prefix: owner, app, super; admin as configured)."""
        return with_login(self.admin_dsn, database=database) if role == "admin" else with_login(
            self.admin_dsn, f"mirante_{role}", self.passwords[role], database
        )  # fmt: skip

    @property
    def audit_key(self) -> bytes:
        """Key of the hashes that stand for people and addresses in the audit log."""
        return self.passwords["audit_key"].encode()

    @property
    def sample_dsn(self) -> str:
        """URI of the read-only log-in on the demo's Chatwoot."""
        return with_login(
            self.admin_dsn, SAMPLE_READER, self.passwords["sample_reader"], SAMPLE_DATABASE
        )


@contextmanager
def open_warehouse(settings: Settings) -> Iterator[Warehouse]:
    """Yield the warehouse of the settings, its embedded server running meanwhile if that is it."""
    passwords = _passwords(settings)
    if settings.warehouse_dsn:
        dsn = settings.warehouse_dsn.get_secret_value()
        check_reachable(dsn, "MIRANTE_WAREHOUSE_DSN")
        yield Warehouse(dsn, passwords, is_embedded=False)
        return
    with EmbeddedServer(settings.home).running() as dsn:
        yield Warehouse(dsn, passwords, is_embedded=True)


def _passwords(settings: Settings) -> dict[str, str]:
    """Passwords of the roles: settings first, else `credentials.json` (0600), made when absent."""
    path = settings.home / "credentials.json"
    try:
        stored: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    except json.JSONDecodeError as error:
        raise MiranteError(f"{path} is damaged ({error}): delete it, then run migrate") from None
    missing = [name for name in (*LOGIN_ROLES, "sample_reader", "audit_key") if name not in stored]
    if missing:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        stored |= {name: secrets.token_urlsafe(24) for name in missing}
        write_private(path, json.dumps(stored, indent=2))
    given = {
        "owner": settings.owner_password,
        "app": settings.app_password,
        "super": settings.super_password,
        "audit_key": settings.audit_key,
    }
    return stored | {name: value.get_secret_value() for name, value in given.items() if value}


def check_reachable(dsn: str, setting: str) -> None:
    """Raise UsageError naming `setting` when nothing answers there or the log-in is refused."""
    try:
        psycopg.connect(dsn, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise UsageError(f"{setting}: {explain_refusal(dsn, error)}") from None


def explain_refusal(dsn: str, error: psycopg.OperationalError) -> str:
    """One line on why a log-in failed, without the password that may be in libpq's own text."""
    # libpq adds a line of advice after the reason.
    reason = str(error).strip().splitlines()[0].strip()
    password = conninfo.conninfo_to_dict(dsn).get("password")
    if password:
        reason = reason.replace(str(password), "***")
    return f"cannot log in to {describe_dsn(dsn)}: {reason}"


def describe_dsn(dsn: str) -> str:
    """`user@host:port/database`, fit for a log."""
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "an address that is not a PostgreSQL URI"
    return (
        f"{parts.get('user', '?')}@{parts.get('host', 'localhost')}"
        f":{parts.get('port', 5432)}/{parts.get('dbname', '')}"
    )


def connection_parts(dsn: str) -> dict[str, str]:
    """The parts of a DSN by libpq's names: host, port, user, password, dbname."""
    return {key: str(value) for key, value in conninfo.conninfo_to_dict(dsn).items()}


def with_login(
    dsn: str, user: str | None = None, password: str | None = None, database: str | None = None
) -> str:
    """The same server's URI for another log-in or database."""
    from urllib.parse import quote, urlsplit

    parts = urlsplit(dsn)
    login = parts.netloc.rpartition("@")[0]
    place = parts.netloc.rpartition("@")[2]
    if user is not None:
        login = f"{quote(user, safe='')}:{quote(password or '', safe='')}"
    path = f"/{quote(database, safe='')}" if database else parts.path
    return parts._replace(netloc=f"{login}@{place}" if login else place, path=path).geturl()


def is_superuser(connection: Connection[Any]) -> bool:
    """Whether this log-in is one; a managed server's administrator is not."""
    return connection.execute("select usesuper from pg_user where usename = user").fetchone() == (
        True,
    )


def scram_hash(connection: Connection[Any], role: str, password: str) -> str:
    """The password as the server stores it: one that logs statements would log the password."""
    hashed = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    return hashed.decode()


def open_pool(dsn: str, *, min_size: int = 1, max_size: int = 8, **options: Any) -> ConnectionPool:
    """A pool of log-ins of one role, opened on first use; close it at the end."""
    return ConnectionPool(
        dsn, min_size=min_size, max_size=max_size, open=True,
        kwargs={"autocommit": True, "application_name": "mirante", **options},
    )  # fmt: skip


@contextmanager
def tenant_connection(
    pool: ConnectionPool[Connection[Any]], tenant_id: int
) -> Iterator[Connection[Any]]:
    """A connection that sees one tenant's rows, and none once the block ends.

    The tenant is set for the transaction, not the session, so a pooled connection cannot carry
    it to the next request. Raises ValueError unless `tenant_id` > 0.
    """
    if tenant_id <= 0:
        raise ValueError(f"tenant_id must be positive, got {tenant_id}")
    with pool.connection() as connection, connection.transaction():
        connection.execute("select set_config('app.current_tenant_id', %s, true)", [str(tenant_id)])
        yield connection


def fetch_all(dsn: str, query: LiteralString, parameters: list[Any] | None = None) -> list[Any]:
    """Rows of one query on a connection of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query, parameters).fetchall()


def source_dsn(settings: Settings, warehouse: Warehouse) -> str:
    """URI of Chatwoot: the setting, else the demo's sample on the embedded server.

    Raises UsageError when there is neither.
    """
    if settings.chatwoot_dsn:
        return settings.chatwoot_dsn.get_secret_value()
    if warehouse.is_embedded and fetch_all(
        warehouse.admin_dsn, "select 1 from pg_database where datname = %s", [SAMPLE_DATABASE]
    ):
        return warehouse.sample_dsn
    raise UsageError(
        "MIRANTE_CHATWOOT_DSN is not set: give the read-only log-in on Chatwoot's PostgreSQL "
        "(postgresql://user:password@host:5432/database), or try `mirante demo`"
    )


def state_folder(settings: Settings, name: str) -> Path:
    """`home`/`name`, made for the owner alone."""
    folder = settings.home / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
