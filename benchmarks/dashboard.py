"""The dashboard in a real browser, and with a crowd beside it, each number beside its limit.

    .venv/bin/python -m benchmarks.dashboard [--conversations 500000] [--messages-per 10]
        [--tenants 50] [--visits 20] [--crowd 20] [--sessions 50] [--clicks 6000] [--keep DIR]

Data as of benchmarks.warehouse (whose --keep folder serves here too): 12 months, one tenant with
30 % of all rows; the browser is that tenant's. The dashboard is a process of its own, as
`mirante serve` runs it; the browser is a headless Chromium on the same machine, which keeps its
file cache between visits.

Interactive: the script of the page has ended, its last panel has its chart and nothing of an
earlier run is left. After log-in: from the click on Entrar. After a filter change: from the click
on another period, which no visit before asked for, so that the database answers and not a cache.
Beside it an empty Streamlit page in the same browser, the floor of any page.

The crowd are sessions over websockets, each of a tenant of its own that has other people's pages
open: a click every ten seconds, another page or another period. An hour of clicking are as many
clicks as --sessions people make with one click in 30 seconds, as fast as the server takes them.
"""

import argparse
import asyncio
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
from playwright.sync_api import Page, sync_playwright
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.extract import ProcessError, Results, say
from benchmarks.warehouse import Bench, percentile, server
from dashboard.auth import COOKIE_NAME
from tests.serving import CHROMIUM_ARGUMENTS, PASSWORD, Served, chromium, serving
from warehouse import users
from warehouse.errors import MiranteError

LOG_IN_LIMIT, FILTER_LIMIT, CROWD_LIMIT = 2.5, 0.8, 3.0
MEMORY_LIMIT_MB, MEMORY_GROWTH_LIMIT = 600, 1.1
CROWD_PACE_SECONDS = 10.0
# A bare page: what Streamlit and the browser cost before anything is on it.
EMPTY_PAGE = 'import streamlit as st\nst.html("<h1 id=bare>ok</h1>")\n'
PERIODS = ("7 dias", "90 dias", "Mês atual", "30 dias")
# The script has ended, no element is of an earlier run, and the charts are drawn.
INTERACTIVE = """
(expected) => {
  const app = document.querySelector('[data-testid=stApp]');
  if (!app || app.dataset.testScriptState !== 'notRunning') return false;
  if (document.querySelector('[data-stale=true]')) return false;
  const boxes = document.querySelectorAll('[class*=st-key-panel-] [data-testid=stEChartsChart]');
  if (!boxes.length) return false;
  for (const box of boxes) if (!box.querySelector('canvas')) return false;
  return document.body.innerText.includes(expected);
}
"""


@dataclass(frozen=True)
class Person:
    """A log-in of one tenant, and the address it comes from."""

    tenant_id: int
    email: str
    address: str


def make_people(bench: Bench, count: int) -> list[Person]:
    """A client of each tenant, the biggest tenant's first; known password."""
    rows = bench.query(
        bench.admin(bench.whole.warehouse),
        "select tenants.id, tenants.slug from app.tenants as tenants"
        " left join (select tenant_id, count(*) as n from marts.fct_conversations group by 1)"
        " as sizes on tenants.id = sizes.tenant_id order by sizes.n desc nulls last",
    )
    owner = bench.access(bench.whole).dsn("owner")
    people = []
    for number in range(count):
        tenant_id, slug = rows[number % len(rows)]
        email = f"bench{number}@bench.example"
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute("delete from app.users where email = %s", [email])
        try:
            users.add_user(owner, email=email, password=PASSWORD, role="client", tenant_slug=slug)
        except MiranteError as error:
            raise ProcessError(str(error)) from None
        people.append(Person(tenant_id, email, f"10.1.{number // 200}.{number % 200 + 1}"))
    return people


# ---- the browser --------------------------------------------------------------------------------


