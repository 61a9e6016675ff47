"""What isolation costs: row security per form of query, and reads through the pool of the pages.

    .venv/bin/python -m benchmarks.isolation [--conversations 20000] [--runs 60] [--seconds 5]

Each query is asked by the app's role, by an analyst's log-in, and beside them by the owner, whom
no policy binds, with the tenant in the query: the same rows without row security. The order of the
runs is shuffled; the ratio is of the fastest ones, which other work on the machine disturbs least.
Reads through the pool are set beside the same reads by the owner on a pool that sets no tenant.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool

from warehouse import analysts
from warehouse.audit import SYSTEM
from warehouse.db import Warehouse, open_pool, open_warehouse, tenant_connection
from warehouse.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
MIRANTE = Path(sys.executable).with_name("mirante")

# Forms that the pages and analysts use; {tenant} is `tenant_id = N` or, where the policy is left to
# say it alone, nothing.
FORMS = {
    "point: one conversation's messages": (
        "select * from marts.fct_messages where {tenant} conversation_id = %(conversation)s"
        " order by created_at"
    ),
    "range: conversations of 30 days": (
        "select count(*), percentile_cont(0.5) within group (order by first_reply_seconds)"
        " from marts.fct_conversations where {tenant} created_date > %(until)s::date - 30"
    ),
    "sum: agg_daily of six months": (
        "select date, sum(conversations), sum(leads) from marts.agg_daily where {tenant} true"
        " group by date order by date"
    ),
    "join: replies with agents": (
        "select agents.name, count(*) from marts.fct_replies as replies"
        " inner join marts.dim_agents as agents on replies.tenant_id = agents.tenant_id"
        " and replies.agent_id = agents.agent_id where {tenant_of_replies} true group by 1"
    ),
    "text: ILIKE over messages": (
        "select count(*) from marts.fct_messages where {tenant} content ilike '%%preço%%'"
    ),
    "scan: no condition, no index": (
        "select sender_kind, count(*) from marts.fct_messages where {tenant} true group by 1"
    ),
}


def in_ms(runs: list[float]) -> str:
    """The fastest, the median and the upper quartile, in ms."""
    _, middle, high = statistics.quantiles(runs, n=4)
    return f"{min(runs) * 1000:9.2f}{middle * 1000:9.2f}{high * 1000:9.2f}"


def cost_of_row_security(warehouse: Warehouse, tenant_id: int, slug: str, runs: int) -> None:
    """One line a form: owner with the tenant named, then each reader."""
    role, uri = analysts.add_analyst(warehouse, slug, SYSTEM)
    with ExitStack() as stack:
        enter = stack.enter_context
        owner = enter(psycopg.connect(warehouse.dsn("owner"), autocommit=True))
        app = enter(psycopg.connect(warehouse.dsn("app"), autocommit=True))
        app.execute("select set_config('app.current_tenant_id', %s, false)", [str(tenant_id)])
        analyst = enter(psycopg.connect(uri, autocommit=True))
        values = dict(
            zip(
                ("conversation", "until"),
                owner.execute(
                    "select min(conversation_id), max(created_date) from marts.fct_conversations"
                    " where tenant_id = %s",
                    [tenant_id],
                ).fetchone() or (),
                strict=True,
            )
        )  # fmt: skip
        rows = owner.execute(
            "select count(*), count(*) filter (where tenant_id = %s) from marts.fct_messages",
            [tenant_id],
        ).fetchone()
        assert rows
        print(f"fct_messages: {rows[0]:,} rows, {rows[1]:,} of the tenant; {runs} runs each; ms")
        named = {
            "tenant": f"tenant_id = {tenant_id} and",
            "tenant_of_replies": f"replies.tenant_id = {tenant_id} and",
        }
        unnamed = dict.fromkeys(named, "")
        subjects: dict[str, tuple[Connection[Any], dict[str, str]]] = {
            "owner, tenant named (no row security)": (owner, named),
            "app, policy and tenant named": (app, named),
            "app, policy alone": (app, unnamed),
            "analyst, policy alone": (analyst, unnamed),
        }
        for form, query in FORMS.items():
            taken: dict[str, list[float]] = {subject: [] for subject in subjects}
            answers = {}
            order = list(subjects) * runs
            # Once each beforehand, for plans and caches.
            for position, subject in enumerate([*subjects, *random.sample(order, len(order))]):
                connection, parts = subjects[subject]
                started = time.perf_counter()
                answers[subject] = connection.execute(
                    query.format(**parts).encode(), values
                ).fetchall()
                if position >= len(subjects):
                    taken[subject].append(time.perf_counter() - started)
            assert len({repr(sorted(answer, key=repr)) for answer in answers.values()}) == 1
            print(f"\n{form:<42}  fastest   median   3rd q.  ratio")
            base = min(taken[next(iter(subjects))])
            for subject, seconds in taken.items():
                print(f"  {subject:<40}{in_ms(seconds)}{min(seconds) / base:7.2f}")
    analysts.remove_analyst(warehouse, slug, SYSTEM, role=role)


READ = (
    "select date, sum(conversations), sum(leads) from marts.agg_daily"
    " where tenant_id = %s and date > %s::date - 30 group by date"
)


def reads_per_second(read: Callable[[int], None], tenants: list[int], seconds: float) -> float:
    """Reads finished by 8 threads in that time."""
    until = time.perf_counter() + seconds
    counts = [0] * 8

    def work(number: int) -> None:
        chance = random.Random(number)
        while time.perf_counter() < until:
            read(chance.choice(tenants))
            counts[number] += 1

    threads = [threading.Thread(target=work, args=[number]) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def pools(warehouse: Warehouse, tenants: list[int], seconds: float, rounds: int = 5) -> None:
    """Pairs of runs of both kinds, one after the other."""
    with (
        open_pool(warehouse.dsn("app"), min_size=3, max_size=3) as app,
        open_pool(warehouse.dsn("owner"), min_size=3, max_size=3) as owner,
        psycopg.connect(warehouse.dsn("owner")) as connection,
    ):
        (until,) = connection.execute("select max(date) from marts.agg_daily").fetchone() or (None,)

        def with_tenant(tenant_id: int) -> None:
            with tenant_connection(app, tenant_id) as borrowed:
                borrowed.execute(READ, [tenant_id, until]).fetchall()

        def without(tenant_id: int) -> None:
            with borrow(owner) as borrowed:
                borrowed.execute(READ, [tenant_id, until]).fetchall()

        print(f"\nreads/s, 8 threads on 3 connections, {rounds} pairs of {seconds:g} s")
        pairs = []
        for number in range(rounds):
            kinds = (with_tenant, without) if number % 2 else (without, with_tenant)
            found = {kind.__name__: reads_per_second(kind, tenants, seconds) for kind in kinds}
            pairs.append((found["with_tenant"], found["without"]))
            print(f"  tenant set {pairs[-1][0]:8.0f}   no tenant {pairs[-1][1]:8.0f}")
        ratio = statistics.median(mine / other for mine, other in pairs)
        print(f"  ratio, median of pairs: {ratio:.2f}")


@contextmanager
def borrow(pool: ConnectionPool[Connection[Any]]) -> Iterator[Connection[Any]]:
    """A transaction on a pooled connection, as `tenant_connection` but for the tenant."""
    with pool.connection() as connection, connection.transaction():
        yield connection


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mirante bench ") as folder:
        Path(folder).chmod(0o755)
        home = Path(folder) / ".mirante"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MIRANTE_")
        } | {"MIRANTE_HOME": str(home)}
        demo = [str(MIRANTE), "demo", "--no-serve", "--conversations", str(arguments.conversations)]
        done = subprocess.run(
            demo, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        with open_warehouse(Settings(_env_file=None, home=home)) as warehouse:  # type: ignore[call-arg]
            with psycopg.connect(warehouse.dsn("owner")) as connection:
                version = connection.execute("show server_version").fetchone() or ("?",)
                tenants = connection.execute(
                    "select id, slug from app.tenants order by id"
                ).fetchall()
            print(f"PostgreSQL {re.split(' ', version[0])[0]}, {os.cpu_count()} cores")
            cost_of_row_security(warehouse, *tenants[0], arguments.runs)
            pools(warehouse, [tenant_id for tenant_id, _ in tenants], arguments.seconds)


if __name__ == "__main__":
    main()
