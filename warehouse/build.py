"""dbt in this process, and whether there is anything to build."""

import hashlib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
from psycopg.errors import UndefinedTable

from warehouse.db import Warehouse, connection_parts, state_folder
from warehouse.errors import MiranteError
from warehouse.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

log = logging.getLogger(__name__)

PROJECT_FILES = ("dbt_project.yml", "models/**/*", "macros/**/*", "seeds/**/*", "tests/dbt/**/*")
# Two builds at once would drop each other's tables.
LOCK_KEY = 0x4D495242

# What is claimed is of a build that failed. Rows of Chatwoot count by the runs that changed them,
# and by the notes of the database where somebody else did.
INPUTS = """
select
    (select md5(string_agg(source_table, '|' order by source_table)) from (
        select distinct source_table from app.changed_conversations
    ) as changes),
    (select max(id)::text from app.sync_runs where status = 'succeeded' and rows_changed > 0),
    (select md5(string_agg(t::text, '|' order by id)) from app.tenants as t),
    (select md5(string_agg(t::text, '|' order by account_id)) from app.tenant_accounts as t),
    (select md5(string_agg(t::text, '|' order by inbox_id)) from app.tenant_inboxes as t),
    (select md5(string_agg(t::text, '|' order by tenant_id, id)) from app.funnel_rules as t),
    (select count(*)::text || max(erased_at)::text from app.erased_rows),
    (select count(*)::text || max(imported_at)::text from app.crm_rows)
"""
# In the place of inputs, while everything is made anew from other ones, and where that did not end:
# what is made anew notes no day and no contact, so no build of less may follow.
MAKING_ANEW = "made anew"
# Of the notes alone a build of less than everything can be made.
NOTED, REST = slice(0, 1), slice(1, None)
NOTHING_NOTED = (None,)
# In every build: what is touched, and the facts that say which days and contacts that is.
BOOKKEEPING = ("int_inbox_settings", "int_conversations_touched", "int_days_touched",
               "int_contacts_touched", "fct_conversations")  # fmt: skip

# Read by an index alone where the server knows that every row of a page is visible, as it does once
# they are vacuumed. It would do so itself, but not before the first reader.
READ_BY_INDEX = ("marts.agg_hourly", "marts.fct_conversations", "marts.fct_replies")


@dataclass(frozen=True)
class BuildReport:
    """What one dbt build did; `skipped` when its inputs were those of the last one."""

    models: int
    tests: int
    warnings: tuple[str, ...]
    skipped: bool = False


class Inputs(NamedTuple):
    """Fingerprints of what the marts follow from: project files, noted changes, everything else."""

    project: str
    noted: str
    rest: str

    def __str__(self) -> str:
        return ":".join(self)


class Plan(NamedTuple):
    """How much of the project is built: `select` in dbt's words, None for all of it."""

    select: str | None
    full_refresh: bool
    tests: bool


class DataTestsError(MiranteError):
    """Data tests failed on numbers that are all made."""


