"""CRM files: who became a customer and when, as rows that dbt matches to conversations.

Reading and normalising is here; matching, which decides what counts as a conversion, is the dbt
model int_crm_rows_matched_to_conversations, asked once for the report.
"""

import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import phonenumbers
import psycopg
from psycopg.errors import UndefinedTable

from warehouse.errors import MiranteError, UsageError

# Headers as CRM exports have them, without accents and case; earlier ones go before later ones.
HEADERS = {
    "phone": (
        "whatsapp", "celular", "mobile", "telefone celular", "telefone", "phone", "fone", "tel",
    ),
    "email": ("email", "e mail"),
    "date": (
        "data da matricula", "data da venda", "data da conversao", "data de conversao",
        "data matricula", "data venda", "data", "date", "converted on",
    ),
    "id": ("id", "codigo", "code", "referencia", "reference"),
}  # fmt: skip
DATE_FORMATS = ("%d/%m/%Y", "%Y-%m-%d", "%d-%m-%Y", "%d.%m.%Y", "%d/%m/%y")
FIRST_YEAR = 2000  # what is before it was mistyped
SHOWN_ERRORS = 5
# Why a row meets no conversation, by its status in the model that matches.
REASONS = {
    "unknown": "nobody who wrote has this phone or e-mail",
    "wrote_later": "the contact wrote only after the date",
    "nameless": "neither phone nor e-mail",
}


@dataclass(frozen=True)
class CrmRow:
    """One customer won. `number` is the row's in the file, the header being row 1."""

    number: int
    key: str
    phone: str | None
    email: str | None
    converted_on: date


@dataclass(frozen=True)
class CrmReport:
    """What an import did, and which conversations its rows met in the last build.

    `statuses` are those of int_crm_rows_matched_to_conversations by row number; empty when nothing
    was built yet.
    """

    rows: int
    inserted: int
    updated: int
    statuses: dict[int, str]

    @property
    def matched(self) -> int:
        """Rows credited to a conversation."""
        return sum(status == "matched" for status in self.statuses.values())


def import_crm(
    owner_dsn: str, *, tenant_slug: str, path: Path, country: str = "BR", dry_run: bool = False
) -> CrmReport:
    """Add the rows of a file to a tenant's, all or nothing; a second import changes nothing.

    With `dry_run` everything is tried and nothing kept. Raises UsageError naming the file's wrong
    rows and columns, or the unknown tenant.
    """
    rows = read_crm_file(path, country)
    with psycopg.connect(owner_dsn) as connection:
        found = connection.execute(
            "select id from app.tenants where slug = %s", [tenant_slug]
        ).fetchone()
        if found is None:
            raise UsageError(f"--tenant {tenant_slug!r} is unknown: see `mirante tenant list`")
        (tenant_id,) = found
        inserted, updated = _upsert(connection, tenant_id, rows)
        statuses = _statuses(connection, tenant_id, rows)
        if dry_run:
            connection.rollback()
    return CrmReport(len(rows), inserted, updated, statuses)


