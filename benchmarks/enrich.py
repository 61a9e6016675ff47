"""Scoring by a provider outside: throughput against what latency allows, memory, an idle tick.

    .venv/bin/python -m benchmarks.enrich [--conversations 3000] [--memory 10000 100000]

The provider is a real HTTP server in a process of its own on the same machine, which answers after
300 ms; the run has 64 requests in flight at most. Masking, reserving, storing and the ledger are
included, and PostgreSQL writes to disk as it does in production.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from tests.enrichment import RELATIONS
from tests.openai_server import KEY
from warehouse.db import open_warehouse
from warehouse.migrate import migrate
from warehouse.settings import PROJECT_ROOT, Settings
from warehouse.tenants import add_tenant

LATENCY = 0.3
IN_FLIGHT = 64
WANTED = 0.6
TICK_LIMIT = 1.0
MEMORY_LIMIT = 1.1

# Eight messages, one with a telephone number: 510 characters, as a sample conversation has.
FILL = """
insert into intermediate.int_conversation_transcripts
select tenant_id, number, text, encode(sha256(convert_to(text, 'UTF8')), 'hex'),
    array(select number * 10 + place from generate_series(0, 7) as place),
    now() - interval '1 day'
from (
    select 1 + number %% 2 as tenant_id, number::bigint, concat(
        'contact: Oi, bom dia! Quanto custa a mensalidade do plano ', number, '?', e'\\n',
        'bot: Olá! Sou o assistente da academia, em que posso ajudar?', e'\\n',
        'contact: quero saber os horários e se tem aula de natação à noite', e'\\n',
        'agent: Oi Joana, tudo bem? Temos turmas às 19h e às 20h, de segunda a sexta.', e'\\n',
        'contact: e o valor? meu telefone é (11) 98765-', lpad((number %% 10000)::text, 4, '0'),
        e'\\n', 'agent: O plano semestral sai por R$ 129,90 por mês, sem matrícula.', e'\\n',
        'contact: entendi, vou falar com meu marido e volto', e'\\n',
        'agent: Combinado, qualquer coisa estou à disposição!'
    ) as text
    from generate_series(%s::int, %s::int) as number
) as made
"""
CHILD = """
import json, resource, sys, time
from decimal import Decimal
from pathlib import Path
from pydantic import SecretStr
from ai_enrich.provider import Provider, price_of
from ai_enrich.run import enrich
dsn, base_url, key, in_flight = sys.argv[1:]
provider = Provider(api_key=SecretStr(key), base_url=base_url, model="gpt-4o-mini",
    price=price_of("gpt-4o-mini"), concurrency=int(in_flight), requests_per_minute=10**7,
    tokens_per_minute=10**10, timeout_seconds=60, budget_usd=Decimal(10**6), request_days=90,
    folder=Path("."))
