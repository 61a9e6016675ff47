"""Numbers, dates and durations as Brazil writes them. Missing values are an en dash."""

import math
import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

MISSING = "–"
# Between number and unit, so that a line never breaks there.
NBSP = "\u00a0"
WEEKDAYS = (
    "segunda-feira",
    "terça-feira",
    "quarta-feira",
    "quinta-feira",
    "sexta-feira",
    "sábado",
    "domingo",
)
MONTHS = ("jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez")
Number = float | int | None


def is_missing(value: Number) -> bool:
    """Whether SQL gave NULL: None, or NaN once it has been in a frame."""
    return value is None or math.isnan(value)


def number(value: Number, digits: int = 0) -> str:
    """1234.5 with one digit is `1.234,5`."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def percent(share: Number) -> str:
    """0.123 is `12,3 %`."""
    return MISSING if share is None or math.isnan(share) else f"{number(share * 100, 1)}{NBSP}%"


def change(ratio: Number) -> str | None:
    """A relative change with its sign, -0.123 as `-12,3 %`; None when there is no base."""
    return None if ratio is None or math.isnan(ratio) else _signed(ratio * 100, f"{NBSP}%")


def points(difference: Number) -> str | None:
    """A difference of two shares in percentage points, 0.012 as `+1,2 p.p.`."""
    if difference is None or math.isnan(difference):
        return None
    return _signed(difference * 100, f"{NBSP}p.p.")


def difference(value: Number) -> str | None:
    """A difference with its sign, -2.14 as `-2,1`; None when there is no base."""
    return None if value is None or math.isnan(value) else _signed(value, "")


def _signed(value: float, unit: str) -> str:
    text = number(abs(value), 1)
    if text == "0,0":
        return f"0{unit}"
    # A plain hyphen: Streamlit takes the arrow's direction from it.
    return f"{'-' if value < 0 else '+'}{text}{unit}"


def duration(seconds: Number) -> str:
    """`45 s`, `6 min 09 s`, `2 h 05 min`, `3 d 4 h`: two units at most, rounded down."""
    if seconds is None or math.isnan(seconds):
        return MISSING
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{number(days)}{NBSP}d{NBSP}{hours}{NBSP}h"
    if hours:
        return f"{hours}{NBSP}h{NBSP}{minutes:02}{NBSP}min"
    if minutes:
        return f"{minutes}{NBSP}min{NBSP}{rest:02}{NBSP}s"
    return f"{rest}{NBSP}s"


def day(value: date) -> str:
    """`DD/MM/YYYY`."""
    return value.strftime("%d/%m/%Y")


def step(start: date, end: date, grain: str) -> str:
    """A day, week or month of a chart: `03/06`, `01/06 a 07/06`, `jun 2026`."""
    if grain == "month":
        return f"{MONTHS[start.month - 1]} {start.year}"
    short = f"{start:%d/%m}"
    return short if start == end else f"{short} a {end:%d/%m}"


def weekday(value: date) -> str:
    """The day's name, in lower case."""
    return WEEKDAYS[value.weekday()]


def moment(at: datetime, timezone: str) -> str:
    """`DD/MM/YYYY HH:MM` on the clock of `timezone`."""
    return at.astimezone(ZoneInfo(timezone)).strftime("%d/%m/%Y %H:%M")


def age(span: timedelta) -> str:
    """How long ago: `agora`, `há 12 min`, `há 2 h 05 min`, `há 3 d 4 h`."""
    minutes = int(span.total_seconds()) // 60
    if minutes < 60:
        return f"há{NBSP}{minutes}{NBSP}min" if minutes else "agora"
    return f"há{NBSP}{duration(minutes * 60)}"


def count(value: int, one: str, many: str) -> str:
    """`1 conversa`, `1.234 conversas`."""
    return f"{number(value)} {one if value == 1 else many}"


def plain_markdown(text: str) -> str:
    """Data for a place that reads Markdown, such as a label: every sign of it escaped, one line."""
    return re.sub(r"([!-/:-@[-`{-~])", r"\\\1", " ".join(text.split()))
