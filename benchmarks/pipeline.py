"""Whole-process times of the demo and of a tick with nothing new; with --tests also of `make test`.

    .venv/bin/python -m benchmarks.pipeline [--conversations 4000] [--runs 5] [--tests]

The tick is set beside its floor, measured in the same run: a process that only imports what the
tick uses and logs in once.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MIRANTE = Path(sys.executable).with_name("mirante")
TICK_LIMIT = 15.0
TESTS_LIMIT = 12 * 60.0
DEMO_LIMIT = 5 * 60.0
FLOOR = (
    "import dlt, psycopg, warehouse.cli;"
    "from warehouse.settings import load_settings; from warehouse.db import open_warehouse\n"
    "with open_warehouse(load_settings()) as w: psycopg.connect(w.dsn('owner')).close()"
)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one process; its output is shown only when it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def row(name: str, values: list[float], limit: float | None = None) -> None:
    """One line: median, spread, and the limit of the issue where there is one."""
    verdict = (
        ""
        if limit is None
        else f"  limit {limit:.0f} s: {'met' if max(values) < limit else 'MISSED'}"
    )
    print(
        f"{name:<44}{statistics.median(values):>8.2f} s"
        f"  (min {min(values):.2f}, max {max(values):.2f}, n {len(values)}){verdict}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tests", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mirante bench ") as folder:
        Path(folder).chmod(0o755)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MIRANTE_")
        } | {"MIRANTE_HOME": str(Path(folder) / ".mirante")}
        demo = [str(MIRANTE), "demo", "--no-serve", "--conversations", str(arguments.conversations)]
        row("first demo, beyond installing", [seconds(demo, environment)], DEMO_LIMIT)
        row("second demo", [seconds(demo, environment)])
        ticks, floors = [], []
        for _ in range(arguments.runs):
            ticks.append(seconds([str(MIRANTE), "run"], environment))
            floors.append(seconds([sys.executable, "-c", FLOOR], environment))
        row("`mirante run` with nothing new", ticks, TICK_LIMIT)
        row("floor: imports, server start, one log-in", floors)
        ratio = statistics.median(t / f for t, f in zip(ticks, floors, strict=True))
        print(f"{'ratio, median of pairs':<44}{ratio:>8.2f}")
    if arguments.tests:
        row(
            "`make test`, environment installed",
            [seconds(["make", "test"], dict(os.environ))],
            TESTS_LIMIT,
        )


if __name__ == "__main__":
    main()
