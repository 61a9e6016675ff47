"""The route of exported files: who may have one, the lines in the audit log, making and sending it.

A file is made whole in a temporary folder, at the database's pace, and sent from there: a slow
download holds neither a transaction nor memory, and nothing is left on the disk.
"""

import asyncio
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, get_args
from urllib.parse import parse_qs

import anyio
import psycopg
from anyio import to_thread
from psycopg import Connection
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolClosed
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dashboard import export_files, filters, formats, forms, lists, queries, words
from dashboard.auth import LoadState, Origin, Viewer
from dashboard.export_files import FileFormat, Kind
from dashboard.filters import Filters
from dashboard.guard import EXPORT_PATH, Guard
from dashboard.lists import Selection
from dashboard.state import Dashboard
from dashboard.web import BadFormError, guard_of, is_id, origin_of, read_own_form, route
from warehouse.db import open_pool, tenant_connection

log = logging.getLogger(__name__)

# Clients read; what leaves the house is an admin's to give. The database asks again.
EXPORTERS = frozenset({"admin", "super_admin"})
# Files made at once: two, and one of a tenant, so that none waits for another's. Files being sent,
# each of which is on the disk: of a person, and of a tenant.
AT_ONCE = 2
SENT_OF_A_PERSON, SENT_OF_A_TENANT = 2, 4
BATCH_ROWS = 1000
STATEMENT_TIMEOUT_MS, MAKING_SECONDS, SENDING_SECONDS = 60_000, 300.0, 1800.0
CHUNK_BYTES = 1 << 18
RECHECK_SECONDS = 1.0
FOLDER_PREFIX = "mirante-export-"
MEDIA_TYPES: dict[FileFormat, str] = {
    "csv": "application/zip",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
INBOX_NAMES = "select inbox_id, name from marts.dim_inboxes where tenant_id = %(tenant_id)s"
AGENT_NAMES = """
select agent_id, name
from marts.dim_agents
where tenant_id = %(tenant_id)s and agent_id in (%(agent_id)s, %(replied_by)s)
"""


class RefusedError(Exception):
    """No file, and why: status, title and text of a page."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


class StoppedError(Exception):
    """Making stopped half-way: broken_off (nobody waits any more), or session_ended."""


@dataclass(frozen=True)
class Wanted:
    """What a form asks for; inboxes by id alone."""

    kind: Kind
    file_format: FileFormat
    filters: Filters
    selection: Selection

    def details(self) -> dict[str, Any]:
        """For the audit log: ids and names of filters, of a searched text only that there was one.

        A channel is a word of ours there or nothing, since an address may say any.
        """
        selection = self.selection
        part = {name: value for name, value in vars(selection.part).items() if value is not None}
        if part.get("channel") not in words.CHANNELS:
            part.pop("channel", None)
        return {
            "kind": self.kind,
            "format": self.file_format,
            "start": self.filters.start.isoformat(),
            "end": self.filters.end.isoformat(),
            "inbox_ids": list(self.filters.inbox_ids),
            "list": selection.name,
            "part": part,
            "lead_class": selection.lead_class,
            "score_from": selection.score_from,
            "has_text": bool(selection.text),
        }


@dataclass(frozen=True)
class Made:
    """A file that waits to be sent: open, and without a name on the disk already."""

    export_id: int
    file: BinaryIO = field(repr=False)
    size: int
    rows: int


def open_export_pool(app_dsn: str) -> ConnectionPool[Connection[Any]]:
    """Connections for files alone: one snapshot each, and nothing but reading."""
    pool = open_pool(
        app_dsn, min_size=0, max_size=AT_ONCE,
        options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout=5s"
        r" -c default_transaction_isolation=repeatable\ read -c default_transaction_read_only=on",
    )  # fmt: skip
    pool.timeout = 5.0
    return pool


def read_wanted(form: Mapping[str, str]) -> Wanted:
    """What the page's form says. Raises BadFormError where no page of ours would say it."""
    kind, file_format = form.get("kind"), form.get("file_format")
    if kind not in get_args(Kind) or file_format not in get_args(FileFormat):
        raise BadFormError
    days = [form.get("first_day", ""), form.get("last_day", "")]
    if not all(re.fullmatch(r"\d{4}-\d\d-\d\d", day, flags=re.ASCII) for day in days):
        raise BadFormError
    given = form.get("inbox_ids", "")
    inbox_ids = given.split(",") if given else []
    if not all(map(is_id, inbox_ids)):
        raise BadFormError
    try:
        start, end = map(date.fromisoformat, days)
        query = parse_qs(form.get("selection", ""), errors="strict", max_num_fields=30)
    except ValueError:
        raise BadFormError from None
    return Wanted(
        kind,  # type: ignore[arg-type]
        file_format,  # type: ignore[arg-type]
        Filters(start, end, tuple(map(int, inbox_ids))),
        lists.read({name: values[0] for name, values in query.items()}),
    )


class Exports:
    """The handler, and the places for files being made."""

    def __init__(self, dashboard: Dashboard, pool: ConnectionPool[Connection[Any]]) -> None:
        self._dashboard = dashboard
        self._pool = pool
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._making_for: set[int] = set()
        self._sending: Counter[tuple[str, int]] = Counter()
        _remove_leftovers()

    def routes(self) -> list[Route]:
        """Every route of this module."""
        return [
            route(self._dashboard, EXPORT_PATH, self._answer, "POST"),
            route(self._dashboard, EXPORT_PATH, self._to_page, "GET"),
        ]

    async def _to_page(self, _: Request) -> Response:
        """A message of this route, reloaded."""
        return RedirectResponse("/exportar", status_code=303)

    async def _answer(self, request: Request) -> Response:
        viewer: Viewer = request.scope["mirante.viewer"]
        form = await read_own_form(request, viewer.token_sha256)
        try:
            return await self._export(request, viewer, form)
        except RefusedError as refused:
            page = forms.message_page(self._dashboard.brand_name, refused.title, refused.text)
            return HTMLResponse(page, status_code=refused.status)

    async def _export(self, request: Request, viewer: Viewer, form: Mapping[str, str]) -> Response:
        tenant_id = viewer.tenant_id
        if tenant_id is None or viewer.role not in EXPORTERS:
            raise _denied()
        if form.get("tenant_id") != str(tenant_id):
            raise _switched()
        wanted = read_wanted(form)
        if tenant_id in self._making_for or len(self._making_for) >= AT_ONCE:
            raise RefusedError(
                503, "Outro arquivo está sendo preparado",
                "Espere ele terminar e exporte de novo em um minuto.",
            )  # fmt: skip
        user, tenant = ("user", viewer.user_id), ("tenant", tenant_id)
        if self._sending[user] >= SENT_OF_A_PERSON or self._sending[tenant] >= SENT_OF_A_TENANT:
            raise RefusedError(
                503, "Outros arquivos ainda estão sendo baixados",
                "Espere um deles terminar, ou cancele-o, e exporte de novo.",
            )  # fmt: skip
        guard = guard_of(request)
        self._making_for.add(tenant_id)
        try:
            made = await self._make_while_awaited(request, viewer, wanted)
        finally:
            self._making_for.discard(tenant_id)
        slug, period = viewer.tenant_slug, wanted.filters
        suffix = "zip" if wanted.file_format == "csv" else "xlsx"
        name = f"mirante_{slug}_{wanted.kind}_{period.start}_{period.end}.{suffix}"
        return Download(
            made, name, MEDIA_TYPES[wanted.file_format], viewer, guard, self._dashboard,
            partial(self._hold, user, tenant),
        )  # fmt: skip

    @contextmanager
    def _hold(self, *places: tuple[str, int]) -> Iterator[None]:
        self._sending.update(places)
        try:
            yield
        finally:
            self._sending.subtract(places)
            self._sending = +self._sending  # those at zero are forgotten

    async def _make_while_awaited(self, request: Request, viewer: Viewer, wanted: Wanted) -> Made:
        """Make it in a thread, which stops at the next batch once nobody waits."""
        gone = threading.Event()

        async def watch() -> None:
            while not await request.is_disconnected():
                await asyncio.sleep(0.25)
            gone.set()

        watcher = asyncio.create_task(watch(), name="mirante-export-watch")
        try:
            return await to_thread.run_sync(
                partial(
                    self._make, viewer, wanted, origin_of(request, self._dashboard), gone
                ),
                limiter=self._limiter, abandon_on_cancel=True,
            )  # fmt: skip
        except StoppedError as stopped:
            log.info("an export of tenant %s: %s", viewer.tenant_id, stopped)
            raise RefusedError(401, "Sua sessão terminou", "Entre de novo para exportar.") from None
        except OSError as error:  # a TimeoutError among them
            log.warning("an export of tenant %s: %s", viewer.tenant_id, type(error).__name__)
            raise RefusedError(
                503,
                "O arquivo não ficou pronto",
                "Escolha um período menor, ou tente de novo em instantes.",
            ) from None
        finally:
            gone.set()
            watcher.cancel()

    def _make(self, viewer: Viewer, wanted: Wanted, origin: Origin, gone: threading.Event) -> Made:
        sessions, deadline = self._dashboard.sessions, time.monotonic() + MAKING_SECONDS
        self._admit(viewer)
        load_state = sessions.load_state()
        timezone = viewer.timezone or "America/Sao_Paulo"
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in queries.export_values(
                wanted.filters, wanted.selection, load_state, timezone
            ).items()
        }
        with tenant_connection(self._pool, viewer.tenant_id or 0) as connection:
            values["tenant_id"] = viewer.tenant_id
            named = self._named(connection, wanted, values)
            counts = _one_row(connection, queries.export_counts_sql(wanted.selection), values)
            expected = counts["people" if wanted.kind == "remarketing" else "conversations"]
            self._check_size(expected)
            export_id = self._begin(viewer, {**wanted.details(), "rows": expected}, origin)
            rows = 0
            try:
                with tempfile.TemporaryDirectory(prefix=f"{FOLDER_PREFIX}{os.getpid()}-") as folder:
                    writer = export_files.open_writer(
                        Path(folder), f"{wanted.kind}_{wanted.filters.start}_{wanted.filters.end}",
                        wanted.kind, wanted.file_format,
                    )  # fmt: skip
                    cells = export_files.row_of(wanted.kind, timezone)
                    with connection.cursor("export", row_factory=dict_row) as cursor:
                        sql = queries.export_sql(wanted.kind, wanted.selection)
                        cursor.execute(sql, values)
                        while batch := cursor.fetchmany(BATCH_ROWS):
                            self._check_wanted_still(viewer, gone, deadline)
                            for row in batch:
                                writer.write(cells(row))
                            rows += len(batch)
                    self._check_wanted_still(viewer, gone, deadline)
                    writer.close(
                        notes(viewer, wanted.kind, named, wanted.selection, load_state)
                        + _tallies(wanted.kind, rows, counts, writer.cut_cells)
                    )
                    (path,) = Path(folder).iterdir()
                    # Open, it outlives its name: nothing to clean up, whatever happens.
                    file = path.open("rb")
                    return Made(export_id, file, path.stat().st_size, rows)
            except BaseException as error:
                outcome = str(error) if isinstance(error, StoppedError) else "failed"
                if outcome == "failed":
                    log.error("export %s failed: %s", export_id, type(error).__name__)
                with suppress(psycopg.Error):
                    sessions.finish_export(viewer, export_id, outcome, rows=rows, sent_bytes=0)
                raise

    def _check_size(self, rows: int) -> None:
        most = self._dashboard.export_max_rows
        if rows > most:
            raise RefusedError(
                413, "São linhas demais para um arquivo",
                f"A seleção tem {formats.number(rows)} linhas, e um arquivo leva no máximo "
                f"{formats.number(most)}. Nada foi cortado e nada foi exportado: escolha um "
                "período menor, menos caixas de entrada ou uma lista mais estreita, e exporte "
                "em partes.",
            )  # fmt: skip

    def _admit(self, viewer: Viewer) -> None:
        """Before anything is counted: what is refused later took a turn all the same."""
        outcome, wait = self._dashboard.sessions.admit_export(viewer)
        if outcome == "too_many":
            raise RefusedError(
                429, "Muitas exportações em pouco tempo",
                f"Tente de novo em {formats.duration(wait).replace(formats.NBSP, ' ')}.",
            )  # fmt: skip
        if outcome != "ok":
            raise _switched() if outcome == "switched" else _denied()

    def _begin(self, viewer: Viewer, details: Mapping[str, Any], origin: Origin) -> int:
        outcome, export_id = self._dashboard.sessions.begin_export(viewer, details, origin)
        if outcome != "ok":
            raise _switched() if outcome == "switched" else _denied()
        return export_id

    def _check_wanted_still(self, viewer: Viewer, gone: threading.Event, deadline: float) -> None:
        if gone.is_set():
            raise StoppedError("broken_off")
        if self._dashboard.sessions.find(viewer.token_sha256) != viewer:
            raise StoppedError("session_ended")
        if time.monotonic() > deadline:
            raise TimeoutError("the file took too long")

    def _named(
        self, connection: Connection[Any], wanted: Wanted, values: Mapping[str, Any]
    ) -> "Named":
        """Names of the ids that were asked for; refuses an inbox that is not the tenant's."""
        names = filters.inbox_names_of(connection.execute(INBOX_NAMES, values).fetchall())
        if not set(wanted.filters.inbox_ids) <= set(names):
            raise RefusedError(
                400, "Caixa de entrada desconhecida",
                "Uma das caixas escolhidas não é mais desta conta. Abra a página de novo.",
            )  # fmt: skip
        agents = connection.execute(AGENT_NAMES, values).fetchall()
        inbox_names = tuple(names[inbox_id] for inbox_id in wanted.filters.inbox_ids)
        period = wanted.filters
        return Named(
            Filters(period.start, period.end, period.inbox_ids, inbox_names),
            dict(agents),
        )