started, cpu = time.perf_counter(), time.process_time()
report = enrich(dsn, provider=provider)
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
started = time.perf_counter()
again = enrich(dsn, provider=provider)
print(json.dumps({"scored": report.scored_outside, "failed": report.failed, "seconds": seconds,
    "cpu": cpu, "tick": time.perf_counter() - started, "again": again.scored,
    "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""

# What this machine reaches at the moment: the same requests by the SDK alone, nothing else done.
BARE = """
import asyncio, sys, time
from openai import AsyncOpenAI
from ai_enrich.prompt import ask, body
from ai_enrich.schema import Conversation, Message
base_url, key, in_flight, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
text = ask(Conversation((Message(1, "contact", "x" * 500),)), []).text
async def main():
    sdk = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0)
    left = iter(range(count))
    async def work():
        for _ in left:
            await sdk.chat.completions.create(**body("gpt-4o-mini", {}, text))
    await asyncio.gather(*(work() for _ in range(in_flight)))
started = time.perf_counter()
asyncio.run(main())
print(count / (time.perf_counter() - started))
"""


def bare(port: int, count: int) -> float:
    """Requests a second by the SDK alone."""
    done = subprocess.run(
        [sys.executable, "-c", BARE, f"http://127.0.0.1:{port}/v1", KEY, str(IN_FLIGHT),
         str(count)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(dsn: str, port: int) -> dict[str, float]:
    """One run in a process of its own, and a second with nothing new."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, dsn, f"http://127.0.0.1:{port}/v1", KEY, str(IN_FLIGHT)],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return dict(json.loads(done.stdout))


def idle_import() -> float:
    """Seconds a new process takes for a tick's imports."""
    command = [sys.executable, "-X", "importtime", "-c", "import ai_enrich.run"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    if "openai" in {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}:
        sys.exit("a tick imports the SDK")
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs=2, metavar=("FEW", "MANY"))
    arguments = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mirante bench ") as folder:
        Path(folder).chmod(0o755)
        settings = Settings(_env_file=None, home=Path(folder) / ".mirante")
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.openai_server", str(port), str(LATENCY)],
            cwd=PROJECT_ROOT,
        )
        try:
            with open_warehouse(settings) as warehouse:
                migrate(warehouse)
                owner = warehouse.dsn("owner")
                for slug in ("a", "b"):
                    add_tenant(owner, slug=slug, name=slug, segment="gym")
                with psycopg.connect(owner, autocommit=True) as connection:
                    connection.execute(RELATIONS)
                    measure(connection, owner, port, arguments)
        finally:
            os.kill(server.pid, signal.SIGTERM)
            server.wait()


def measure(
    connection: psycopg.Connection, owner: str, port: int, arguments: argparse.Namespace
) -> None:
    """Print each figure beside its limit."""
    filled = 0

    def fill(count: int) -> None:
        nonlocal filled
        connection.execute(FILL, [filled + 1, filled + count])
        connection.execute("analyze")
        filled += count

    allowed = IN_FLIGHT / LATENCY
    print(f"latency {LATENCY * 1000:.0f} ms, {IN_FLIGHT} in flight: {allowed:.0f}/s allowed")
    shares = []
    for _ in range(arguments.runs):
        fill(arguments.conversations)
        found = run(owner, port)
        assert (found["scored"], found["failed"]) == (arguments.conversations, 0), found
        rate = found["scored"] / found["seconds"]
        alone = bare(port, arguments.conversations // 2)
        shares.append(rate / allowed)
        print(
            f"{found['scored']:,.0f} scored in {found['seconds']:.1f} s: {rate:.0f}/s,"
            f" {rate / allowed:.0%} of what latency allows, {rate / alone:.0%} of the"
            f" {alone:.0f}/s of the SDK alone;"
            f" {found['cpu'] / found['scored'] * 1000:.2f} ms CPU each;"
            f" {found['rss']:.0f} MB; tick with nothing new {found['tick']:.3f} s"
        )
    verdict = "met" if min(shares) >= WANTED else "MISSED"
    print(f"at least {WANTED:.0%}: {verdict} (worst {min(shares):.0%})")
    print(f"imports of a tick, as a process of its own: {idle_import():.2f} s, without the SDK")
    if arguments.memory:
        peaks = []
        for count in arguments.memory:
            fill(count)
            found = run(owner, port)
            assert found["scored"] == count, found
            peaks.append(found["rss"])
            print(
                f"{count:,} conversations: {found['scored'] / found['seconds']:.0f}/s, at most"
                f" {found['rss']:.0f} MB; tick with nothing new among {filled:,}:"
                f" {found['tick']:.3f} s (limit {TICK_LIMIT:.0f} s:"
                f" {'met' if found['tick'] < TICK_LIMIT else 'MISSED'})"
            )
        growth = peaks[1] / peaks[0]
        print(f"memory: {growth:.2f} times: {'flat' if growth < MEMORY_LIMIT else 'GROWS'}")


if __name__ == "__main__":
    main()