class Visitor:
    """One browser profile with its file cache."""

    def __init__(self, page: Page, served: Served, person: Person) -> None:
        self.page, self._served, self._person = page, served, person

    def log_in(self) -> float:
        """Seconds from the click to an overview that can be used."""
        page = self.page
        page.goto(f"{self._served.address}/entrar")
        page.get_by_label("E-mail").fill(self._person.email)
        page.get_by_label("Senha").fill(PASSWORD)
        started = time.perf_counter()
        page.get_by_role("button", name="Entrar").click(no_wait_after=True)
        self._wait("comparado com")
        return time.perf_counter() - started

    def log_out(self) -> None:
        self.page.get_by_role("button", name="Sair").click()
        self.page.wait_for_url("**/entrar")

    def choose(self, period: str) -> float:
        """Seconds from the click on a period to its numbers."""
        page = self.page
        shown = page.get_by_text("comparado com").first.inner_text()
        started = time.perf_counter()
        page.get_by_role("radio", name=period).click(no_wait_after=True)
        page.wait_for_function(
            "(before) => ![...document.querySelectorAll('p')].some(p => p.innerText === before)",
            arg=shown,
        )
        self._wait("comparado com")
        return time.perf_counter() - started

    def _wait(self, expected: str) -> None:
        self.page.wait_for_function(INTERACTIVE, arg=expected, timeout=60_000)


@contextmanager
def browsing(served: Served, person: Person) -> Iterator[Visitor]:
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=chromium(),
            args=CHROMIUM_ARGUMENTS,
            viewport={"width": 1280, "height": 900},
            extra_http_headers={"X-Forwarded-For": person.address},
        )
        yield Visitor(context.new_page(), served, person)
        context.close()


def forget_answers(bench: Bench) -> None:
    """Nobody's next page comes from the cache."""
    bench.query(bench.admin(bench.whole.warehouse), "select nextval('app.data_version')")


def visit(
    bench: Bench, served: Served, person: Person, visits: int
) -> tuple[list[float], list[float]]:
    """Seconds of log-ins and of filter changes."""
    log_ins, changes = [], []
    with browsing(served, person) as visitor:
        for number in range(visits + 1):
            forget_answers(bench)
            seconds = visitor.log_in()
            if number:  # the first fills the file cache
                log_ins.append(seconds)
            for period in PERIODS:
                seconds = visitor.choose(period)
                if number:
                    changes.append(seconds)
            visitor.log_out()
    return log_ins, changes


@contextmanager
def empty_page() -> Iterator[str]:
    """Plain Streamlit with nothing on the page; yields its address."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.py"
        script.write_text(EMPTY_PAGE)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true",
             "--server.port", str(port), "--browser.gatherUsageStats", "false",
             "--server.address", "127.0.0.1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
        ) as process:  # fmt: skip
            try:
                address = f"http://127.0.0.1:{port}"
                for _ in range(300):
                    with suppress(httpx.TransportError):
                        httpx.get(f"{address}/_stcore/health").raise_for_status()
                        break
                    time.sleep(0.1)
                else:
                    raise ProcessError("plain Streamlit did not start")
                yield address
            finally:
                process.terminate()


def measure_empty(visits: int) -> list[float]:
    """Seconds from the address to the one line of an empty page, with a warm file cache."""
    times = []
    with (
        empty_page() as address,
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as profile,
    ):
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium(), args=CHROMIUM_ARGUMENTS
        )
        page = context.new_page()
        for number in range(visits + 1):
            started = time.perf_counter()
            page.goto(address, wait_until="commit")
            page.wait_for_selector("#bare")
            if number:
                times.append(time.perf_counter() - started)
        context.close()
    return times


# ---- the crowd ----------------------------------------------------------------------------------


class Tab:
    """One open page without a browser: a websocket, and what a click sends."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._pages: dict[str, str] = {}

    async def first(self) -> None:
        """The run that opening a page makes."""
        await self._send("", "")

    async def click(self, rng: random.Random) -> float:
        """Another page or period; seconds until its run ended."""
        path = rng.choice([path for path in self._pages if path != "exportar"])
        return await self._send(self._pages[path], f"periodo={rng.choice(PERIODS)}")

    async def _send(self, page: str, query: str) -> float:
        message = BackMsg()
        message.rerun_script.page_script_hash = page
        message.rerun_script.query_string = query
        started = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        while True:
            given = await asyncio.wait_for(self._socket.recv(), 60)
            answer = ForwardMsg()
            answer.ParseFromString(given if isinstance(given, bytes) else given.encode())
            kind = answer.WhichOneof("type")
            if kind == "navigation":
                self._pages = {
                    one.url_pathname: one.page_script_hash for one in answer.navigation.app_pages
                }
            elif kind == "script_finished":
                return time.perf_counter() - started


