"""What a log-in costs, and what 60 wrong ones at once do to a right one.

    .venv/bin/python -m benchmarks.login [--runs 20]

The bcrypt cost is chosen so that a log-in takes 150 to 350 ms. Everything through the running
dashboard, on an embedded server of its own; wrong ones come from six addresses of 127.0.0.0/8.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bcrypt
import httpx

from dashboard.auth import DEVICE_COOKIE_NAME
from tests.serving import PASSWORD, Bare, Served, bare_warehouse, serving
from warehouse import users
from warehouse.db import open_warehouse
from warehouse.settings import Settings

LOWEST_MS, HIGHEST_MS = 150, 350


def line(name: str, seconds: list[float], note: str = "") -> None:
    """Median and spread in milliseconds."""
    ms = [value * 1000 for value in seconds]
    print(
        f"{name:<52}{statistics.median(ms):>7.0f} ms  (min {min(ms):.0f}, max {max(ms):.0f},"
        f" n {len(ms)}){note}"
    )


def timed(function: object, *arguments: object) -> float:
    began = time.perf_counter()
    function(*arguments)  # type: ignore[operator]
    return time.perf_counter() - began


def client(served: Served, address: str, device: str | None = None) -> httpx.Client:
    """A browser at an address of this machine."""
    return served.client(
        # Without TLS, whose set-up costs a client more than the log-in.
        transport=httpx.HTTPTransport(local_address=address, verify=False),
        cookies={DEVICE_COOKIE_NAME: device} if device else {},
    )


def hashes(runs: int) -> None:
    for rounds in (10, 11, 12, 13, 14):
        took = [
            timed(bcrypt.hashpw, b"x" * 44, bcrypt.gensalt(rounds))
            for _ in range(max(3, runs // 4))
        ]
        line(f"bcrypt, cost {rounds}", took, "  <- chosen" if rounds == users.BCRYPT_ROUNDS else "")


def log_ins(served: Served, bare: Bare, runs: int) -> None:
    right: list[float] = []
    wrong: list[float] = []
    unknown: list[float] = []
    for number in range(runs):
        for took, email, password in (
            (right, bare.email("um"), PASSWORD),
            (wrong, bare.email("um"), "não é esta senha"),
            (unknown, f"u{number}@x.example", "não é esta senha"),
        ):
            with client(served, f"127.0.2.{number % 200 + 1}") as browser:
                began = time.perf_counter()
                answer = served.post(browser, "/entrar", email=email, password=password)
                took.append(time.perf_counter() - began)
                assert answer.status_code == (303 if took is right else 401), answer.status_code
    met = LOWEST_MS <= statistics.median(right) * 1000 <= HIGHEST_MS
    line(
        "log-in, right",
        right,
        f"  aim {LOWEST_MS} to {HIGHEST_MS} ms: {'met' if met else 'MISSED'}",
    )
    line("log-in, wrong password", wrong)
    line("log-in, unknown e-mail", unknown)


def under_attack(served: Served, bare: Bare, rounds: int) -> None:
    with client(served, "127.0.0.1") as browser:
        served.post(browser, "/entrar", email=bare.email("dois"), password=PASSWORD)
        device = browser.cookies[DEVICE_COOKIE_NAME]
    known: list[float] = []
    new: list[float] = []
    statuses: dict[int, int] = {}
    for turn in range(rounds):
        bare.execute("delete from app.throttles")
        started = threading.Barrier(61)

        def attack(number: int, started: threading.Barrier = started) -> int:
            with client(served, f"127.0.1.{number % 6 + 1}") as browser:
                started.wait()
                email = f"u{number}@x.example"
                return served.post(browser, "/entrar", email=email, password="x").status_code

        with ThreadPoolExecutor(60) as threads:
            attacks = [threads.submit(attack, number) for number in range(60)]
            started.wait()
            time.sleep(0.05)
            for took, address, email, cookie in (
                (known, "127.0.0.1", bare.email("dois"), device),
                (new, f"127.0.3.{turn + 1}", bare.email("um"), None),
            ):
                with client(served, address, cookie) as browser:
                    began = time.perf_counter()
                    while not served.post(
                        browser, "/entrar", email=email, password=PASSWORD
                    ).is_redirect:
                        time.sleep(0.2)  # a full queue sends away at once
                    took.append(time.perf_counter() - began)
            for one in attacks:
                statuses[one.result()] = statuses.get(one.result(), 0) + 1
    line("right log-in during 60 wrong ones, known browser", known)
    line("right log-in during 60 wrong ones, new address", new)
    print(f"answers to the wrong ones: {dict(sorted(statuses.items()))}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the beginning")
    hashes(arguments.runs)
    with tempfile.TemporaryDirectory(prefix="mirante bench ") as folder:
        Path(folder).chmod(0o755)
        settings = Settings(_env_file=None, home=Path(folder) / ".mirante")  # type: ignore[call-arg]
        with (
            open_warehouse(settings) as warehouse,
            bare_warehouse(warehouse, "bench_login") as bare,
            serving(bare.dsn()) as served,
        ):
            log_ins(served, bare, arguments.runs)
            under_attack(served, bare, max(3, arguments.runs // 4))


if __name__ == "__main__":
    main()