@dataclass(frozen=True)
class Named:
    """Filters with the names of inboxes, and of the agents that are asked for, by id."""

    filters: Filters
    agent_names: Mapping[int, str | None]


class Download(Response):
    """Sends a file in pieces while its session lives and somebody takes them, and notes the end."""

    def __init__(
        self, made: Made, name: str, media_type: str, viewer: Viewer, guard: Guard,
        dashboard: Dashboard, held: Callable[[], AbstractContextManager[None]],
    ) -> None:  # fmt: skip
        super().__init__(media_type=media_type)
        self.headers["content-length"] = str(made.size)
        self.headers["content-disposition"] = f'attachment; filename="{name}"'
        # Packed already.
        self.headers["content-encoding"] = "identity"
        self._made, self._viewer = made, viewer
        self._guard, self._dashboard, self._held = guard, dashboard, held
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; where that ends early the connection is closed before the promised length."""
        outcome = "broken_off"
        listener = asyncio.create_task(_until_gone(receive), name="mirante-export-gone")
        try:
            with self._held(), anyio.move_on_after(SENDING_SECONDS):
                outcome = await self._send(send, listener)
        finally:
            listener.cancel()
            self._made.file.close()
            with anyio.CancelScope(shield=True), suppress(psycopg.Error, PoolClosed):
                await self._guard.in_thread(
                    partial(
                        self._dashboard.sessions.finish_export, self._viewer,
                        self._made.export_id, outcome, rows=self._made.rows,
                        sent_bytes=self._sent,
                    )
                )  # fmt: skip
            log.info("export %s: %s, %s rows", self._made.export_id, outcome, self._made.rows)

    async def _send(self, send: Send, listener: "asyncio.Task[None]") -> str:
        checked_at = -RECHECK_SECONDS
        while True:
            if time.monotonic() - checked_at >= RECHECK_SECONDS:
                checked_at = time.monotonic()
                if await self._guard.find(self._viewer.token_sha256) != self._viewer:
                    return "session_ended"
            if listener.done():
                return "broken_off"
            if not self._sent:
                await send(
                    {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
                )
            chunk = await to_thread.run_sync(self._made.file.read, CHUNK_BYTES)
            self._sent += len(chunk)
            is_last = self._sent >= self._made.size
            await send({"type": "http.response.body", "body": chunk, "more_body": not is_last})
            if is_last:
                return "complete"


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def notes(
    viewer: Viewer, kind: Kind, named: Named, selection: Selection, load_state: LoadState
) -> list[tuple[str, str]]:
    """The filters in words, as the second file has them."""
    timezone = viewer.timezone or "America/Sao_Paulo"
    chosen = lists.LISTS[selection.name]
    period = f"{formats.day(named.filters.start)} a {formats.day(named.filters.end)}"
    given = [
        ("Cliente", viewer.tenant_name),
        ("Arquivo", export_files.TITLES[kind]),
        ("Período", period if chosen.has_period else "não se aplica: a lista é deste momento"),
        ("Caixas de entrada", ", ".join(named.filters.inbox_names) or "todas"),
        ("Lista", chosen.title),
        *described(selection, named.agent_names),
        ("Gerado em", formats.moment(datetime.now(UTC), timezone)),
        ("Gerado por", viewer.email),
        ("Fuso horário", timezone),
        (
            "Dados carregados em",
            formats.moment(load_state.last_loaded_at, timezone)
            if load_state.last_loaded_at
            else None,
        ),
    ]
    return [(name, value) for name, value in given if value is not None]


def described(selection: Selection, agent_names: Mapping[int, str | None]) -> list[tuple[str, str]]:
    """The filters beside list, period and inboxes, in words."""
    part = selection.part

    def agent(agent_id: int | None) -> str | None:
        if agent_id is None:
            return None
        return (agent_names.get(agent_id) or str(agent_id)) if agent_id else "Sem agente"

    given = [
        ("Atendente", agent(part.agent_id)),
        ("Resposta de", agent(part.replied_by)),
        ("Nota", None if part.rating is None else str(part.rating)),
        ("Canal", part.channel and words.CHANNELS.get(part.channel, part.channel)),
        ("Situação", part.status and words.STATUSES[part.status]),
        (
            "Dia da semana",
            formats.WEEKDAYS[part.weekday - 1] if part.weekday and part.weekday < 8 else None,
        ),
        ("Hora", None if part.hour is None else f"{part.hour} h"),
        ("1ª resposta a partir de", _seconds(part.reply_from)),
        ("1ª resposta em menos de", _seconds(part.reply_to)),
        ("Parada", part.idle and words.IDLE_LEVELS[part.idle]),
        ("Classe", selection.lead_class and words.LEAD_CLASSES[selection.lead_class]),
        ("Score mínimo", selection.score_from and str(selection.score_from)),
        ("Busca", selection.text),
    ]
    return [(name, str(value)) for name, value in given if value]


def _seconds(value: int | None) -> str | None:
    return None if value is None else formats.duration(value).replace(formats.NBSP, " ")


def _tallies(
    kind: Kind, rows: int, counts: Mapping[str, int], cut_cells: int
) -> list[tuple[str, str]]:
    tallies = [("Linhas", str(rows))]
    if kind == "remarketing":
        tallies.append(("Fora por pedido da pessoa (opt-out)", str(counts["opted_out"])))
    if cut_cells:
        tallies.append(("Células cortadas no limite do Excel", str(cut_cells)))
    return tallies


def _one_row(connection: Connection[Any], sql: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(sql, values).fetchone()
    if row is None:
        raise psycopg.DataError("a count gave no row")
    return row


def _denied() -> RefusedError:
    text = "Só administradores da conta e a agência exportam. Peça o arquivo a um deles."
    return RefusedError(403, "Exportar é para administradores", text)


def _switched() -> RefusedError:
    text = "A página era de outro cliente. Abra Exportar de novo e confira de quem são os dados."
    return RefusedError(409, "Você está vendo outro cliente agora", text)


def _remove_leftovers() -> None:
    """Folders of a process that was killed while it made a file."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if pid.isdigit() and not (int(pid) != os.getpid() and _is_alive(int(pid))):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
