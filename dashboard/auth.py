"""Log-in, sessions and cookies: who is asking, and whose numbers may be shown."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import class_row, tuple_row
from psycopg_pool import ConnectionPool

from warehouse import users
from warehouse.errors import MiranteError

SESSION_LIFETIME = timedelta(days=7)
IDLE_LIMIT = timedelta(hours=24)
# A `__Host-` cookie cannot be planted from another subdomain; browsers take it over https only.
COOKIE_NAME = "mirante_session"
SECURE_COOKIE_NAME = "__Host-mirante_session"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Viewer:
    """One live session as the database knows it at this moment; check again before each use.

    `tenant_id` is whose numbers may be shown: the user's own tenant, or the one a super_admin
    chose; None until then.
    """

    token_sha256: bytes = field(repr=False)
    user_id: int
    email: str = field(repr=False)
    role: str
    tenant_id: int | None
    tenant_slug: str | None
    tenant_name: str | None
    timezone: str | None
    currency: str | None
    segment: str | None


@dataclass(frozen=True)
class SelectableTenant:
    """A client the agency may look at."""

    tenant_id: int
    tenant_slug: str
    tenant_name: str
    segment: str
    status: str


@dataclass(frozen=True)
class LoadState:
    """How fresh the numbers are, and the version that every cache key carries."""

    last_loaded_at: datetime | None
    last_built_at: datetime | None
    data_version: int


@dataclass(frozen=True)
class Visit:
    """One run of a page: who asks, and the state of the data that the answers belong to."""

    viewer: Viewer
    load_state: LoadState

    @property
    def tenant_id(self) -> int:
        """Whose numbers are on the page. Raises SessionEndedError when no tenant is chosen."""
        if self.viewer.tenant_id is None:
            raise SessionEndedError("no tenant is chosen")
        return self.viewer.tenant_id

    @property
    def timezone(self) -> str:
        """The tenant's IANA zone."""
        return self.viewer.timezone or "America/Sao_Paulo"


class SessionEndedError(MiranteError):
    """The session behind a page ended, or stands for another tenant by now."""


def cookie_name(*, secure: bool) -> str:
    """Name of the session cookie on this installation."""
    return SECURE_COOKIE_NAME if secure else COOKIE_NAME


def token_hash(token: str | None) -> bytes | None:
    """What the database knows of a token; None for what cannot be one."""
    if token is None or not _TOKEN.fullmatch(token):
        return None
    return hashlib.sha256(token.encode()).digest()


class Sessions:
    """Users and sessions through the functions of the app schema, all that the app role may call.

    Blocking: run in a thread. The pool is its own, so that slow pages never hold up a log-in.
    """

    def __init__(self, pool: ConnectionPool[Connection[Any]]) -> None:
        self._pool = pool
        # Checked for unknown e-mails, so that they cost what known ones cost.
        self._nobody = users.hash_password(secrets.token_hex(16))

    def log_in(self, email: str, password: str) -> str | None:
        """Open a session and return its token; None when e-mail and password do not match.

        Unknown, disabled and suspended users take as long as a wrong password.
        """
        candidate = self._candidate(email)
        stored = candidate[1] if candidate else self._nobody
        if not users.verify_password(password, stored) or candidate is None:
            return None
        token = secrets.token_urlsafe(32)
        with self._pool.connection() as connection:
            connection.execute(
                "select app.open_session(%s, %s, %s)",
                [candidate[0], token_hash(token), SESSION_LIFETIME],
            )
        return token

    def find(self, token_sha256: bytes) -> Viewer | None:
        """The session while it, its user and its tenant are alive."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(Viewer)) as cursor,
        ):
            return cursor.execute(
                """
                select
                    %(token)s::bytea as token_sha256, user_id, email, role, tenant_id,
                    tenant_slug, tenant_name, timezone, currency, segment
                from app.current_session(%(token)s, %(idle)s)
                """,
                {"token": token_sha256, "idle": IDLE_LIMIT},
            ).fetchone()

    def visit(self, token: str | None) -> Visit:
        """The start of a page run. Raises SessionEndedError without a live session and a tenant."""
        token_sha256 = token_hash(token)
        viewer = self.find(token_sha256) if token_sha256 else None
        if viewer is None or viewer.tenant_id is None:
            raise SessionEndedError("no live session with a tenant")
        return Visit(viewer, self.load_state())

    def verify(self, visit: Visit) -> None:
        """Raise SessionEndedError unless the session still stands as at the start of the run."""
        if self.find(visit.viewer.token_sha256) != visit.viewer:
            raise SessionEndedError("the session ended during the run")

    def touch(self, token_sha256: bytes) -> None:
        """Note that somebody is there: the idle limit counts from now."""
        with self._pool.connection() as connection:
            connection.execute("select app.touch_session(%s, %s)", [token_sha256, IDLE_LIMIT])

    def close(self, token_sha256: bytes) -> None:
        """End a session; one that is not there is fine."""
        with self._pool.connection() as connection:
            connection.execute("select app.close_session(%s)", [token_sha256])

    def selectable_tenants(self, token_sha256: bytes) -> list[SelectableTenant]:
        """The agency's clients by name; none unless the session is a super_admin's."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(SelectableTenant)) as cursor,
        ):
            return cursor.execute(
                "select * from app.selectable_tenants(%s, %s)", [token_sha256, IDLE_LIMIT]
            ).fetchall()

    def view_tenant(self, token_sha256: bytes, tenant_id: int) -> bool:
        """Look at one client from now on; False when the session may not."""
        with self._pool.connection() as connection:
            row = connection.execute(
                "select app.view_tenant(%s, %s, %s)", [token_sha256, IDLE_LIMIT, tenant_id]
            ).fetchone()
        return row is not None and row[0] is True

    def load_state(self) -> LoadState:
        """When the last successful load and build were; no tenant's data."""
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(LoadState)) as cursor,
        ):
            state = cursor.execute("select * from app.load_state()").fetchone()
        if state is None:
            raise psycopg.DataError("app.load_state() gave no row")
        return state

    def _candidate(self, email: str) -> tuple[int, str] | None:
        if "\0" in email:  # PostgreSQL's text cannot hold it, so nobody has it
            return None
        with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=tuple_row) as cursor,
        ):
            return cursor.execute(
                "select user_id, password_hash from app.login_candidate(%s)", [email]
            ).fetchone()
