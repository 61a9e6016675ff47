"""The two databases: connections, and what goes wrong there in one line.

That line holds no password and nobody's words: PostgreSQL's own text may quote both.
"""

import errno
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from select import select
from typing import Any, Literal

import psycopg
from psycopg import Connection, conninfo, pq, sql
from psycopg.errors import error_from_result

from warehouse.db import describe_dsn, explain_refusal
from warehouse.errors import MiranteError

log = logging.getLogger(__name__)

Side = Literal["source", "warehouse"]

# SQLSTATE classes whose first line speaks of objects and resources. The others (22 data, 23
# constraint, ...) may quote a value, so only their code is shown.
SPEAKABLE = frozenset({"08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"})
FIRST_LINE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(?P<text>[^\n]+)")
CONNECT_SECONDS = 15
# Of the source. A COPY also lasts as long as our own side takes to write what it brings: long mails
# through a thin link; it ends one day, for a process that hangs holds back the source's vacuum.
STATEMENT_TIMEOUT = "2min"
COPY_TIMEOUT = "12h"
PIPE_BYTES = 64 * 1024
# A server or a link that died without a word is noticed within a minute or two.
KEEPALIVES = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# Ctrl-C is heard so often while a server has nothing to say.
LISTEN_SECONDS = 0.5


class ExtractError(MiranteError):
    """An extraction that could not start or finish. The next run goes on from the last good one."""


class Session(Connection[Any]):
    """A psycopg connection that knows whose it is: what its statements raise names the database."""

    side: Side
    dsn: str

    def execute(self, *arguments: Any, **options: Any) -> Any:
        """As psycopg's, raising ExtractError."""
        with speaking_of(self.side, self.dsn):
            return super().execute(*arguments, **options)


@contextmanager
def connect(side: Side, dsn: str) -> Iterator[Session]:
    """A session in autocommit. Raises ExtractError when the log-in fails."""
    try:
        session = Session.connect(
            conninfo.make_conninfo(dsn, application_name="mirante", **KEEPALIVES),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
        )
    except psycopg.OperationalError as error:
        raise ExtractError(f"{side}: {explain_refusal(dsn, error)}") from None
    except psycopg.ProgrammingError:
        raise ExtractError(
            f"{side}: the address is not a PostgreSQL URI (postgresql://user:password@host/database"
            ", special characters of the password percent-encoded)"
        ) from None
    session.side, session.dsn = side, dsn
    session.prepare_threshold = None  # each statement is another one
    with session:
        yield session


def pipe(reader: Session, query: sql.Composable, writer: Session, target: sql.Composable) -> int:
    """Stream the rows of `query` into `target`, a table with columns, on another server; how many.

    COPY to COPY in PostgreSQL's binary form, so every value arrives as it is; what is in memory at
    a time is one row and PIPE_BYTES. Raises ExtractError of the side that failed, after which the
    reader's session is of no further use; else it has STATEMENT_TIMEOUT.
    """
    source, sink = reader.pgconn, writer.pgconn
    # In one message: the source answers once.
    copy_out = (
        sql.SQL(
            "set statement_timeout = {}; copy ({}) to stdout (format binary); "
            "set statement_timeout = {}"
        )
        .format(COPY_TIMEOUT, query, STATEMENT_TIMEOUT)
        .as_bytes(reader)
    )
    copy_in = sql.SQL("copy {} from stdin (format binary)").format(target).as_bytes(writer)
    with speaking_of(writer.side, writer.dsn):
        _start(sink, copy_in, pq.ExecStatus.COPY_IN)
        try:
            with speaking_of(reader.side, reader.dsn):
                _start(source, copy_out, pq.ExecStatus.COPY_OUT)
            parts: list[memoryview] = []
            size = 0
            # libpq itself: psycopg's own loop takes twice as long for a row.
            while (answer := source.get_copy_data(1))[0] >= 0:
                length, data = answer
                if length == 0:  # nothing there yet
                    _listen(source)
                    continue
                parts.append(data)
                size += length
                if size >= PIPE_BYTES:
                    _put(sink, b"".join(parts))
                    parts, size = [], 0
            _put(sink, b"".join(parts))
            with speaking_of(reader.side, reader.dsn):
                _finish(source)
        except BaseException:
            with suppress(psycopg.Error):  # that the sink was told to give up is no news
                sink.put_copy_end(b"the other side gave up")
                _finish(sink)
            raise
        sink.put_copy_end()
        return _finish(sink)


def _start(connection: pq.abc.PGconn, command: bytes, wanted: pq.ExecStatus) -> None:
    connection.send_query(command)
    result = _next_result(connection)
    while result and result.status == pq.ExecStatus.COMMAND_OK:  # of a setting
        result = _next_result(connection)
    if result is None or result.status != wanted:
        raise error_from_result(result) if result else psycopg.OperationalError("no answer")


def _next_result(connection: pq.abc.PGconn) -> pq.abc.PGresult | None:
    """As libpq's, but Ctrl-C is heard meanwhile."""
    while connection.is_busy():
        _listen(connection)
    return connection.get_result()


def _put(connection: pq.abc.PGconn, data: bytes) -> None:
    """Hand over all of it: what a slow server does not take would pile up in libpq."""
    connection.put_copy_data(data)
    while connection.flush():
        readable, _, _ = select([connection.socket], [connection.socket], [], LISTEN_SECONDS)
        if readable:
            connection.consume_input()


def _listen(connection: pq.abc.PGconn) -> None:
    select([connection.socket], [], [], LISTEN_SECONDS)
    connection.consume_input()


def _finish(connection: pq.abc.PGconn) -> int:
    """Take what is left of a COPY: the number of its rows, or its error."""
    rows = 0
    failure: psycopg.Error | None = None
    while result := _next_result(connection):
        if result.status == pq.ExecStatus.FATAL_ERROR:
            failure = failure or error_from_result(result)
        rows = result.command_tuples or rows
    if failure:
        raise failure
    return rows


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
        # By name, for psycopg2 is dlt's: what has no SQLSTATE is libpq's own.
        if type(inner).__name__ in ("OperationalError", "DatabaseError"):
            return "the connection was lost"
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
