"""A throw-away PostgreSQL from the wheel, the sample Chatwoot, and one whole pipeline a run."""

import contextlib
import dataclasses
import gc
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import conninfo, sql

from warehouse import demo, users
from warehouse.db import SAMPLE_DATABASE, Warehouse, fetch_all, open_pool, open_warehouse
from warehouse.migrate import migrate
from warehouse.sample import create_sample
from warehouse.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from dashboard.auth import Sessions
    from tests.enrichment import Desk
    from tests.serving import Served

# Fixed, so that a failure on one machine is a failure on every machine.
SAMPLE_UNTIL = datetime(2026, 6, 30, 15, 0)
SAMPLE_CONVERSATIONS = 4000


@dataclass(frozen=True)
class Pipeline:
    """The sample after extract, build, enrich, build; `admin` is of the first tenant."""

    settings: Settings
    warehouse: Warehouse
    tenants: dict[str, int]
    users: dict[str, tuple[str, str]]
    super_admin: tuple[str, str]
    admin: tuple[str, str]

    def query(self, statement: str, *parameters: object, role: str = "owner") -> list[tuple]:
        """Rows as `role`; owner and admin see every tenant."""
        return fetch_all(self.warehouse.dsn(role), statement, list(parameters) or None)

    def agency(self) -> tuple[str, str]:
        """The super_admin as before the first log-in, whichever test was there already."""
        with psycopg.connect(self.warehouse.dsn("owner"), autocommit=True) as connection:
            connection.execute(
                "update app.users set totp_secret = null, totp_last_step = null where email = %s",
                [self.super_admin[0]],
            )
        return self.super_admin


# They take longest, so they begin first: nobody waits for the last one alone.
LONGEST = (
    "test_incremental.py", "test_browser.py", "test_cli.py", "test_extract.py", "test_exports.py",
    "test_project_rules.py", "test_outside.py", "test_overview.py", "test_local_provider.py",
    "test_leads.py", "test_extract_history.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first, the others as they were."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


def pytest_collection_finish() -> None:
    """What is there now stays: it need not be looked through for garbage again and again."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> None:
    """No setting of the developer's own shell reaches a test; tests side by side hear SIGINT."""
    # A worker of pytest-xdist ignores it, and what it starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("MIRANTE_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> None:
    """Hashes at the least that bcrypt takes, for hundreds of log-ins are only a way in.

    `real_cost` of test_users.py has an installation's, for what is about that.
    """
    users.BCRYPT_ROUNDS = 4


@pytest.fixture(scope="session")
def settings() -> Iterator[Settings]:
    """Settings of an installation of its own, in a path with a space.

    Not below pytest's own folder: as root the server's account could not pass through it.
    """
    with tempfile.TemporaryDirectory(prefix="mirante teste ") as folder:
        Path(folder).chmod(0o755)
        yield Settings(_env_file=None, home=Path(folder) / ".mirante")


@pytest.fixture(scope="session")
def warehouse(settings: Settings) -> Iterator[Warehouse]:
    """The migrated warehouse on the embedded server, alive for the whole test run."""
    with open_warehouse(settings) as warehouse:
        # Its data need not survive the machine, and nobody guesses its passwords.
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off",
                            "scram_iterations = 1"):  # fmt: skip
                connection.execute(sql.SQL("alter system set ") + sql.SQL(setting))
            connection.execute("select pg_reload_conf()")
            connection.execute("set scram_iterations = 1")
            password = conninfo.conninfo_to_dict(warehouse.admin_dsn)["password"]
            connection.execute(
                sql.SQL("alter role current_user password {}").format(sql.Literal(password))
            )
        migrate(warehouse)
        yield warehouse


@pytest.fixture(scope="session")
def sample_admin_dsn(warehouse: Warehouse) -> str:
    """The sample Chatwoot, as its administrator."""
    dsn = warehouse.dsn("admin", SAMPLE_DATABASE)
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"create database {SAMPLE_DATABASE}")
    create_sample(dsn, conversations=SAMPLE_CONVERSATIONS, until=SAMPLE_UNTIL)
    return dsn


@pytest.fixture(scope="session")
def sample_dsn(warehouse: Warehouse, sample_admin_dsn: str) -> str:
    """The sample Chatwoot, as the read-only role of docs/source-role.md."""
    demo.make_sample(warehouse)
    return warehouse.sample_dsn


@pytest.fixture(scope="session")
def pipeline(settings: Settings, warehouse: Warehouse, sample_dsn: str) -> Pipeline:
    """The whole path, once: what most tests read and none changes."""
    from ai_enrich.local import FAST_MODEL
    from ai_enrich.run import enrich
    from extract.pipeline import run_extract
    from warehouse.build import build

    tenants = demo.add_sample_tenants(warehouse)
    users = demo.add_sample_users(settings, warehouse)
    run_extract(sample_dsn, warehouse.dsn("owner"), settings.home)
    build(settings, warehouse)
    enrich(warehouse.dsn("owner"), model=FAST_MODEL)
    build(settings, warehouse, only_if_changed=True)
    super_admin, admin = users.pop(""), users.pop(demo.ADMIN)
    return Pipeline(settings, warehouse, tenants, users, super_admin, admin)