async def log_in(served: Served, person: Person) -> str:
    """The session cookie's value."""
    async with httpx.AsyncClient(base_url=served.address, timeout=60) as client:
        answer = await client.post(
            "/entrar",
            data={"email": person.email, "password": PASSWORD},
            headers={"Origin": served.address, "X-Forwarded-For": person.address},
        )
    if answer.status_code != 303:
        raise ProcessError(f"log-in of {person.email}: {answer.status_code}")
    return str(answer.cookies[COOKIE_NAME])


async def open_tab(served: Served, person: Person, stack: list[ClientConnection]) -> Tab:
    cookie = await log_in(served, person)
    socket = await connect(
        f"ws://{served.host}/_stcore/stream",
        origin=served.address,  # type: ignore[arg-type]
        additional_headers={"Cookie": f"{COOKIE_NAME}={cookie}"},
        subprotocols=["streamlit"],  # type: ignore[list-item]
        max_size=None,
    )
    stack.append(socket)
    tab = Tab(socket)
    await tab.first()
    return tab


class Crowd:
    """Sessions that click in a thread of their own, so that the browser is measured meanwhile."""

    def __init__(self, served: Served, people: list[Person]) -> None:
        self._served, self._people = served, people
        self.seconds: list[float] = []
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Crowd":
        self._thread.start()
        while not self._ready.wait(0.2):
            if not self._thread.is_alive():
                break
        if self._failed:
            raise ProcessError(f"the crowd: {self._failed!r}")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90)
        if self._failed:
            raise ProcessError(f"the crowd: {self._failed!r}")

    def _run(self) -> None:
        try:
            asyncio.run(self._click_on())
        except BaseException as error:  # told to whoever waits
            self._failed = error
            self._ready.set()

    async def _click_on(self) -> None:
        sockets: list[ClientConnection] = []
        tabs = [await open_tab(self._served, person, sockets) for person in self._people]
        self._ready.set()

        async def click_for_ever(tab: Tab, number: int) -> None:
            rng = random.Random(number)
            await asyncio.sleep(rng.random() * CROWD_PACE_SECONDS)
            while not self._stop.is_set():
                seconds = await tab.click(rng)
                self.seconds.append(seconds)
                await asyncio.sleep(max(0.0, CROWD_PACE_SECONDS - seconds))

        await asyncio.gather(*(click_for_ever(tab, number) for number, tab in enumerate(tabs)))
        for one in sockets:
            await one.close()


