"""A dashboard in a process of its own, as `mirante serve` runs it, and a browser to look at it."""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pyotp
import pytest

from dashboard.auth import COOKIE_NAME, Sessions, Visit, csrf_token, token_hash
from tests.conftest import Pipeline
from warehouse import tenants, users
from warehouse.db import Warehouse
from warehouse.migrate import migrate

PROGRAM = """
import json, os, sys
from dashboard.server import serve
from warehouse import users
users.BCRYPT_ROUNDS = int(os.environ["BCRYPT_ROUNDS"])
options = json.loads(sys.argv[1])
serve(os.environ["APP_DSN"], ready=lambda address: print(address, flush=True), **options)
print("returned", flush=True)
"""
# Made once: it reads every authority, for http that uses none.
TLS = ssl.create_default_context()
HOSTILE_NAME = '<img src=x onerror=alert(1)><script>alert(2)</script> **Loja** & "Cia" [a](//evil)'
PASSWORD = "uma senha de teste"


@dataclass(frozen=True)
class Served:
    """A running dashboard."""

    address: str
    process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return self.address.removeprefix("http://")

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=30, verify=TLS, **options)  # type: ignore[arg-type]

    def post(self, client: httpx.Client, path: str, **fields: str) -> httpx.Response:
        """A form of ours, sent as a browser does: with the hidden field of its session."""
        token_sha256 = token_hash(client.cookies.get(COOKIE_NAME))
        hidden = {"csrf": csrf_token(token_sha256)} if token_sha256 else {}
        return client.post(path, data={**hidden, **fields}, headers={"Origin": self.address})

    def log_in(self, email: str, password: str) -> httpx.Client:
        client = self.client()
        answer = self.post(client, "/entrar", email=email, password=password)
        assert answer.status_code == 303, answer.text
        if answer.headers["location"] == "/entrar/ativar":  # a super_admin's first time
            page = client.get("/entrar/ativar").text
            secret = re.search(r'class="secret">([A-Z2-7 ]+)<', page)
            assert secret
            code = pyotp.TOTP(secret[1].replace(" ", "")).now()
            answer = self.post(client, "/entrar/ativar", code=code)
            assert answer.status_code == 200, answer.text
        return client

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Seconds it took to end, well, after the signal."""
        began = time.monotonic()
        self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=10)
        assert self.process.returncode == 0, output
        assert output.endswith("returned\n"), output
        return time.monotonic() - began


@contextmanager
def serving(app_dsn: str, **options: object) -> Iterator[Served]:
    """Serve on a free port until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps({"port": 0, **options})],
        env={**os.environ, "APP_DSN": app_dsn, "BCRYPT_ROUNDS": str(users.BCRYPT_ROUNDS)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            if line.startswith("http://"):
                yield Served(line.strip(), process)
                return
            printed.append(line)
        pytest.fail(f"the dashboard did not start: {''.join(printed)}")
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=10)


@dataclass(frozen=True)
class Bare:
    """A warehouse that was never loaded: tenants um, dois and hostile, a client each, an agency."""

    warehouse: Warehouse
    tenants: dict[str, int]
    agency: str = "agencia@bare.example"

    def dsn(self) -> str:
        return self.warehouse.dsn("app")

    def email(self, slug: str) -> str:
        return f"{slug}@bare.example"

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        with psycopg.connect(self.warehouse.dsn("owner"), autocommit=True) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def wait_until_somebody_waits(self) -> None:
        """For a row that another transaction holds."""
        for _ in range(300):
            if self.execute(
                "select 1 from pg_locks as locks inner join pg_stat_activity as sessions"
                " using (pid) where not locks.granted and sessions.datname = current_database()"
            ):
                return
            time.sleep(0.02)
        pytest.fail("nobody waits")


@contextmanager
def bare_warehouse(warehouse: Warehouse, database: str) -> Iterator[Bare]:
    """A database of its own on the same server, so that tests may break what they like."""
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"drop database if exists {database} with (force)")
        connection.execute(f"create database {database}")
    bare = Warehouse(warehouse.dsn("admin", database), warehouse.passwords, warehouse.is_embedded)
    migrate(bare)
    owner = bare.dsn("owner")
    names = {"um": "Academia Um", "dois": "Clínica Dois", "hostile": HOSTILE_NAME}
    ids = {
        slug: tenants.add_tenant(owner, slug=slug, name=name, segment="general")
        for slug, name in names.items()
    }
    made = Bare(bare, ids)
    for slug in names:
        users.add_user(
            owner, email=made.email(slug), password=PASSWORD, role="client", tenant_slug=slug
        )
    users.add_user(
        owner, email=made.agency, password=PASSWORD, role="super_admin", tenant_slug=None
    )
    try:
        yield made
    finally:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute(f"drop database if exists {database} with (force)")


def visits(pipeline: Pipeline, sessions: Sessions) -> dict[int, Visit]:
    """A visit of each tenant's own user, by tenant id."""
    return {
        pipeline.tenants[slug]: sessions.visit(sessions.log_in(email, password))
        for slug, (email, password) in pipeline.users.items()
    }


def chromium() -> str:
    """Path of a Chromium; skips without one, fails where CI promised one."""
    programs = ("chromium-headless-shell", "chromium", "chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, programs)), None)
    if found:
        return found
    reason = "no Chromium here: apt-get install chromium, or set CHROMIUM to its path"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