@contextmanager
def own_databases(
    warehouse: Warehouse, name: str, *, template: str | None = None
) -> Iterator[tuple[Warehouse, str]]:
    """An empty migrated warehouse, and a database for a Chatwoot (administrator's DSN)."""
    copied = f"template {template}" if template else ""
    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"create database {name}_cw {copied}")
        connection.execute(f"create database {name}_wh")
    own = dataclasses.replace(warehouse, admin_dsn=warehouse.dsn("admin", f"{name}_wh"))
    try:
        migrate(own)
        yield own, warehouse.dsn("admin", f"{name}_cw")
    finally:
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute(f"drop database {name}_cw with (force)")
            connection.execute(f"drop database {name}_wh with (force)")


@pytest.fixture
def own(
    warehouse: Warehouse, sample_dsn: str, tmp_path: Path
) -> Iterator[tuple[Settings, Warehouse, str, str]]:
    """A copy of the sample Chatwoot and an empty warehouse: settings, warehouse, both DSNs."""
    parts = conninfo.conninfo_to_dict(sample_dsn)
    with own_databases(warehouse, "own", template=SAMPLE_DATABASE) as (own, admin):
        reader = conninfo.make_conninfo(admin, user=parts["user"], password=parts["password"])
        yield Settings(_env_file=None, home=tmp_path / ".mirante"), own, admin, reader


@pytest.fixture(scope="module")
def copied(pipeline: Pipeline) -> Iterator[Pipeline]:
    """A copy of the pipeline's database, which tests of one file may change as they like."""
    admin = pipeline.warehouse.admin_dsn
    maintenance = pipeline.warehouse.dsn("admin", "postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute("drop database if exists copied with (force)")
        for _ in range(50):  # one that was just left may not have ended yet
            with contextlib.suppress(psycopg.errors.ObjectInUse):
                connection.execute(
                    sql.SQL("create database copied template {} strategy file_copy").format(
                        sql.Identifier(conninfo.conninfo_to_dict(admin)["dbname"])
                    )
                )
                break
            time.sleep(0.1)
        else:
            pytest.fail("the pipeline's database is in use: ask for `copied` before `served`")
    warehouse = Warehouse(
        pipeline.warehouse.dsn("admin", "copied"), pipeline.warehouse.passwords, is_embedded=True
    )
    with tempfile.TemporaryDirectory(prefix="mirante teste ") as folder:
        Path(folder).chmod(0o755)
        migrate(warehouse)
        settings = pipeline.settings.model_copy(update={"home": Path(folder) / ".mirante"})
        yield dataclasses.replace(pipeline, warehouse=warehouse, settings=settings)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute("drop database copied with (force)")


@pytest.fixture
def analyst(pipeline: Pipeline) -> Iterator[tuple[str, int, int]]:
    """A log-in of one tenant: its DSN, the tenant, and another one."""
    tenant_id, foreign_id = list(pipeline.tenants.values())[:2]
    role = f"mirante_analyst_0123456789ab_t{tenant_id}"
    admin = pipeline.warehouse.dsn("admin")
    with psycopg.connect(admin, autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        connection.execute(f"create role {role} login password 'x' in role mirante_analyst")
        connection.execute(
            sql.SQL("grant connect on database {} to {}").format(database, sql.Identifier(role))
        )
        connection.execute("insert into app.analyst_logins values (%s, %s)", [role, tenant_id])
    yield re.sub(r"//[^@]+@", f"//{role}:x@", admin), tenant_id, foreign_id
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("update app.tenants set status = 'active' where id = %s", [tenant_id])
        connection.execute("delete from app.analyst_logins where role_name = %s", [role])
        connection.execute(f"drop owned by {role}")
        connection.execute(f"drop role {role}")


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A headless Chromium. Not for the session: no event loop may run beside it."""
    from playwright.sync_api import sync_playwright

    from tests.serving import CHROMIUM_ARGUMENTS, chromium

    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(pipeline: Pipeline) -> Iterator["Served"]:
    """The dashboard on the whole pipeline's numbers, in a process of its own."""
    from tests.serving import serving

    with serving(pipeline.warehouse.dsn("app")) as served:
        yield served


@pytest.fixture
def sessions(pipeline: Pipeline) -> Iterator["Sessions"]:
    """The dashboard's own state on the pipeline's warehouse, without a server; cold caches."""
    from dashboard import queries, state
    from dashboard.auth import Sessions
    from dashboard.state import Dashboard

    app_dsn = pipeline.warehouse.dsn("app")
    queries._answer.clear()
    with open_pool(app_dsn, max_size=4) as session_pool, open_pool(app_dsn, max_size=3) as reads:
        sessions = Sessions(session_pool)
        state.use(Dashboard(sessions, reads, "x", cookie_secure=False))
        yield sessions
    queries._answer.clear()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return PROJECT_ROOT


@pytest.fixture(scope="session")
def desk_warehouse(warehouse: Warehouse) -> Iterator[tuple[Warehouse, dict[str, int]]]:
    """A database of its own to score conversations in, and its two tenants."""
    from tests.enrichment import add_desk_tenants, open_desk_warehouse

    with open_desk_warehouse(warehouse, "enrichment") as own:
        yield own, add_desk_tenants(own)


@pytest.fixture
def desk(desk_warehouse: tuple[Warehouse, dict[str, int]], tmp_path: Path) -> Iterator["Desk"]:
    """It without conversations, and a server that speaks OpenAI's protocol."""
    from tests.enrichment import Desk
    from tests.openai_server import Server, running

    with running(Server()) as server:
        desk = Desk(desk_warehouse[0], server, desk_warehouse[1], tmp_path)
        desk.empty()
        yield desk