# The parsed project is kept as long as the process lives: parsing costs more than a small build. By
# the state of the files.
_parsed: "dict[str, Manifest]" = {}


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
    test: bool | None = None,
    only_if_changed: bool = False,
) -> BuildReport:
    """Build what changed since the last build, in this process, and raise the data version.

    Everything is made anew with `full_refresh`, the first time, where the project's files changed,
    and after making anew did not end; then, unless `test` is False, and with it, data tests run too
    (unit tests never). With `only_if_changed` models that nothing new reaches are left out. A mart
    that fails leaves its previous version readable. Raises MiranteError naming the nodes that
    failed and the numbers that are stale, or the process that is building already.
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
        asked = Plan(select, full_refresh, bool(test))
        plan = _plan(connection, inputs, last, asked, only_if_changed)
        if plan is None:
            return BuildReport(0, 0, (), skipped=True)
        if test is not None:
            plan = plan._replace(tests=test)
        making = MAKING_ANEW if plan.full_refresh and inputs != last else None
        (build_id,) = connection.execute(
            "insert into app.builds (selection, inputs_sha256) values (%s, %s) returning id",
            [select, making],
        ).fetchone() or (0,)
        try:
            report = _run_dbt(settings, warehouse, inputs.project, plan)
        except BaseException as error:
            if isinstance(error, DataTestsError) and not select:
                making = None
            connection.execute(
                "update app.builds set status = 'failed', finished_at = now(), error = %s,"
                " inputs_sha256 = %s where id = %s",
                [str(error) or type(error).__name__, making, build_id],
            )
            # Some marts may be new already.
            connection.execute("select nextval('app.data_version')")
            raise
        if plan.select and not select:
            _settle(connection, plan.select)
        # Inputs as they were before: what changed meanwhile is built next time.
        built = inputs._replace(noted=_digest(NOTHING_NOTED))
        connection.execute(
            "update app.builds set status = 'succeeded', finished_at = now(), inputs_sha256 = %s"
            " where id = %s",
            [making if select else str(built), build_id],
        )
        connection.execute("select nextval('app.data_version')")
        if plan.full_refresh and not select:
            for mart in READ_BY_INDEX:
                connection.execute(f"vacuum {mart}")
    return report


def _plan(
    connection: psycopg.Connection,
    inputs: Inputs,
    last: Inputs | None,
    asked: Plan,
    only_if_changed: bool,
) -> Plan | None:
    """The least that brings the marts up to date; None when they are."""
    if asked.select is not None:
        return asked
    if (
        asked.full_refresh
        or not _marts_exist(connection)
        or _last_project(connection) != inputs.project
    ):
        return Plan(None, full_refresh=True, tests=True)
    if not only_if_changed:
        return asked
    if inputs == last:
        return None
    if last is not None and inputs.rest == last.rest:
        tables = _noted_tables(connection)
        if tables:
            return asked._replace(select=_selection(tables))
    return asked


def _noted_tables(connection: psycopg.Connection, condition: str = "") -> list[str]:
    rows = connection.execute(
        f"select distinct source_table from app.changed_conversations {condition} order by 1"  # noqa: S608  # ours
    )
    return [row[0] for row in rows]


def _selection(tables: Iterable[str]) -> str:
    sources = [f"source:{table.removeprefix('raw_')}+" for table in tables]
    return " ".join([*BOOKKEEPING, *sources])


def _settle(connection: psycopg.Connection, selection: str) -> None:
    """Call what was claimed done, unless it was more than the selection has the models of.

    After a build of everything dbt does so itself.
    """
    claimed = _noted_tables(connection, "where is_claimed")
    has_other_settings = connection.execute(
        "select exists (select from intermediate.int_inbox_settings as settings"
        " full join app.built_inboxes as built on settings.inbox_id = built.inbox_id"
        " where settings.settings_md5 is distinct from built.settings_md5)"
    ).fetchone()
    if has_other_settings == (False,) and set(_selection(claimed).split()) <= set(
        selection.split()
    ):
        connection.execute("select app.settle_changes()")


@contextmanager
def _lock(connection: psycopg.Connection) -> Iterator[None]:
    taken = connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
    if taken != (True,):
        raise MiranteError(
            "a build is running already: wait for it, see `select * from app.builds`"
        )
    try:
        yield
    finally:
        # Given back, not left to the session's end, which a busy server tells late: the next build
        # of this process would meet it.
        with suppress(psycopg.OperationalError):
            connection.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])


def _check_extracted(connection: psycopg.Connection) -> None:
    try:
        connection.execute("select 1 from raw_chatwoot.conversations limit 1")
    except UndefinedTable:
        raise MiranteError("nothing was extracted yet: run `mirante extract` first") from None


def _fingerprint(connection: psycopg.Connection) -> Inputs:
    project = hashlib.sha256()
    for pattern in PROJECT_FILES:
        for path in sorted(PROJECT_ROOT.glob(pattern)):
            if path.is_file():
                project.update(path.read_bytes())
    row = connection.execute(INPUTS).fetchone() or ()
    return Inputs(project.hexdigest(), _digest(row[NOTED]), _digest(row[REST]))


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _last_inputs(connection: psycopg.Connection) -> Inputs | None:
    """What the marts were built from; None after a build that failed, or of a part."""
    row = connection.execute(
        "select inputs_sha256 from app.builds where id = (select max(id) from app.builds)"
        " and status = 'succeeded'"
    ).fetchone()
    return _inputs(row)


def _last_project(connection: psycopg.Connection) -> str | None:
    """The files that the marts were last made anew by; None where that did not end."""
    row = connection.execute(
        "select inputs_sha256 from app.builds where inputs_sha256 is not null"
        " order by id desc limit 1"
    ).fetchone()
    inputs = _inputs(row)
    return inputs.project if inputs else None


def _inputs(row: Sequence[Any] | None) -> Inputs | None:
    parts = row[0].split(":") if row and row[0] else []
    return Inputs(*parts) if len(parts) == len(Inputs._fields) else None


def _marts_exist(connection: psycopg.Connection) -> bool:
    return connection.execute("select to_regclass('marts.agg_daily')").fetchone() != (None,)


def _run_dbt(settings: Settings, warehouse: Warehouse, project: str, plan: Plan) -> BuildReport:
    from dbt.cli.main import dbtRunner  # 3 s of imports: only where a build is due

    from warehouse import adapter

    adapter.install()
    folder = state_folder(settings, "dbt")
    profile = (PROJECT_ROOT / "profiles.yml.example").read_text()
    (folder / "profiles.yml").write_text(profile)
    environment = dbt_environment(settings, warehouse)
    os.environ.update(environment)
    # No dbt.log: failing rows could carry message text.
    common = [
        "--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(folder),
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
        "--quiet", "--log-level", "none", "--log-level-file", "none", "--no-write-json",
    ]  # fmt: skip
    if project not in _parsed:
        parsed: Any = dbtRunner().invoke(["parse", *common])
        if parsed.exception is not None:
            raise MiranteError(f"dbt: {_one_line(str(parsed.exception))}")
        _parsed.clear()
        _parsed[project] = parsed.result
    _move(_parsed[project], environment["MIRANTE_DBT_DBNAME"])
    arguments = ["build", *common, "--exclude-resource-type", "unit_test"]
    if not plan.tests:
        arguments += ["--exclude-resource-type", "test"]
    if not plan.full_refresh and not plan.select:
        # They are as they were made: a view follows its tables by itself.
        arguments += ["--exclude", "config.materialized:view", "resource_type:seed"]
    elif plan.select:
        arguments += ["--select", *plan.select.split()]
        if not plan.full_refresh:
            arguments += ["--exclude", "config.materialized:view"]
    if plan.full_refresh:
        arguments += ["--full-refresh"]
    outcome = dbtRunner(manifest=_parsed[project]).invoke(arguments)
    if outcome.exception is not None:
        raise MiranteError(f"dbt: {_one_line(str(outcome.exception))}")
    results: Any = outcome.result
    return _report(results.results)


def _move(manifest: "Manifest", database: str) -> None:
    """Let a parsed project name another database: all that a node knows of its own is the name."""
    nodes: list[Any] = [*manifest.nodes.values(), *manifest.sources.values()]
    for node in nodes:
        if node.database != database:
            if node.relation_name:
                own = f'"{node.database}".'
                node.relation_name = f'"{database}".' + node.relation_name.removeprefix(own)
            node.database = database


def _report(results: Sequence[Any]) -> BuildReport:
    broken: list[str] = []
    failed: list[str] = []
    warnings: list[str] = []
    models = tests = skipped = 0
    for result in results:
        node, status = result.node, str(result.status)
        line = f"{node.name}: {_one_line(result.message or status)}"
        is_model = node.resource_type == "model"
        if status in ("error", "fail", "runtime error"):
            (broken if is_model else failed).append(line)
        elif status == "warn":
            warnings.append(line)
        elif status == "skipped":
            skipped += is_model
        elif status in ("success", "pass"):
            models, tests = models + is_model, tests + (node.resource_type == "test")
    if broken:
        raise MiranteError(
            f"dbt build: {len(broken)} models failed: {'; '.join(broken[:5])}; the previous numbers"
            f" stay readable, and are stale: {_stale(results)}"
        )
    if failed:
        error = MiranteError if skipped else DataTestsError
        raise error(
            f"dbt build: {len(failed)} data tests failed on numbers that are already visible: "
            + "; ".join(failed[:5])
        )
    return BuildReport(models, tests, tuple(warnings))


def _stale(results: Sequence[Any]) -> str:
    """Marts that were to be built and were not, with the labels of the KPIs that they carry."""
    marts = []
    for result in results:
        node = result.node
        if (
            node.resource_type == "model"
            and node.schema == "marts"
            and str(result.status) in ("error", "skipped", "runtime error")
        ):
            texts = " ".join(column.description for column in node.columns.values())
            labels = dict.fromkeys(re.findall(r"label: (.+)", texts))
            marts.append(f"{node.name} ({', '.join(labels)})" if labels else node.name)
    return ", ".join(sorted(marts)) or "none that a tenant sees"


def _one_line(message: str) -> str:
    """The error itself without PostgreSQL's quoted values, which may be somebody's message."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    is_heading = re.search(r"Error( in \w+ .*)?$", lines[0]) is not None
    text = lines[1] if len(lines) > 1 and is_heading else lines[0]
    return re.sub(r': ".*"', ': "…"', text)
