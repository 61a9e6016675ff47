"""dbt in this process, and whether there is anything to build."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import UndefinedTable

from warehouse.db import Warehouse, connection_parts, state_folder
from warehouse.errors import MiranteError
from warehouse.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from dbt.cli.main import dbtRunner

log = logging.getLogger(__name__)

# Everything that depends on the scores: what a new score touches.
AFTER_ENRICHMENT = "stg_ai__conversation_scores+"
PROJECT_FILES = ("dbt_project.yml", "models/**/*", "macros/**/*", "seeds/**/*", "tests/dbt/**/*")
# Two builds at once would drop each other's tables.
LOCK_KEY = 0x4D495242

INPUTS = """
select
    (select count(*)::text || max(scored_at)::text from ai.conversation_scores),
    (select max(id)::text from app.sync_runs where status = 'succeeded' and rows_changed > 0),
    (select md5(string_agg(t::text, '|' order by id)) from app.tenants as t),
    (select md5(string_agg(t::text, '|' order by account_id)) from app.tenant_accounts as t),
    (select md5(string_agg(t::text, '|' order by inbox_id)) from app.tenant_inboxes as t),
    (select md5(string_agg(t::text, '|' order by tenant_id, id)) from app.funnel_rules as t),
    (select count(*)::text || max(erased_at)::text from app.erased_rows),
    (select count(*)::text || max(imported_at)::text from app.crm_rows),
    (select md5(string_agg(t::text, '|' order by tenant_id, contact_id)) from app.opt_outs as t)
