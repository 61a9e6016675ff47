"""The two databases: connections, and what goes wrong there in one line.

That line holds no password and nobody's words: PostgreSQL's own text may quote both.
"""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import adbc_driver_postgresql.dbapi
import psycopg
import psycopg2
from adbc_driver_manager import AdbcStatusCode
from psycopg import Connection, conninfo

from warehouse.db import describe_dsn, explain_refusal
from warehouse.errors import MiranteError

log = logging.getLogger(__name__)

Side = Literal["source", "warehouse"]

# SQLSTATE classes whose first line speaks of objects and resources. The others (22 data, 23
# constraint, ...) may quote a value, so only their code is shown.
SPEAKABLE = frozenset({"08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"})
FIRST_LINE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(?P<text>[^\n]+)")
CONNECT_SECONDS = 15


class ExtractError(MiranteError):
    """An extraction that could not start or finish. The next run goes on from the last good one."""


@contextmanager
def connect(side: Side, dsn: str) -> Iterator[Connection[Any]]:
    """A psycopg connection in autocommit. Raises ExtractError when the log-in fails."""
    try:
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="mirante"
        )
    except psycopg.OperationalError as error:
        raise ExtractError(f"{side}: {explain_refusal(dsn, error)}") from None
    except psycopg.ProgrammingError:
        raise ExtractError(
            f"{side}: the address is not a PostgreSQL URI (postgresql://user:password@host/database"
            ", special characters of the password percent-encoded)"
        ) from None
    with connection:
        yield connection


def connect_arrow(dsn: str, *, autocommit: bool) -> Any:
    """An ADBC connection: the same database, answering in Arrow batches."""
    address = conninfo.make_conninfo(
        dsn, connect_timeout=CONNECT_SECONDS, application_name="mirante"
    )
    return adbc_driver_postgresql.dbapi.connect(address, autocommit=autocommit)


@contextmanager
def speaking_of(side: Side, dsn: str) -> Iterator[None]:
    """Turn what goes wrong inside into one line that names the database."""
    try:
        yield
    except Exception as error:
        raise as_extract_error(error, side, dsn) from None


def as_extract_error(error: BaseException, side: Side, dsn: str) -> ExtractError:
    """What stopped a run: the ExtractError under dlt's wrappers, else one made of `error`."""
    if is_interrupt(error):
        return ExtractError("interrupted")
    chain = list(_chain(error))
    for inner in chain:
        if isinstance(inner, ExtractError):
            return inner
    log.error("%s failed at %s", side, _place(chain[-1]))
    for inner in chain:
        if isinstance(inner, OSError) and inner.errno == errno.ENOSPC:
            return ExtractError(
                "no space left on this machine's disk, where rows wait to be loaded (MIRANTE_HOME)"
            )
    return ExtractError(f"{side} {describe_dsn(dsn)}: {_explain(chain)}")


def is_interrupt(error: BaseException) -> bool:
    """Whether a Ctrl-C or a signal that dlt caught is what stopped a run."""
    return any(isinstance(inner, KeyboardInterrupt) for inner in _chain(error))


def _explain(chain: list[BaseException]) -> str:
    for inner in chain:
        state = getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None)
        if state == "53100":
            return "its disk is full (PostgreSQL error 53100)"
        if state:
            found = FIRST_LINE.search(str(inner))
            text = found["text"] if found else (str(inner).splitlines() or [""])[0]
            shown = text if state[:2] in SPEAKABLE else "the server refused it"
            return f"{shown} (PostgreSQL error {state})"
        if isinstance(inner, (psycopg.OperationalError, psycopg2.OperationalError)):
            return "the connection was lost"
        if status := getattr(inner, "status_code", None):  # ADBC's
            is_lost = status in (AdbcStatusCode.IO, AdbcStatusCode.INVALID_STATE)
            return "the connection was lost" if is_lost else f"ADBC error {status.name}"
    return f"{type(chain[-1]).__name__} (the log has the place)"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all it stands for: causes, contexts, and where dlt keeps the client's error."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        for name in (
            "client_exception",
            "exception",
            "dbapi_exception",
            "__cause__",
            "__context__",
        ):
            inner = getattr(current, name, None)
            if isinstance(inner, BaseException):
                waiting.append(inner)


def _place(error: BaseException) -> str:
    """File, line and function where `error` was raised: fit for a log, unlike its text."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    code = trace.tb_frame.f_code
    return f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"
