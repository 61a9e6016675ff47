"""What an exported file holds, and how its cells are written for Excel in Brazil."""

import csv
import io
import os
import re
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.format import Format

from dashboard import formats, words

Kind = Literal["remarketing", "conversas"]
FileFormat = Literal["csv", "xlsx"]
Written = Literal["text", "phone", "number", "duration", "moment", "flag"]
# A cell as both formats take it; datetimes are naive, on the tenant's clock.
Cell = str | int | float | datetime | None

CELL_LIMIT = 32_767  # of Excel, in UTF-16 units
CUT_MARK = "… (cortado)"
# Text keeps line breaks and tabs; other controls no XML can hold, nor do they say anything.
UNHOLDABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]")

# What another separator than ours would make a cell of; and what calls something.
PIECE = re.compile("(?<=[,\t\n])[^,\t\n]+")
RUNS = re.compile(r"[(|!]")

SIDES = {"contact": "Contato", "agent": "Atendente", "bot": "Robô"}
STAGES = {
    "converted": "Cliente convertido", "visit_scheduled": "Visita agendada",
    "qualified": "Lead qualificado", "lead": "Lead",
}  # fmt: skip
PRIORITIES = {"low": "Baixa", "medium": "Média", "high": "Alta", "urgent": "Urgente"}
PROVIDERS = {"openai": "OpenAI", "local": "Modelo local"}
AI_STATUSES = {"ok": "Atual", "stale": "Conversa mudou depois", "corrected": "Corrigida por pessoa"}


@dataclass(frozen=True)
class FileColumn:
    """`name` in the rows of queries.export_rows, its heading, how its values are written; `words`:
    the customer's for values of the marts.
    """

    name: str
    title: str
    written: Written = "text"
    words: dict[str, str] | None = None
    width: int = 16


def _duration(name: str, title: str) -> tuple[FileColumn, FileColumn]:
    return (
        FileColumn(name, f"{title} (segundos)", "number"),
        FileColumn(name, title, "duration"),
    )


REMARKETING = (
    FileColumn("contact_name", "Nome", width=28),
    FileColumn("contact_phone", "Telefone", "phone", width=18),
    FileColumn("contact_email", "E-mail", width=28),
    FileColumn("status", "Situação", words=words.STATUSES),
    FileColumn("lead_class", "Classe", words=words.LEAD_CLASSES, width=10),
    FileColumn("lead_score", "Score", "number", width=10),
    FileColumn("stage", "Etapa", words=STAGES, width=20),
    FileColumn("channel", "Canal", words=words.CHANNELS, width=12),
    FileColumn("inbox_name", "Caixa de entrada", width=24),
    FileColumn("agent_name", "Atendente", width=20),
    FileColumn("last_side", "Última mensagem de", words=SIDES),
    FileColumn("last_message_at", "Última mensagem em", "moment", width=18),
    *_duration("idle_seconds", "Parada há"),
    FileColumn("preview", "Prévia", width=60),
    FileColumn("ai_next_step", "Próximo passo (IA)", width=40),
    FileColumn("labels", "Etiquetas", width=24),
    FileColumn("utm_source", "UTM source"),
    FileColumn("utm_medium", "UTM medium"),
    FileColumn("utm_campaign", "UTM campaign", width=20),
    FileColumn("referrer_url", "Página de origem", width=36),
    FileColumn("ai_provider", "Análise por", words=PROVIDERS),
    FileColumn("created_at", "Conversa criada em", "moment", width=18),
    FileColumn("display_id", "Conversa nº", "number", width=12),
    FileColumn("conversation_id", "ID da conversa", "number", width=14),
    FileColumn("contact_id", "ID do contato", "number", width=14),
)
CONVERSATIONS = (
    FileColumn("display_id", "Conversa nº", "number", width=12),
    FileColumn("conversation_id", "ID da conversa", "number", width=14),
    FileColumn("created_at", "Criada em", "moment", width=18),
    FileColumn("status", "Situação", words=words.STATUSES),
    FileColumn("priority", "Prioridade", words=PRIORITIES),
    FileColumn("channel", "Canal", words=words.CHANNELS, width=12),
    FileColumn("inbox_name", "Caixa de entrada", width=24),
    FileColumn("agent_name", "Atendente", width=20),
    FileColumn("contact_id", "ID do contato", "number", width=14),
    FileColumn("contact_name", "Nome", width=28),
    FileColumn("contact_phone", "Telefone", "phone", width=18),
    FileColumn("contact_email", "E-mail", width=28),
    FileColumn("labels", "Etiquetas", width=24),
    FileColumn("message_count", "Mensagens", "number"),
    FileColumn("contact_message_count", "Mensagens do contato", "number"),
    FileColumn("agent_message_count", "Mensagens de atendentes", "number"),
    FileColumn("bot_message_count", "Mensagens do robô", "number"),
    FileColumn("first_contact_message_at", "1ª mensagem do contato", "moment", width=18),
    FileColumn("first_reply_at", "1ª resposta", "moment", width=18),
    *_duration("first_reply_seconds", "Tempo até a 1ª resposta"),
    *_duration("first_reply_business_seconds", "Tempo até a 1ª resposta, em expediente"),
    FileColumn("last_contact_message_at", "Última mensagem do contato", "moment", width=18),
    FileColumn("last_message_at", "Última mensagem", "moment", width=18),
    FileColumn("last_side", "Última mensagem de", words=SIDES),
    FileColumn("is_waiting", "Aguardando resposta", "flag"),
    FileColumn("waiting_since", "Aguardando desde", "moment", width=18),
    FileColumn("first_resolved_at", "1ª resolução", "moment", width=18),
    FileColumn("last_resolved_at", "Última resolução", "moment", width=18),
    *_duration("first_resolution_seconds", "Tempo até a 1ª resolução"),
    FileColumn("resolution_count", "Resoluções", "number"),
    FileColumn("reopen_count", "Reaberturas", "number"),
    FileColumn("is_one_touch", "Resolvida em um toque", "flag"),
    FileColumn("is_bot_resolved", "Resolvida pelo robô", "flag"),
    FileColumn("csat_rating", "Nota de satisfação", "number"),
    FileColumn("csat_answered_at", "Nota dada em", "moment", width=18),
    FileColumn("is_lead", "Lead", "flag"),
    FileColumn("is_qualified", "Lead qualificado", "flag"),
    FileColumn("is_visit_scheduled", "Visita agendada", "flag"),
    FileColumn("is_converted", "Cliente convertido", "flag"),
    FileColumn("lead_class", "Classe (IA)", words=words.LEAD_CLASSES),
    FileColumn("lead_score", "Score (IA)", "number"),
    FileColumn("sentiment", "Sentimento (IA)", words=words.SENTIMENTS),
    FileColumn("intent", "Intenção (IA)", words=words.INTENTS),
    FileColumn("ai_summary", "Resumo (IA)", width=60),
    FileColumn("ai_next_step", "Próximo passo (IA)", width=40),
    FileColumn("ai_evidence_message_ids", "Mensagens que embasam a análise", width=24),
    FileColumn("ai_provider", "Análise por", words=PROVIDERS),
    FileColumn("ai_status", "Estado da análise", words=AI_STATUSES, width=22),
    FileColumn("ai_scored_at", "Analisada em", "moment", width=18),
    FileColumn("utm_source", "UTM source"),
    FileColumn("utm_medium", "UTM medium"),
    FileColumn("utm_campaign", "UTM campaign", width=20),
    FileColumn("referrer_url", "Página de origem", width=36),
    FileColumn("preview", "Prévia", width=60),
)
COLUMNS: dict[Kind, tuple[FileColumn, ...]] = {
    "remarketing": REMARKETING,
    "conversas": CONVERSATIONS,
}
TITLES: dict[Kind, str] = {"remarketing": "Remarketing", "conversas": "Conversas"}
# Filters and context, one a line.
Notes = Sequence[tuple[str, str]]