"""


@dataclass(frozen=True)
class BuildReport:
    """What one dbt build did; `skipped` when its inputs were those of the last one."""

    models: int
    tests: int
    warnings: tuple[str, ...]
    skipped: bool = False


@dataclass(frozen=True)
class Inputs:
    """Fingerprint of what the marts follow from: AI scores, and everything else."""

    scores: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scores}:{self.rest}"


def dbt_environment(settings: Settings, warehouse: Warehouse) -> dict[str, str]:
    """The variables that profiles.yml.example asks for. dbt scrubs DBT_ENV_SECRET_* from logs."""
    parts = connection_parts(warehouse.dsn("owner"))
    return {
        "MIRANTE_DBT_HOST": parts["host"],
        "MIRANTE_DBT_PORT": parts.get("port", "5432"),
        "MIRANTE_DBT_DBNAME": parts["dbname"],
        "MIRANTE_DBT_USER": parts["user"],
        "MIRANTE_DBT_THREADS": str(settings.dbt_threads),
        "DBT_ENV_SECRET_MIRANTE_PASSWORD": parts["password"],
    }


def build(
    settings: Settings,
    warehouse: Warehouse,
    *,
    select: str | None = None,
    full_refresh: bool = False,
    only_if_changed: bool = False,
) -> BuildReport:
    """Run `dbt build` (data tests included, unit tests not) and raise the data version.

    A mart that fails leaves its previous version readable. Raises MiranteError naming the nodes
    that failed, or the process that is building already.
    """
    owner = warehouse.dsn("owner")
    with psycopg.connect(owner, autocommit=True) as connection, _lock(connection):
        # Builds that a killed process left behind.
        connection.execute(
            "update app.builds set status = 'failed', finished_at = now(), error = 'interrupted'"
            " where status = 'running'"
        )
        _check_extracted(connection)
        inputs = _fingerprint(connection)
        last = _last_inputs(connection)
        if only_if_changed and last == inputs and _marts_exist(connection):
            return BuildReport(0, 0, (), skipped=True)
        (build_id,) = connection.execute(
            "insert into app.builds (selection) values (%s) returning id", [select]
        ).fetchone() or (0,)
        try:
            report = _run_dbt(settings, warehouse, select, full_refresh)
        except BaseException as error:
            connection.execute(
                "update app.builds set status = 'failed', finished_at = now(), error = %s"
                " where id = %s",
                [str(error) or type(error).__name__, build_id],
            )
            # Some marts may be new already.
            connection.execute("select nextval('app.data_version')")
            raise
        # Inputs as they were before: what changed meanwhile is built next time. A part of the
        # project stands for all of it only where nothing but the scores had changed.
        is_whole = select is None or (
            select == AFTER_ENRICHMENT and last is not None and last.rest == inputs.rest
        )
        connection.execute(
            "update app.builds set status = 'succeeded', finished_at = now(), inputs_sha256 = %s"
            " where id = %s",
            [str(inputs) if is_whole else None, build_id],
        )
        connection.execute("select nextval('app.data_version')")
    return report


@contextmanager
def _lock(connection: psycopg.Connection) -> Iterator[None]:
    taken = connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
    if taken != (True,):
        raise MiranteError(
            "a build is running already: wait for it, see `select * from app.builds`"
        )
    yield


def _check_extracted(connection: psycopg.Connection) -> None:
    try:
        connection.execute("select 1 from raw_chatwoot.conversations limit 1")
    except UndefinedTable:
        raise MiranteError("nothing was extracted yet: run `mirante extract` first") from None


def _fingerprint(connection: psycopg.Connection) -> Inputs:
    row = connection.execute(INPUTS).fetchone() or ()
    scores = hashlib.sha256(repr(row[:1]).encode())
    rest = hashlib.sha256(repr(row[1:]).encode())
    for pattern in PROJECT_FILES:
        for path in sorted(PROJECT_ROOT.glob(pattern)):
            if path.is_file():
                rest.update(path.read_bytes())
    return Inputs(scores.hexdigest(), rest.hexdigest())


def _last_inputs(connection: psycopg.Connection) -> Inputs | None:
    """What the marts were built from; None after a build that failed, or of a part."""
    row = connection.execute(
        "select inputs_sha256 from app.builds where id = (select max(id) from app.builds)"
        " and status = 'succeeded' and inputs_sha256 is not null"
    ).fetchone()
    return Inputs(*row[0].split(":")) if row else None


def _marts_exist(connection: psycopg.Connection) -> bool:
    return connection.execute("select to_regclass('marts.agg_daily')").fetchone() != (None,)


def _run_dbt(
    settings: Settings, warehouse: Warehouse, select: str | None, full_refresh: bool
) -> BuildReport:
    folder = state_folder(settings, "dbt")
    profile = (PROJECT_ROOT / "profiles.yml.example").read_text()
    (folder / "profiles.yml").write_text(profile)
    os.environ.update(dbt_environment(settings, warehouse))
    # No dbt.log: failing rows could carry message text.
    arguments = [
        "build", "--exclude-resource-type", "unit_test",
        "--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(folder),
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
        "--quiet", "--log-level", "none", "--log-level-file", "none",
    ]  # fmt: skip
    if select:
        arguments += ["--select", select]
    if full_refresh:
        arguments += ["--full-refresh"]
    outcome = _runner().invoke(arguments)
    if outcome.exception is not None:
        raise MiranteError(f"dbt: {_one_line(str(outcome.exception))}")
    results: Any = outcome.result
    return _report(results.results)


def _runner() -> "dbtRunner":
    from dbt.cli.main import dbtRunner  # 3 s of imports: only where a build is due

    return dbtRunner()


def _report(results: Sequence[Any]) -> BuildReport:
    broken: list[str] = []
    failed: list[str] = []
    warnings: list[str] = []
    models = tests = 0
    for result in results:
        node, status = result.node, str(result.status)
        line = f"{node.name}: {_one_line(result.message or status)}"
        is_model = node.resource_type == "model"
        if status in ("error", "fail", "runtime error"):
            (broken if is_model else failed).append(line)
        elif status == "warn":
            warnings.append(line)
        elif status in ("success", "pass"):
            models, tests = models + is_model, tests + (node.resource_type == "test")
    if broken:
        raise MiranteError(
            f"dbt build: {len(broken)} models failed, what follows keeps the previous numbers: "
            + "; ".join(broken[:5])
        )
    if failed:
        raise MiranteError(
            f"dbt build: {len(failed)} data tests failed on numbers that are already visible: "
            + "; ".join(failed[:5])
        )
    return BuildReport(models, tests, tuple(warnings))


def _one_line(message: str) -> str:
    """The error itself without PostgreSQL's quoted values, which may be somebody's message."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    text = lines[1] if len(lines) > 1 and lines[0].startswith("Database Error") else lines[0]
    return re.sub(r': ".*"', ': "…"', text)
