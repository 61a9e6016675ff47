"""What went wrong, in one line that holds no password and nobody's words."""

import errno
import re
from collections.abc import Iterator

from warehouse.errors import MiranteError

# SQLSTATE classes whose first line speaks of objects and resources. The others (22 data, 23
# constraint, ...) may quote a value, so only their code is shown.
SPEAKABLE = frozenset({"08", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58"})
DISK_FULL = "53100"
FIRST_LINE = re.compile(r"(?:ERROR|FATAL|PANIC):\s+(?P<text>[^\n]+)")


class ExtractError(MiranteError):
    """An extraction that could not start or finish. The next run continues from the last good."""


def explain(error: BaseException) -> str:
    """One line on `error`, found under the wrappers dlt puts around it."""
    for inner in _chain(error):
        state = sqlstate(inner)
        if isinstance(inner, OSError) and inner.errno == errno.ENOSPC:
            return "no space left on the disk of this machine"
        if state == DISK_FULL:
            return "its disk is full (PostgreSQL error 53100)"
        if state:
            found = FIRST_LINE.search(f"ERROR: {_first_line(inner)}")
            text = found["text"] if found and state[:2] in SPEAKABLE else "a value was refused"
            return f"{text} (PostgreSQL error {state})"
        if type(inner).__name__ in ("OperationalError", "InterfaceError"):
            return "the connection was lost"
    return f"{type(_innermost(error)).__name__} (see the log for the place)"


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code of a psycopg, psycopg2 or ADBC error."""
    for attribute in ("sqlstate", "pgcode"):
        state = getattr(error, attribute, None)
        if isinstance(state, str) and state:
            return state
    return None


def find(error: BaseException) -> ExtractError | None:
    """The ExtractError that dlt wrapped, if that is what stopped it."""
    return next((inner for inner in _chain(error) if isinstance(inner, ExtractError)), None)


def place(error: BaseException) -> str:
    """Where the innermost error was raised: safe to log, unlike its text."""
    trace = _innermost(error).__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "unknown place"
    code = trace.tb_frame.f_code
    return f"{code.co_filename}:{trace.tb_lineno} in {code.co_name}"


def _first_line(error: BaseException) -> str:
    found = FIRST_LINE.search(str(error))
    return found["text"] if found else (str(error).splitlines() or [""])[0]


def _chain(error: BaseException) -> Iterator[BaseException]:
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


def _innermost(error: BaseException) -> BaseException:
    *_, last = _chain(error)
    return last