def clean(text: str) -> tuple[str, bool]:
    """`text` as a cell can hold it, and whether it had to be cut."""
    text = UNHOLDABLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(text) * 2 <= CELL_LIMIT:
        return text, False
    units = text.encode("utf-16-le")
    if len(units) <= CELL_LIMIT * 2:
        return text, False
    room = (CELL_LIMIT - len(CUT_MARK)) * 2
    return units[:room].decode("utf-16-le", "ignore") + CUT_MARK, True


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take it for more than text: by = + - @ in any width, behind what
    is not seen, or by a tab or line break at its beginning.
    """
    if text[:1] in {"\t", "\r", "\n"}:
        return True
    for character in text:
        if character.isspace() or unicodedata.category(character) in {"Cf", "Cc", "Mn", "Me"}:
            continue
        return unicodedata.normalize("NFKC", character)[0] in "=+-@\u2212"
    return False


def without_formulas(text: str) -> str:
    """`text` with an apostrophe where a spreadsheet would run it: at its beginning, and behind a
    comma, tab or line break, for Excel of another country splits there, quotes or not. There only
    what can do more than arithmetic, since people write ", @joana" and "10,-".
    """
    guarded = PIECE.sub(
        lambda piece: f"'{piece[0]}" if is_formula(piece[0].replace('"', ""))
        and RUNS.search(unicodedata.normalize("NFKC", piece[0])) else piece[0],
        text,
    )  # fmt: skip
    return f"'{guarded}" if is_formula(text) else guarded


def cell(column: FileColumn, value: Any, zone: ZoneInfo) -> Cell:
    """A value of the marts as the file has it, before the format's own writing."""
    written: Cell = value
    if value is None:
        return None
    if isinstance(value, list):
        written = ", ".join(map(str, value))
    elif column.words:
        written = column.words.get(value, value)
    elif column.written == "phone":
        written = value.lstrip("+")
    elif column.written == "flag":
        written = "Sim" if value else "Não"
    elif column.written == "duration":
        written = formats.duration(value).replace(formats.NBSP, " ") if value >= 0 else None
    elif column.written == "moment":
        written = value.astimezone(zone).replace(tzinfo=None)
    return written