def read_crm_file(path: Path, country: str = "BR") -> list[CrmRow]:
    """The rows of a CSV file: comma, semicolon or tab, UTF-8 or Windows-1252.

    Phones without a country code are of `country`. Raises UsageError that names every wrong row
    and column, up to a few.
    """
    if phonenumbers.country_code_for_region(country) == 0:
        raise UsageError(f"--country {country!r}: use two letters, e.g. BR")
    lines = _lines(path)
    try:
        header = next(lines)
    except StopIteration:
        raise UsageError(f"{path}: the file is empty") from None
    columns = _columns(path, header)
    rows: list[CrmRow] = []
    errors: list[str] = []
    seen: Counter[str] = Counter()
    numbers: dict[str, int] = {}
    for number, cells in enumerate(lines, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        values: dict[str, str] = {}
        wrong = len(errors)
        for what, places in columns.items():
            filled = [n for n in places if n < len(cells) and cells[n].strip(" '\t\xa0")]
            place = filled[0] if filled else places[0]
            text = cells[place].strip(" '\t\xa0") if filled else ""
            try:
                values[what] = _PARSERS[what](text, country)
            except ValueError as error:
                errors.append(f"row {number}, column {header[place].strip()}: {error}")
        if len(errors) > wrong:
            continue
        reference = values.get("id", "")
        if reference in numbers:
            errors.append(
                f"row {number}, column {header[columns['id'][0]].strip()}: {reference!r} stands in"
                f" row {numbers[reference]} already"
            )
            continue
        if reference:
            numbers[reference] = number
        key = f"id:{reference}"
        if not reference:
            # The same customer twice on one day is two rows, in this file and in the next.
            text = "|".join(values.get(what, "") for what in ("phone", "email", "date"))
            seen[text] += 1
            key = "row:" + hashlib.sha256(f"{text}|{seen[text]}".encode()).hexdigest()
        rows.append(
            CrmRow(
                number, key, values.get("phone") or None, values.get("email") or None,
                date.fromisoformat(values["date"]),
            )
        )  # fmt: skip
    if errors:
        more = f" and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
        raise UsageError(
            f"{path}: nothing was imported: " + "; ".join(errors[:SHOWN_ERRORS]) + more
        )
    return rows


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--file {path}: {error.strerror or error}") from None
    try:
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")  # a spreadsheet's "Unicode text"
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # what Excel writes in Brazil
    delimiter = max(";,\t", key=text.split("\n", 1)[0].count)
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    except csv.Error as error:
        raise UsageError(f"{path}: this is no CSV file: {error}") from None


def _columns(path: Path, header: Sequence[str]) -> dict[str, list[int]]:
    """Where each kind of value stands, the best header first."""
    names = [_folded(name) for name in header]
    found = {
        what: [names.index(alias) for alias in aliases if alias in names]
        for what, aliases in HEADERS.items()
    }
    if not found["date"]:
        raise UsageError(f"{path}: no column for the date: name one data, date or data da venda")
    if not found["phone"] and not found["email"]:
        raise UsageError(
            f"{path}: no column to know a contact by: name one telefone, celular, phone or email"
        )
    return {what: places for what, places in found.items() if places}


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return " ".join(re.findall("[a-z0-9]+", plain))


def _phone(text: str, country: str) -> str:
    """E.164, or nothing. A Brazilian mobile number of before the ninth digit is a number too."""
    if not text:
        return ""
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        raise ValueError(f"{text!r} is no phone number") from None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    with_ninth = re.sub(r"^(\+55[1-9][0-9])([6-9][0-9]{7})$", r"\g<1>9\2", e164)
    if not phonenumbers.is_valid_number(phonenumbers.parse(with_ninth, None)):
        raise ValueError(f"{text!r} is no phone number of any network")
    return e164


def _email(text: str, _: str) -> str:
    if text and not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError(f"{text!r} is no e-mail address")
    return text.lower()


def _date(text: str, _: str) -> str:
    if not text:
        raise ValueError("the date is missing")
    day = re.split(r"[ T]", text)[0]  # exports add a time; the day is what counts
    for pattern in DATE_FORMATS:
        try:
            parsed = datetime.strptime(day, pattern).date()  # a day has no zone
        except ValueError:
            continue
        if parsed > datetime.now(UTC).date() + timedelta(days=1):
            raise ValueError(f"{text!r} is in the future")
        if parsed.year < FIRST_YEAR:
            raise ValueError(f"{text!r} is before {FIRST_YEAR}")
        return parsed.isoformat()
    raise ValueError(f"{text!r} is no date: write DD/MM/YYYY or YYYY-MM-DD")


def _reference(text: str, _: str) -> str:
    return text


_PARSERS = {"phone": _phone, "email": _email, "date": _date, "id": _reference}


def _upsert(
    connection: psycopg.Connection, tenant_id: int, rows: Sequence[CrmRow]
) -> tuple[int, int]:
    """How many rows were new, and how many changed."""
    connection.execute(
        "create temporary table crm_file (like app.crm_rows including defaults) on commit drop"
    )
    with (
        connection.cursor() as cursor,
        cursor.copy("copy crm_file (id, tenant_id, row_key, phone, email, converted_on) from stdin")
        as copy,
    ):  # fmt: skip
        for row in rows:
            copy.write_row((row.number, tenant_id, row.key, row.phone, row.email, row.converted_on))
    written = connection.execute(
        """
        insert into app.crm_rows as stored (tenant_id, row_key, phone, email, converted_on)
        select tenant_id, row_key, phone, email, converted_on from crm_file order by id
        on conflict (tenant_id, row_key) do update set
            phone = excluded.phone, email = excluded.email,
            converted_on = excluded.converted_on, imported_at = now()
        where (stored.phone, stored.email, stored.converted_on)
            is distinct from (excluded.phone, excluded.email, excluded.converted_on)
        returning stored.xmax = 0
        """
    ).fetchall()
    inserted = sum(is_new for (is_new,) in written)
    return inserted, len(written) - inserted


def _statuses(
    connection: psycopg.Connection, tenant_id: int, rows: Sequence[CrmRow]
) -> dict[int, str]:
    try:
        with connection.transaction():
            found = connection.execute(
                "select stored.row_key, matches.match_status from app.crm_rows as stored"
                " inner join intermediate.int_crm_rows_matched_to_conversations as matches"
                " on matches.tenant_id = stored.tenant_id and matches.crm_row_id = stored.id"
                " where stored.tenant_id = %s",
                [tenant_id],
            ).fetchall()
    except UndefinedTable:  # nothing was built yet
        return {}
    by_key: dict[str, str] = dict(found)
    if len(by_key) < len({row.key for row in rows}):
        raise MiranteError("not every row of the file was stored: please report this")
    return {row.number: by_key[row.key] for row in rows}