async def click_for_an_hour(
    served: Served, people: list[Person], clicks: int
) -> tuple[float, list[float]]:
    """MB of the server with all sessions open, and then after each tenth of the clicks."""
    sockets: list[ClientConnection] = []
    tabs = [await open_tab(served, person, sockets) for person in people]
    opened = resident_mb(served)
    grown = []
    rngs = [random.Random(number) for number in range(len(tabs))]
    for _ in range(10):
        for _ in range(max(1, clicks // 10 // len(tabs))):
            # Four at a time: as many as click in one second of such an hour, and more.
            for start in range(0, len(tabs), 4):
                together = zip(tabs[start : start + 4], rngs[start : start + 4], strict=True)
                await asyncio.gather(*(tab.click(rng) for tab, rng in together))
        grown.append(resident_mb(served))
    for one in sockets:
        await one.close()
    return opened, grown


def resident_mb(served: Served) -> float:
    """Memory of the dashboard's process."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+) kB", status, flags=re.MULTILINE)
    return int(kilobytes) / 1000


# ---- the report ---------------------------------------------------------------------------------


def measure(bench: Bench, arguments: argparse.Namespace) -> None:
    """All of it, into the bench's results."""
    results: Results = bench.results
    bench.ensure_built(bench.whole)
    bench.query(bench.admin(bench.whole.warehouse), "vacuum analyze")
    people = make_people(bench, max(arguments.sessions, arguments.crowd + 1))
    say("an empty Streamlit page")
    empty = measure_empty(arguments.visits)
    options = {"trusted_proxies": "127.0.0.1"}
    with serving(bench.access(bench.whole).dsn("app"), **options) as served:
        say(f"{arguments.visits} visits alone")
        log_ins, changes = visit(bench, served, people[0], arguments.visits)
        say(f"{arguments.visits} visits beside {arguments.crowd} sessions")
        with Crowd(served, people[1 : arguments.crowd + 1]) as crowd:
            crowd_log_ins, crowd_changes = visit(bench, served, people[0], arguments.visits)
    results.title(
        f"Overview of the tenant with 30 % of {bench.conversations * bench.messages_per:,} messages"
    )
    results.row("an empty Streamlit page, from its address", empty, "s")
    row95(results, "overview after log-in, alone", log_ins, LOG_IN_LIMIT)
    ratio = statistics.median(log_ins) / statistics.median(empty)
    results.row("ratio: overview after log-in / empty page, medians", [ratio])
    row95(results, "overview after a filter change, alone", changes, FILTER_LIMIT)
    beside = f"beside {arguments.crowd} sessions"
    row95(results, f"overview after log-in, {beside}", crowd_log_ins, CROWD_LIMIT)
    row95(results, f"overview after a filter change, {beside}", crowd_changes, CROWD_LIMIT)
    row95(results, "a click of theirs, any page, over websocket", crowd.seconds)

    say(f"{arguments.sessions} sessions, {arguments.clicks:,} clicks")
    with serving(bench.access(bench.whole).dsn("app"), **options) as served:
        start = resident_mb(served)
        opened, grown = asyncio.run(
            click_for_an_hour(served, people[: arguments.sessions], arguments.clicks)
        )
    results.title(f"Memory of the server, {arguments.sessions} sessions of as many tenants")
    results.row("at its start", [start], "MB")
    results.row("all sessions open", [opened], "MB", at_most=MEMORY_LIMIT_MB)
    results.row(
        f"while {arguments.clicks:,} clicks are made", grown, "MB",
        at_most=MEMORY_LIMIT_MB, by_worst=True,
    )  # fmt: skip
    results.row(
        "ratio: after all clicks / after half of them", [grown[-1] / grown[4]],
        at_most=MEMORY_GROWTH_LIMIT,
    )  # fmt: skip
    results.note("after each tenth: " + ", ".join(f"{one:,.0f}" for one in grown) + " MB")


def row95(results: Results, name: str, seconds: list[float], limit: float | None = None) -> None:
    """Median and spread, then p95 against the limit."""
    results.row(name, seconds, "s")
    results.row("  p95", [percentile(seconds)], "s", at_most=limit)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=textwrap.dedent(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=500_000)
    parser.add_argument("--messages-per", type=int, default=10)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--crowd", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--clicks", type=int, default=6000)
    parser.add_argument("--keep", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    arguments.runs = arguments.readers = 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with ExitStack() as stack:
        if arguments.keep:
            folder = arguments.keep.absolute()
            folder.mkdir(parents=True, exist_ok=True)
        else:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="mirante bench "))
            folder = Path(name)
        folder.chmod(0o755)
        dsn = stack.enter_context(server(folder, keep=bool(arguments.keep)))
        bench = Bench(arguments, folder, dsn)
        try:
            measure(bench, arguments)
        except ProcessError as error:
            sys.exit(f"stopped: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted")
        finally:
            print(*bench.results.lines, sep="\n")
            print(f"\n{time.monotonic() - started:,.0f} s in all")


if __name__ == "__main__":
    main()
