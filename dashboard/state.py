"""What the server made and the pages use; Streamlit runs pages in the server's own process."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection, OperationalError
from psycopg_pool import ConnectionPool

from dashboard.auth import Sessions

# Of the pool's eight connections.
QUESTIONS_OF_A_TENANT = 3


class Turns:
    """So many questions of one tenant at a time: its slow ones leave connections to the others."""

    def __init__(self, at_once: int = QUESTIONS_OF_A_TENANT, wait_seconds: float = 20) -> None:
        self._free: defaultdict[int, threading.BoundedSemaphore] = defaultdict(
            lambda: threading.BoundedSemaphore(at_once)
        )
        self._lock = threading.Lock()
        self._wait_seconds = wait_seconds

    @contextmanager
    def of(self, tenant_id: int) -> Iterator[None]:
        """Hold one of the tenant's turns. Raises OperationalError when none comes free in time."""
        with self._lock:
            free = self._free[tenant_id]
        if not free.acquire(timeout=self._wait_seconds):
            raise OperationalError("too many slow questions of this tenant at once")
        try:
            yield
        finally:
            free.release()


@dataclass(frozen=True)
class Dashboard:
    """One running dashboard. `reads` is a pool of the app role, for the pages' questions.

    `public_url`: how people reach it, for the links it shows; None: as the request was made.
    `chatwoot_url`: where Chatwoot is, for links to its conversations; None: no links.
    `export_max_rows`: of one file.
    """

    sessions: Sessions
    reads: ConnectionPool[Connection[Any]] = field(repr=False)
    brand_name: str
    cookie_secure: bool
    public_url: str | None = None
    chatwoot_url: str | None = None
    export_max_rows: int = 100_000
    turns: Turns = field(default_factory=Turns, repr=False)


_dashboard: Dashboard | None = None


def use(dashboard: Dashboard) -> None:
    """Make it the process's one dashboard: Streamlit allows one app per process, so do we."""
    global _dashboard
    _dashboard = dashboard


def current() -> Dashboard:
    """The running dashboard. Raises RuntimeError outside the server."""
    if _dashboard is None:
        raise RuntimeError("no dashboard is running: start it with `mirante serve`")
    return _dashboard