class Writer(Protocol):
    """A file that is being written, a row at a time. `cut_cells`: how many were too long."""

    cut_cells: int

    def write(self, row: Sequence[Cell]) -> None:
        """One row, in the order of the columns."""

    def close(self, notes: Notes) -> None:
        """The filters beside the rows, and the end of the file."""


def csv_text(value: Cell) -> str:
    """A cell of the CSV, before its quotes: numbers with a comma, moments to the minute, text so
    that no spreadsheet runs it.
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%d/%m/%Y %H:%M")
    if isinstance(value, float):
        return str(value).replace(".", ",")
    if isinstance(value, str):
        return without_formulas(value)
    return str(value)


@dataclass
class CsvZip:
    """`<stem>.csv` and `filtros.csv` in one ZIP at `path`: UTF-8 with BOM, `;`, CRLF, RFC 4180."""

    path: Path
    stem: str
    columns: Sequence[FileColumn]
    cut_cells: int = 0
    _zip: zipfile.ZipFile = field(init=False, repr=False)
    _text: io.TextIOWrapper = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._zip = zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED, compresslevel=5)
        self._open(f"{self.stem}.csv")
        self._lines([[column.title for column in self.columns]])

    def write(self, row: Sequence[Cell]) -> None:
        """One row."""
        self._lines([row])

    def close(self, notes: Notes) -> None:
        """The second file, and the end."""
        self._text.close()
        self._open("filtros.csv")
        self._lines([("Filtro", "Valor"), *notes])
        self._text.close()
        self._zip.close()

    def _open(self, name: str) -> None:
        binary = self._zip.open(name, "w", force_zip64=True)
        self._text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        self._csv = csv.writer(self._text, delimiter=";", lineterminator="\r\n")

    def _lines(self, rows: Iterable[Sequence[Cell]]) -> None:
        for row in rows:
            texts = []
            for value in row:
                if isinstance(value, str):
                    value, was_cut = clean(value)
                    self.cut_cells += was_cut
                texts.append(csv_text(value))
            self._csv.writerow(texts)


@dataclass
class XlsxBook:
    """A workbook at `path`: the rows, typed, and a sheet with the filters. Rows go to a temporary
    file in the same folder, so that memory does not grow with them.
    """

    path: Path
    sheet_name: str
    columns: Sequence[FileColumn]
    cut_cells: int = 0
    _row: int = field(init=False, default=0, repr=False)

    def __post_init__(self) -> None:
        self._book = xlsxwriter.Workbook(
            os.fspath(self.path),
            {
                "constant_memory": True, "tmpdir": os.fspath(self.path.parent),
                "strings_to_formulas": False, "strings_to_urls": False,
                "strings_to_numbers": False,
            },
        )  # fmt: skip
        self._head = self._book.add_format(
            {"bold": True, "text_wrap": True, "valign": "top", "bottom": 1, "bg_color": "#E6F1F0"}
        )
        self._moment = self._book.add_format({"num_format": "dd/mm/yyyy hh:mm"})
        self._sheet = self._book.add_worksheet(self.sheet_name)
        for position, column in enumerate(self.columns):
            self._sheet.set_column(position, position, column.width)
        self._sheet.freeze_panes(1, 0)
        self._line(self._sheet, 0, [column.title for column in self.columns], self._head)

    def write(self, row: Sequence[Cell]) -> None:
        """One row."""
        self._row += 1
        self._line(self._sheet, self._row, row)

    def close(self, notes: Notes) -> None:
        """The second sheet, and the end."""
        self._sheet.autofilter(0, 0, self._row, len(self.columns) - 1)
        sheet = self._book.add_worksheet("Filtros")
        sheet.set_column(0, 0, 28)
        sheet.set_column(1, 1, 80)
        for position, note in enumerate([("Filtro", "Valor"), *notes]):
            self._line(sheet, position, note, self._head if not position else None)
        self._book.close()

    def _line(
        self, sheet: Any, row: int, values: Sequence[Cell], look: Format | None = None
    ) -> None:
        for position, value in enumerate(values):
            if value is None or value == "":
                continue
            if isinstance(value, str):
                text, was_cut = clean(value)
                self.cut_cells += was_cut
                sheet.write_string(row, position, text, look)
            elif isinstance(value, datetime) and value.year >= 1900:
                sheet.write_datetime(row, position, value, self._moment)
            elif isinstance(value, int | float):
                sheet.write_number(row, position, value, look)
            else:  # a moment before Excel's first
                sheet.write_string(row, position, csv_text(value), look)


def open_writer(folder: Path, stem: str, kind: Kind, file_format: FileFormat) -> Writer:
    """A new file `stem` in `folder`."""
    columns = COLUMNS[kind]
    if file_format == "csv":
        return CsvZip(folder / f"{stem}.zip", stem, columns)
    return XlsxBook(folder / f"{stem}.xlsx", TITLES[kind], columns)


def row_of(kind: Kind, timezone: str) -> Callable[[Mapping[Any, Any]], list[Cell]]:
    """What makes cells of a row of queries.export_rows, times on the clock of `timezone`."""
    columns, zone = COLUMNS[kind], ZoneInfo(timezone)
    return lambda row: [cell(column, row[column.name], zone) for column in columns]
