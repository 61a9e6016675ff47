"""In the place of two classes of dbt's: sessions that stay, and no events that nobody hears.

Both save time and nothing else (docs/decisions.md); plain `dbt build` does without them. Written
for dbt-adapters 1.24; tests/test_build.py counts the sessions.
"""

from typing import Any

import psycopg2
from dbt.adapters.contracts.connection import ConnectionState
from dbt.adapters.postgres.connections import PostgresConnectionManager
from dbt.adapters.postgres.impl import PostgresAdapter
from dbt_common.events.event_manager import EventManager
from dbt_common.events.event_manager_client import ctx_set_event_manager


class ThreadSessions(PostgresConnectionManager):
    """A session a thread; dbt's own are one for each model and each data test."""

    def release(self) -> None:
        """Leave the session as a new one is, and open; one that cannot be left so is closed."""
        connection = self.get_if_exists()
        if connection is not None and connection.state == ConnectionState.OPEN:
            try:
                connection.handle.rollback()
                connection.transaction_open = False
                with connection.handle.cursor() as cursor:
                    cursor.execute("discard temp")
                connection.handle.commit()
            except psycopg2.Error:
                pass
            else:
                return
        super().release()


class UnheardEvents(EventManager):
    """Writes no message of an event: with log level `none` nobody reads it."""

    def fire_event(self, *_: Any, **__: Any) -> None:
        """Nothing. What went wrong is in dbt's results."""


def install() -> None:
    """Have dbt in this process work so."""
    PostgresAdapter.ConnectionManager = ThreadSessions
    ctx_set_event_manager(UnheardEvents())
