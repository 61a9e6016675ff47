"""What the server made and the pages use; Streamlit runs pages in the server's own process."""

from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool

from dashboard.auth import Sessions


@dataclass(frozen=True)
class Dashboard:
    """One running dashboard. `reads` is a pool of the app role, for the pages' questions.

    `public_url`: how people reach it, for the links it shows; None: as the request was made.
    `export_max_rows`: of one file.
    """

    sessions: Sessions
    reads: ConnectionPool[Connection[Any]] = field(repr=False)
    brand_name: str
    cookie_secure: bool
    public_url: str | None = None
    export_max_rows: int = 100_000


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
