"""`mirante`: the command line. The one place that imports every package."""

import json
import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import psycopg
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from warehouse import audit, limits, ownership
from warehouse import tenants as tenancy
from warehouse import users as people
from warehouse.db import Warehouse, explain_refusal, fetch_all, open_warehouse, source_dsn
from warehouse.errors import MiranteError, UsageError
from warehouse.progress import ProgressDisplay
from warehouse.settings import Settings, is_interactive, load_settings

if TYPE_CHECKING:
    from warehouse.status import Status

INTERRUPTED = 130

app = typer.Typer(
    help="Mirante: every client's Chatwoot conversations as numbers, and nobody else's.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
tenant_app = typer.Typer(help="Client businesses and the inboxes they own.", no_args_is_help=True)
user_app = typer.Typer(help="People who open the dashboard.", no_args_is_help=True)
app.add_typer(tenant_app, name="tenant")
app.add_typer(user_app, name="user")
score_app = typer.Typer(help="Scores: shown, corrected, paid.", no_args_is_help=True)
app.add_typer(score_app, name="score")
crm_app = typer.Typer(help="Customers won, from a client's CRM.", no_args_is_help=True)
app.add_typer(crm_app, name="crm")
audit_app = typer.Typer(help="The record of who did what.", no_args_is_help=True)
app.add_typer(audit_app, name="audit")
analyst_app = typer.Typer(help="SQL log-ins, each of one client.", no_args_is_help=True)
app.add_typer(analyst_app, name="analyst")

# A pipe has no width of its own; tables are not to be folded to 80 columns there.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False)

SlugOption = Annotated[str, typer.Option(metavar="SLUG", help="Which client.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", metavar="SLUG", show_default=False)]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line: exit status 0, 1 on a failed run, 2 on bad usage or settings."""
    logging.basicConfig(level=os.environ.get("MIRANTE_LOG_LEVEL", "WARNING").upper(),
                        format="%(levelname)s %(name)s: %(message)s")  # fmt: skip
    # A polite kill unwinds like Ctrl-C, so the embedded server is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        # Not standalone: usage errors are one line here too, not a panel.
        status = app(arguments, prog_name="mirante", standalone_mode=False)
        if status == INTERRUPTED:  # which is what typer makes of Ctrl-C
            _fail("interrupted; the next run goes on from here", INTERRUPTED)
    except typer.exceptions.TyperException as error:
        message = error.format_message().strip().replace("\n", " ")
        if not message:  # no arguments: the help was printed
            sys.exit(error.exit_code)
        context = getattr(error, "ctx", None)
        _fail(f"{message} See `{context.command_path if context else 'mirante'} --help`.", 2)
    except typer.Abort:
        _fail("nothing was done", 1)
    except MiranteError as error:
        _fail(str(error), error.exit_code)
    except (psycopg.Error, OSError) as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        _fail(str(error).strip().splitlines()[0] if str(error) else type(error).__name__, 1)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    print(f"mirante: {message}", file=sys.stderr)  # noqa: T201  # one line, never wrapped
    sys.exit(status)


@contextmanager
def _opened() -> Iterator[tuple[Settings, Warehouse]]:
    settings = load_settings()
    with open_warehouse(settings) as warehouse:
        yield settings, warehouse


@contextmanager
def _migrated() -> Iterator[tuple[Settings, Warehouse]]:
    """The warehouse of commands that need `migrate` to have run."""
    with _opened() as (settings, warehouse):
        try:
            psycopg.connect(warehouse.dsn("owner")).close()
            fetch_all(warehouse.dsn("owner"), "select 1 from app.tenants limit 1")
        except psycopg.OperationalError as error:
            if "authentication failed" not in str(error):
                raise MiranteError(explain_refusal(warehouse.dsn("owner"), error)) from None
            raise _not_set_up(warehouse) from None
        except psycopg.errors.UndefinedTable:
            raise _not_set_up(warehouse) from None
        yield settings, warehouse


def _not_set_up(warehouse: Warehouse) -> MiranteError:
    return MiranteError(f"the warehouse {warehouse!r} is not set up: run `mirante migrate` first")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    err.print(f"{what} in {time.perf_counter() - started:.1f} s")


@app.command()
def migrate() -> None:
    """Create or update roles, schemas and tables. A second run changes nothing."""
    from warehouse.migrate import migrate as run_migrate

    with _opened() as (settings, warehouse), _timed(f"{warehouse!r} is up to date"):
        run_migrate(warehouse)
    err.print(
        f"passwords of its roles: {settings.home / 'credentials.json'} (only you can read it)"
    )


@app.command()
def demo(
    no_serve: Annotated[bool, typer.Option("--no-serve", help="End after the table.")] = False,
    conversations: Annotated[
        int | None,
        typer.Option(min=300, help="Size of the sample, when it is made.", show_default="4000"),
    ] = None,
) -> None:
    """The whole path on sample data: Chatwoot, warehouse, KPIs, dashboard.

    Example: mirante demo --conversations 20000
    """
    from warehouse.demo import run_demo

    run_demo(load_settings(), out, conversations=conversations, serve=not no_serve)


@app.command()
def extract(
    full: Annotated[bool, typer.Option("--full", help="Compare every row: reconcile.")] = False,
) -> None:
    """Load what changed in Chatwoot into raw_chatwoot.

    Example: MIRANTE_CHATWOOT_DSN=postgresql://reader:…@10.0.0.5/chatwoot mirante extract
    """
    with _migrated() as (settings, warehouse):
        _extract(settings, warehouse, full=full)


@app.command()
def reconcile() -> None:
    """Compare every row of Chatwoot with raw_chatwoot, and bring over what differs.

    For the night: it finds what a tick cannot see, old messages that changed or were deleted.
    Ranges of rows are compared by hash; only those that differ are read.

    Example: 0 3 * * * mirante reconcile && mirante build --test
    """
    with _migrated() as (settings, warehouse):
        _extract(settings, warehouse, full=True)


def _extract(settings: Settings, warehouse: Warehouse, *, full: bool = False) -> None:
    from extract.pipeline import run_extract

    source = source_dsn(settings, warehouse)
    replica = settings.chatwoot_replica_dsn
    with _timed("reconcile" if full else "extract"), ProgressDisplay(err) as progress:
        runs = run_extract(
            source,
            warehouse.dsn("owner"),
            settings.home,
            full=full,
            replica_dsn=replica.get_secret_value() if replica else None,
            recent=timedelta(hours=settings.recent_hours),
            pause=settings.source_pause_seconds,
            progress=progress,
        )
    table = Table(
        "table", "compared", "read", "inserted", "updated", "deleted", "seconds", box=None
    )
    for run in runs:
        if run.rows_changed or full:
            table.add_row(
                run.table, f"{run.rows_compared:,}", f"{run.rows_read:,}",
                f"{run.rows_inserted:,}", f"{run.rows_updated:,}", f"{run.rows_deleted:,}",
                f"{run.seconds:.1f}",
            )  # fmt: skip
    out.print(table if table.row_count else "nothing new in Chatwoot")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show the last runs, and how old and how many every tenant's numbers are.

    Example: mirante status --json | jq '.tenants[] | {slug, lag_seconds}'
    """
    from warehouse.status import read_status

    with _migrated() as (_, warehouse):
        found = read_status(warehouse.dsn("owner"))
    if as_json:
        out.print_json(json.dumps(found.as_json(), default=lambda at: at.isoformat()))
        return
    if not found.runs:
        out.print("no extraction yet: `mirante extract`")
    else:
        _print_status(found)
    tenants = Table("tenant", "status", "as of", "age", "conversations", "messages", box=None)
    for tenant in found.tenants:
        tenants.add_row(
            tenant.slug, tenant.status, _local_time(tenant.last_success_at),
            _age(tenant.lag_seconds), f"{tenant.conversations:,}", f"{tenant.messages:,}",
        )  # fmt: skip
    out.print(tenants if found.tenants else "no tenants yet: `mirante tenant add --help`")
    _print_limits([line for tenant in found.tenants for line in tenant.limit_messages])


def _print_status(found: "Status") -> None:
    runs = Table("run", "pass", "status", "started", "seconds", "read", "changed", "lag", "error",
                 box=None)  # fmt: skip
    for run in found.runs:
        runs.add_row(
            str(run.id), run.pass_, run.status, _local_time(run.started_at), f"{run.seconds:.1f}",
            f"{run.rows_read:,}", f"{run.rows_changed:,}", _age(run.lag_seconds),
            escape(run.error or ""),
        )  # fmt: skip
    out.print(runs)
    for line in found.runs[0].drift:
        err.print(f"warning: {line}", markup=False)
    out.print()
    tables = Table("table (shared by all tenants)", "as of (UTC)", "compared", "read", "inserted",
                   "updated", "deleted", "seconds", box=None)  # fmt: skip
    for table in found.tables:
        tables.add_row(
            table.source_table, (table.watermark or "")[:19].replace("T", " "),
            f"{table.rows_compared:,}", f"{table.rows_read:,}", f"{table.rows_inserted:,}",
            f"{table.rows_updated:,}", f"{table.rows_deleted:,}", f"{table.seconds:.2f}",
        )  # fmt: skip
    out.print(tables)
    out.print()


def _local_time(moment: datetime | None) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "never"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


@app.command()
def build(
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Rebuild from raw.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Run the data tests too.")] = False,
) -> None:
    """Bring the marts up to date: what changed since the last build is computed again.

    The first build, and one after the project's files changed, makes everything and tests it.

    Example: 0 3 * * * mirante reconcile && mirante build --test
    """
    with _migrated() as (settings, warehouse):
        _build(settings, warehouse, full_refresh=full_refresh, test=test or None)


def _build(
    settings: Settings,
    warehouse: Warehouse,
    *,
    full_refresh: bool = False,
    test: bool | None = None,
    only_if_changed: bool = False,
) -> None:
    from warehouse.build import build as run_build

    with _timed("build"), err.status("building models …"):
        report = run_build(
            settings, warehouse,
            full_refresh=full_refresh, test=test, only_if_changed=only_if_changed,
        )  # fmt: skip
    for warning in report.warnings:
        err.print(f"warning: {warning}", markup=False)
    tested = f", {report.tests} tests passed" if report.tests else ""
    out.print(
        "nothing to build: inputs are those of the last build" if report.skipped
        else f"{report.models} models built{tested}"
    )  # fmt: skip
    _print_limits(limits.record_reached(warehouse.dsn("owner"), audit.SYSTEM))


@app.command()
def enrich(
    provider: Annotated[
        str | None,
        typer.Option(help="openai|local. Default: openai where a key is set, else local."),
    ] = None,
    tenant: TenantOption = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="By the batch interface: half the price, in a day.")
    ] = False,
) -> None:
    """Score the conversations that have no score of their present text yet.

    A second run costs nothing; --batch goes on with the batches of earlier runs.

    Example: mirante enrich --tenant corpo --batch
    """
    with _migrated() as (settings, warehouse):
        _enrich(settings, warehouse, tenant, provider, batch=batch)


@app.command("eval")
def evaluate(
    file: Annotated[Path, typer.Option("--file", metavar="F.jsonl", show_default=False)],
    provider: Annotated[str, typer.Option(help="local, local-fast or openai.")] = "local",
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="OUT.jsonl", help="One line a conversation."),
    ] = None,
) -> None:
    """Measure a provider on labelled conversations; needs no database.

    A line of the file: {"id", "messages": [{"from": "contact|agent|bot", "text"}], "labels":
    {"sentiment", "intent", "lead_class", "visit_scheduled"}}; without labels it is only scored.

    Example: mirante eval --file ai_enrich/data/test.jsonl --predictions answers.jsonl
    """
    from ai_enrich import evaluation
    from ai_enrich.dataset import read_examples
    from ai_enrich.provider import Provider

    settings = load_settings()
    known = dict(evaluation.PROVIDERS)
    if provider == "openai":
        outside = Provider.from_settings(settings)
        if outside is None:
            raise UsageError("MIRANTE_OPENAI_API_KEY is not set: --provider openai needs it")
        known["openai"] = partial(evaluation.score_outside, provider=outside)
    if provider not in known:
        raise UsageError(f"--provider {provider!r} is not one of {', '.join(known)}, openai")
    examples = read_examples(file)
    if predictions is not None and not predictions.absolute().parent.is_dir():
        raise UsageError(f"--predictions {str(predictions)!r}: its folder does not exist")
    with err.status(f"scoring {len(examples):,} conversations …"):
        result, answers = evaluation.evaluate(examples, known[provider], file.name)
    if predictions is not None:
        evaluation.write_predictions(predictions, examples, answers)
    evaluation.show(result, out)
    err.print(f"stored in {evaluation.store(result, settings.home / 'evaluations')}")


def _enrich(
    settings: Settings,
    warehouse: Warehouse,
    tenant: str | None = None,
    provider_name: str | None = None,
    *,
    batch: bool = False,
) -> bool:
    """Score what is due; whether the marts have to be built again."""
    from ai_enrich.provider import Provider
    from ai_enrich.run import enrich as run_enrich

    if provider_name not in (None, "openai", "local"):
        raise UsageError(f"--provider {provider_name!r}: use openai or local")
    provider = None if provider_name == "local" else Provider.from_settings(settings)
    if provider is None and (provider_name == "openai" or batch):
        raise UsageError(
            "MIRANTE_OPENAI_API_KEY is not set: --batch and --provider openai need it"
            if provider_name != "local" else "--batch is of the provider openai, not of local"
        )  # fmt: skip
    # Without a source of its own it is the demo, which another model would score anew for minutes.
    model = settings.local_model or ("words-e5-1" if settings.chatwoot_dsn else "words-1")
    with _timed("enrich"), ProgressDisplay(err) as progress:
        report = run_enrich(
            warehouse.dsn("owner"), provider=provider, tenant_slug=tenant, batch=batch,
            quiet_minutes=settings.ai_quiet_minutes, model=model,
            request_days=settings.ai_request_days,
            progress=lambda done, total: progress("enrich", "conversations", done, total),
        )  # fmt: skip
    here = report.scored - report.scored_outside
    if provider is None:
        out.print(f"{report.scored:,} conversations scored by {report.provider}/{report.model}")
    else:
        out.print(
            f"{report.scored_outside:,} conversations scored by {report.provider}/{report.model}"
            f" for US$ {report.cost_usd:.4f}, {here:,} by the local model; {report.refused:,}"
            f" refused, {report.failed:,} failed, {report.skipped:,} skipped for the budget"
        )
    for warning in report.warnings:
        err.print(f"warning: {warning}", markup=False)
    return report.is_news


@app.command()
def run(
    full: Annotated[bool, typer.Option("--full", help="Compare every row: reconcile.")] = False,
) -> None:
    """Extract, build, enrich, build what follows. Nothing new costs seconds."""
    with _migrated() as (settings, warehouse):
        _extract(settings, warehouse, full=full)
        _build(settings, warehouse, only_if_changed=True)
        if _enrich(settings, warehouse):
            _build(settings, warehouse, only_if_changed=True)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Default: MIRANTE_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: MIRANTE_PORT or 8501.")] = None,
) -> None:
    """Serve the dashboard until Ctrl-C.

    Example: mirante serve --port 8600
    """
    from warehouse.demo import serve_dashboard

    with _migrated() as (settings, warehouse):
        given = {"host": host, "port": port}
        serve_dashboard(
            settings.model_copy(update={k: v for k, v in given.items() if v is not None}),
            warehouse, out,
        )  # fmt: skip


@app.command()
def env() -> None:
    """Print what plain dbt needs: eval "$(mirante env)", then dbt build.

    With the embedded server, keep `mirante serve` running meanwhile.
    """
    from warehouse.build import dbt_environment

    with _migrated() as (settings, warehouse):
        for name, value in dbt_environment(settings, warehouse).items():
            out.print(f"export {name}={shlex.quote(value)}", markup=False, soft_wrap=True)


@tenant_app.command("add")
def tenant_add(
    slug: Annotated[str, typer.Option(help="Short name: letters, digits, hyphens.")],
    name: Annotated[str, typer.Option(help="Name that its people see.")],
    segment: Annotated[str, typer.Option(help="|".join(tenancy.SEGMENTS))],
    timezone: Annotated[str, typer.Option(help="IANA time zone.")] = "America/Sao_Paulo",
    currency: Annotated[str, typer.Option(help="ISO code.")] = "BRL",
    account: Annotated[
        list[int] | None, typer.Option(help="A Chatwoot account it owns whole; repeatable.")
    ] = None,
    inbox: Annotated[
        list[int] | None, typer.Option(help="A Chatwoot inbox it owns; repeatable.")
    ] = None,
) -> None:
    """Add a client and what it owns; works before the first extract.

    Example: mirante tenant add --slug corpo --name "Academia Corpo" --segment gym --inbox 4
    """
    with _migrated() as (_, warehouse):
        tenant_id = tenancy.add_tenant(
            warehouse.dsn("owner"), slug=slug, name=name, segment=segment, timezone=timezone,
            currency=currency, account_ids=account or [], inbox_ids=inbox or [],
            actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
        _print_limits(limits.warnings(warehouse.dsn("owner"), slug))
    out.print(f"tenant {slug} added (id {tenant_id}); its numbers come with the next build")
    if not account and not inbox:
        err.print("it owns no inbox yet, so it will see nothing: give --inbox or --account")


@tenant_app.command("list")
def tenant_list() -> None:
    """List clients and what they own."""
    with _migrated() as (_, warehouse):
        tenants = tenancy.list_tenants(warehouse.dsn("owner"))
        _print_limits(limits.warnings(warehouse.dsn("owner")))
    table = Table("id", "slug", "name", "segment", "time zone", "plan", "status", "accounts",
                  "inboxes", box=None)  # fmt: skip
    for tenant in tenants:
        gone = f"deleted, gone after {tenant.purge_after:%Y-%m-%d}" if tenant.purge_after else ""
        table.add_row(
            str(tenant.id), tenant.slug, escape(tenant.name), tenant.segment, tenant.timezone,
            tenant.plan, gone or tenant.status, " ".join(map(str, tenant.account_ids)),
            " ".join(map(str, tenant.inbox_ids)),
        )  # fmt: skip
    out.print(table if tenants else "no tenants yet: `mirante tenant add --help`")


def _print_limits(lines: Sequence[str]) -> None:
    for line in lines:
        err.print(f"limit: {line}", markup=False, soft_wrap=True)


def _limit(value: int | None) -> int | None:
    return value or None  # 0 on the command line


@tenant_app.command("edit")
def tenant_edit(
    slug: SlugOption,
    new_slug: Annotated[str | None, typer.Option(help="Another short name.")] = None,
    name: Annotated[str | None, typer.Option(help="Name that its people see.")] = None,
    segment: Annotated[str | None, typer.Option(help="|".join(tenancy.SEGMENTS))] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA time zone.")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO code.")] = None,
    plan: Annotated[str | None, typer.Option(help="See `mirante tenant plans`.")] = None,
    max_users: Annotated[int | None, typer.Option(min=0, help="0: as the plan says.")] = None,
    max_inboxes: Annotated[int | None, typer.Option(min=0, help="0: as the plan says.")] = None,
    max_conversations_per_month: Annotated[
        int | None, typer.Option(min=0, help="0: as the plan says. Told, never cut.")
    ] = None,
    ai_budget_usd: Annotated[
        float | None,
        typer.Option(
            min=-1, help="A month, for scores by a provider outside; -1: as the plan says."
        ),
    ] = None,
    ai_outside: Annotated[
        bool | None,
        typer.Option(
            "--ai-outside/--no-ai-outside",
            help="Whether any text of this client may go to a provider outside.",
        ),
    ] = None,
) -> None:
    """Change a client; what is not given stays.

    Example: mirante tenant edit --slug corpo --timezone America/Recife --max-users 10
    """
    given: dict[str, object] = {
        "slug": new_slug, "name": name, "segment": segment, "timezone": timezone,
        "currency": currency, "plan": plan, "ai_outside_allowed": ai_outside,
    }  # fmt: skip
    changes = {column: value for column, value in given.items() if value is not None}
    bounds = {
        "max_users": max_users, "max_inboxes": max_inboxes,
        "max_conversations_per_month": max_conversations_per_month,
    }  # fmt: skip
    changes |= {column: _limit(value) for column, value in bounds.items() if value is not None}
    if ai_budget_usd is not None:
        changes["ai_budget_usd"] = round(ai_budget_usd, 2) if ai_budget_usd >= 0 else None
    if not changes:
        raise UsageError("nothing to change: see `mirante tenant edit --help`")
    with _migrated() as (_, warehouse):
        changed = tenancy.edit_tenant(
            warehouse.dsn("owner"), slug, changes, audit.operator(warehouse.audit_key)
        )
        _print_limits(limits.warnings(warehouse.dsn("owner"), new_slug or slug))
    out.print(
        f"tenant {slug} changed: {', '.join(changed)}; the marts follow with the next build"
        if changed else f"tenant {slug} was so already"
    )  # fmt: skip


@tenant_app.command("plans")
def tenant_plans() -> None:
    """List plans and their limits."""
    with _migrated() as (_, warehouse):
        plans = limits.list_plans(warehouse.dsn("owner"))
    table = Table("plan", "users", "inboxes", "conversations a month", "AI US$ a month", box=None)
    for plan in plans:
        bounds = (plan.max_users, plan.max_inboxes, plan.max_conversations_per_month,
                  plan.max_ai_budget_usd)  # fmt: skip
        table.add_row(
            plan.name, *("no limit" if value is None else f"{value:,}" for value in bounds)
        )
    out.print(table)


@tenant_app.command("plan")
def tenant_plan(
    name: Annotated[str, typer.Option(help="Short name of the plan.")],
    max_users: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    max_inboxes: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    max_conversations_per_month: Annotated[int, typer.Option(min=0, help="0: no limit.")] = 0,
    max_ai_budget_usd: Annotated[
        float,
        typer.Option(
            min=-1, max=9_999_999, help="A month, and the most a client's admin may set; -1: none."
        ),
    ] = -1,
) -> None:
    """Make a plan, or give one new limits; its clients have them at once.

    Example: mirante tenant plan --name pro --max-users 10 --max-conversations-per-month 20000
    """
    plan = limits.Plan(
        name, _limit(max_users), _limit(max_inboxes), _limit(max_conversations_per_month),
        round(Decimal(max_ai_budget_usd), 2) if max_ai_budget_usd >= 0 else None,
    )  # fmt: skip
    with _migrated() as (_, warehouse):
        limits.set_plan(warehouse.dsn("owner"), plan, audit.operator(warehouse.audit_key))
        _print_limits(limits.warnings(warehouse.dsn("owner")))
    out.print(f"plan {name} set")


@tenant_app.command("suspend")
def tenant_suspend(slug: SlugOption) -> None:
    """Shut a client's people and analysts out at once; `tenant restore` lets them in again."""
    with _migrated() as (_, warehouse):
        tenancy.suspend_tenant(warehouse, slug, audit.operator(warehouse.audit_key))
    out.print(f"tenant {slug} suspended: sessions and SQL connections ended")


@tenant_app.command("cancel")
def tenant_cancel(slug: SlugOption) -> None:
    """End a client's contract: shut out as if suspended, its data kept."""
    with _migrated() as (_, warehouse):
        tenancy.cancel_tenant(warehouse, slug, audit.operator(warehouse.audit_key))
    out.print(f"tenant {slug} cancelled: sessions and SQL connections ended, data kept")


@tenant_app.command("restore")
def tenant_restore(slug: SlugOption) -> None:
    """Make a suspended, cancelled or deleted client active again."""
    with _migrated() as (_, warehouse):
        tenancy.restore_tenant(warehouse, slug, audit.operator(warehouse.audit_key))
    out.print(f"tenant {slug} is active again")


@tenant_app.command("delete")
def tenant_delete(
    slug: SlugOption,
    grace_days: Annotated[
        int, typer.Option(min=0, max=3650, help="Until then `tenant restore` brings it back.")
    ] = tenancy.GRACE_DAYS,
    now: Annotated[
        bool, typer.Option("--now", help="Purge one that is deleted already, grace or not.")
    ] = False,
) -> None:
    """Delete a client after a grace period; its people are shut out at once.

    `tenant purge`, or --now as a second step, removes its rows for good.

    Example: mirante tenant delete --slug corpo --grace-days 90
    """
    with _migrated() as (_, warehouse):
        actor = audit.operator(warehouse.audit_key)
        if now:
            for purged, rows in tenancy.purge_tenants(warehouse, actor, slug=slug):
                out.print(f"tenant {purged} is gone, with {rows:,} rows")
            return
        gone_after = tenancy.delete_tenant(warehouse, slug, actor, grace_days=grace_days)
    out.print(
        f"tenant {slug} deleted; `mirante tenant purge` removes its rows after"
        f" {_local_time(gone_after)}, `mirante tenant restore --slug {slug}` brings it back",
        soft_wrap=True,
    )


@tenant_app.command("purge")
def tenant_purge() -> None:
    """Remove the rows of deleted clients whose grace period is over; for a timer.

    Example: 30 4 * * * mirante tenant purge
    """
    with _migrated() as (_, warehouse):
        purged = tenancy.purge_tenants(warehouse, audit.operator(warehouse.audit_key))
    for slug, rows in purged:
        out.print(f"tenant {slug} is gone, with {rows:,} rows")
    if not purged:
        out.print("no deleted tenant whose grace is over")


@tenant_app.command("assign-inbox")
def tenant_assign_inbox(
    slug: SlugOption,
    inbox: Annotated[list[int] | None, typer.Option(help="A Chatwoot inbox; repeatable.")] = None,
    account: Annotated[
        list[int] | None, typer.Option(help="A whole Chatwoot account; repeatable.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="SLUG", help="Take it from this client, with its rows."),
    ] = None,
) -> None:
    """Give inboxes to a client; the whole history comes with the next build.

    What another client owns is refused, unless --from names that client: then its rows leave
    that client's marts and scores at once.

    Example: mirante tenant assign-inbox --slug corpo --inbox 4 --from outra
    """
    if not inbox and not account:
        raise UsageError("give --inbox or --account")
    with _migrated() as (_, warehouse), err.status("waiting for a build that runs, if any …"):
        taken = ownership.assign(
            warehouse.dsn("owner"), slug=slug, inbox_ids=inbox or [], account_ids=account or [],
            from_slug=from_, actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
        _print_limits(limits.warnings(warehouse.dsn("owner"), slug))
    _print_taken(taken)
    out.print(f"tenant {slug} has it; its numbers come with the next build")


@tenant_app.command("release-inbox")
def tenant_release_inbox(
    slug: SlugOption,
    inbox: Annotated[list[int], typer.Option(help="A Chatwoot inbox; repeatable.")],
) -> None:
    """Take inboxes from a client, with their rows, for nobody.

    Example: mirante tenant release-inbox --slug corpo --inbox 4
    """
    with _migrated() as (_, warehouse), err.status("waiting for a build that runs, if any …"):
        taken = ownership.release(
            warehouse.dsn("owner"), slug=slug, inbox_ids=inbox,
            actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
    _print_taken(taken)


def _print_taken(taken: "Sequence[ownership.Taken]") -> None:
    for loss in taken:
        inboxes = ", ".join(map(str, loss.inbox_ids)) or "none known yet"
        out.print(
            f"taken from {loss.from_slug}: inboxes {inboxes}, {loss.rows:,} rows of marts and"
            " scores; the next build makes again what is still its own", soft_wrap=True,
        )  # fmt: skip


@tenant_app.command("discover")
def tenant_discover() -> None:
    """List inboxes of Chatwoot that no client owns, each with a command to paste; changes nothing.

    Example: mirante extract && mirante tenant discover
    """
    with _migrated() as (_, warehouse):
        unowned, missing = ownership.discover(warehouse.dsn("owner"))
    table = Table("account", "inbox", "name", "channel", "conversations", "last", box=None)
    for inbox in unowned:
        table.add_row(
            f"{inbox.account_id} {escape(inbox.account_name)}", str(inbox.inbox_id),
            escape(inbox.inbox_name), escape(inbox.channel), f"{inbox.conversations:,}",
            f"{inbox.last_conversation_at:%Y-%m-%d}" if inbox.last_conversation_at else "",
        )  # fmt: skip
    out.print(table if unowned else "every inbox of the last extraction has an owner")
    for proposal in dict.fromkeys(inbox.proposal for inbox in unowned):
        out.print(f"  {proposal}", markup=False, soft_wrap=True)
    for slug, inbox_id in missing:
        err.print(f"warning: inbox {inbox_id} of {slug} is not in the last extraction")


@tenant_app.command("brand")
def tenant_brand(
    slug: SlugOption,
    name: Annotated[str | None, typer.Option(help="Name shown in its pages.")] = None,
    color: Annotated[str | None, typer.Option(help="Main colour, #rrggbb.")] = None,
    accent: Annotated[str | None, typer.Option(help="Second colour, #rrggbb.")] = None,
    logo: Annotated[
        Path | None, typer.Option(help="PNG, JPEG or WebP, at most 256 KiB and 2000 pixels.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Mirante's own look again.")] = False,
) -> None:
    """Set a client's own name, logo and colours; what is not given stays.

    Example: mirante tenant brand --slug corpo --color '#0b5cad' --logo logo.png
    """
    from warehouse.branding import read_logo, set_branding

    if not (name is not None or color or accent or logo or clear):
        raise UsageError("nothing to change: see `mirante tenant brand --help`")
    image = read_logo(logo) if logo else None
    with _migrated() as (_, warehouse):
        set_branding(
            warehouse.dsn("owner"), slug, audit.operator(warehouse.audit_key), display_name=name,
            primary_color=color, accent_color=accent, logo=image, clear=clear,
        )  # fmt: skip
    out.print(f"tenant {slug} has its look")


@analyst_app.command("add")
def analyst_add(
    tenant: Annotated[str, typer.Option(metavar="SLUG", help="The one client it sees.")],
) -> None:
    """Make a SQL log-in that reads one client's marts; its address is shown this once.

    Example: mirante analyst add --tenant corpo
    """
    from warehouse import analysts

    with _migrated() as (_, warehouse):
        role, uri = analysts.add_analyst(warehouse, tenant, audit.operator(warehouse.audit_key))
    err.print(f"SQL log-in {role}: the password is kept nowhere, so copy it now")
    out.print(uri, markup=False, soft_wrap=True)


@analyst_app.command("list")
def analyst_list(tenant: TenantOption = None) -> None:
    """List SQL log-ins and how many connections each has now."""
    from warehouse import analysts

    with _migrated() as (_, warehouse):
        found = analysts.list_analysts(warehouse, tenant)
    table = Table("log-in", "tenant", "since", "status", "connections", box=None)
    for analyst in found:
        table.add_row(
            analyst.role_name, analyst.tenant_slug, _local_time(analyst.created_at),
            "active" if analyst.can_log_in else "refused", str(analyst.connections),
        )  # fmt: skip
    out.print(table if found else "no SQL log-ins yet: `mirante analyst add --help`")


@analyst_app.command("remove")
def analyst_remove(
    tenant: Annotated[str, typer.Option(metavar="SLUG", help="Whose log-in it is.")],
    role: Annotated[str | None, typer.Option(help="Which, where there are several.")] = None,
) -> None:
    """End a SQL log-in's connections and drop it.

    Example: mirante analyst remove --tenant corpo
    """
    from warehouse import analysts

    with _migrated() as (_, warehouse):
        removed = analysts.remove_analyst(
            warehouse, tenant, audit.operator(warehouse.audit_key), role=role
        )
    out.print(f"SQL log-in {removed} removed")


@user_app.command("add")
def user_add(
    email: Annotated[str, typer.Option(help="Log-in name.")],
    role: Annotated[str, typer.Option(help="|".join(people.ROLES))],
    tenant: TenantOption = None,
) -> None:
    """Add a person; the password comes from a prompt or MIRANTE_PASSWORD.

    At the prompt, no password prints a one-time link instead, as `user invite` does.

    Example: mirante user add --email ana@corpo.com.br --role client --tenant corpo
    """
    password = _ask_password()
    if not password and "MIRANTE_PASSWORD" not in os.environ:
        user_invite(email, role, tenant)
        return
    with _migrated() as (_, warehouse):
        people.add_user(
            warehouse.dsn("owner"), email=email, password=password, role=role,
            tenant_slug=tenant, actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
        if tenant is not None:
            _print_limits(limits.warnings(warehouse.dsn("owner"), tenant))
    out.print(f"user {email} added", markup=False)


@user_app.command("invite")
def user_invite(
    email: Annotated[str, typer.Option(help="Log-in name.")],
    role: Annotated[str, typer.Option(help="|".join(people.ROLES))],
    tenant: TenantOption = None,
) -> None:
    """Add a person who sets its password through a one-time link, printed once.

    Example: mirante user invite --email ana@corpo.com.br --role admin --tenant corpo
    """
    with _migrated() as (settings, warehouse):
        token = people.invite_user(
            warehouse.dsn("owner"), email=email, role=role, tenant_slug=tenant,
            actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
    _print_link(settings, email, token, people.INVITE_LIFETIME)


def _print_link(settings: Settings, email: str, token: str, lifetime: timedelta) -> None:
    err.print(f"send this to {email}; it works once, within {lifetime.days} days, and is not"
              " shown again:", markup=False)  # fmt: skip
    out.print(f"{settings.dashboard_url}/acesso/{token}", markup=False, soft_wrap=True)


@user_app.command("list")
def user_list() -> None:
    """List people, their role and client."""
    with _migrated() as (_, warehouse):
        rows = fetch_all(
            warehouse.dsn("owner"),
            "select users.email, users.role, coalesce(tenants.slug, '(all)'),"
            " case when not users.is_active then 'disabled'"
            " when users.password_hash is null then 'invited' else 'active' end,"
            " case when users.totp_secret is null then '' else 'totp' end,"
            " coalesce(to_char(users.last_log_in_at at time zone 'utc', 'YYYY-MM-DD HH24:MI'), '')"
            " from app.users as users left join app.tenants as tenants"
            " on users.tenant_id = tenants.id order by 3, 1",
        )
    table = Table("e-mail", "role", "tenant", "status", "2nd factor", "last log-in (UTC)", box=None)
    for row in rows:
        table.add_row(*row)
    out.print(table if rows else "no users yet: `mirante user add --help`")


@user_app.command("edit")
def user_edit(
    email: Annotated[str, typer.Option(help="Log-in name.")],
    role: Annotated[str, typer.Option(help="|".join(people.ROLES))],
    tenant: Annotated[
        str | None,
        typer.Option("--tenant", metavar="SLUG", help="Of a super_admin who gets a client's role."),
    ] = None,
) -> None:
    """Give a person another role, and end all its sessions.

    The last super_admin stays one.

    Example: mirante user edit --email ana@corpo.com.br --role admin
    """
    with _migrated() as (_, warehouse):
        changed = people.edit_user(
            warehouse.dsn("owner"), email, role=role, tenant_slug=tenant,
            actor=audit.operator(warehouse.audit_key),
        )  # fmt: skip
    out.print(
        f"user {email} is {role} now, its sessions ended" if changed
        else f"user {email} was so already", markup=False,
    )  # fmt: skip


@user_app.command("disable")
def user_disable(email: Annotated[str, typer.Option()]) -> None:
    """Refuse a person from now on and end all its sessions."""
    with _migrated() as (_, warehouse):
        people.disable_user(warehouse.dsn("owner"), email, audit.operator(warehouse.audit_key))
    out.print(f"user {email} disabled, its sessions ended", markup=False)


@user_app.command("enable")
def user_enable(email: Annotated[str, typer.Option()]) -> None:
    """Let a disabled person log in again."""
    with _migrated() as (_, warehouse):
        people.enable_user(warehouse.dsn("owner"), email, audit.operator(warehouse.audit_key))
    out.print(f"user {email} enabled", markup=False)


@user_app.command("reset")
def user_reset(email: Annotated[str, typer.Option()]) -> None:
    """End all sessions and the password, and print a one-time link to set a new one.

    With MIRANTE_PASSWORD set, that is the new password and there is no link.

    Example: mirante user reset --email ana@corpo.com.br
    """
    password = os.environ.get("MIRANTE_PASSWORD")
    with _migrated() as (settings, warehouse):
        owner, actor = warehouse.dsn("owner"), audit.operator(warehouse.audit_key)
        if password is not None:
            people.set_password(owner, email, password, actor)
            out.print(f"user {email} has a new password, its sessions ended", markup=False)
            return
        token = people.reset_password(owner, email, actor)
    _print_link(settings, email, token, people.RESET_LIFETIME)


@user_app.command("reset-totp")
def user_reset_totp(email: Annotated[str, typer.Option()]) -> None:
    """Take a person's second factor off and end all its sessions.

    For a lost phone. A super_admin sets up a new one at the next log-in.

    Example: mirante user reset-totp --email chefe@agencia.com.br
    """
    with _migrated() as (_, warehouse):
        people.reset_second_factor(
            warehouse.dsn("owner"), email, audit.operator(warehouse.audit_key)
        )
    out.print(f"user {email} has no second factor any more, its sessions ended", markup=False)


@crm_app.command("import")
def crm_import(
    tenant: Annotated[str, typer.Option(metavar="SLUG", help="Whose customers they are.")],
    file: Annotated[Path, typer.Option(help="CSV with a date and a phone or an e-mail.")],
    country: Annotated[str, typer.Option(help="Of phones without a country code.")] = "BR",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report only, keep nothing.")] = False,
) -> None:
    """Import customers won; a second import of the same file changes nothing.

    Example: mirante crm import --tenant corpo --file matriculas.csv --dry-run
    """
    from warehouse.crm import REASONS, import_crm

    with _migrated() as (_, warehouse):
        report = import_crm(
            warehouse.dsn("owner"), tenant_slug=tenant, path=file, country=country, dry_run=dry_run
        )
    unchanged = report.rows - report.inserted - report.updated
    out.print(
        f"{report.rows:,} rows: {report.inserted:,} new, {report.updated:,} changed,"
        f" {unchanged:,} as they were" + ("; a dry run, nothing was kept" if dry_run else "")
    )
    if not report.statuses and report.rows:
        out.print("nothing was built yet: they meet their conversations in the next build")
        return
    out.print(f"{report.matched:,} matched, {report.rows - report.matched:,} not")
    for status, reason in REASONS.items():
        numbers = [str(number) for number, found in report.statuses.items() if found == status]
        if numbers:
            more = f" and {len(numbers) - 20:,} more" if len(numbers) > 20 else ""
            out.print(f"  {reason}: rows {', '.join(numbers[:20])}{more}", soft_wrap=True)
    if report.matched and not dry_run:
        out.print("the pages show them after the next `mirante build`")


@audit_app.command("list")
def audit_list(
    tenant: TenantOption = None,
    action: Annotated[
        str | None, typer.Option(help="An action, or its noun: tenant.suspend, tenant.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Newest lines.")] = 50,
) -> None:
    """List the newest lines of the audit log; people and addresses are keyed hashes.

    Example: mirante audit list --tenant corpo --action tenant.lose_inboxes
    """
    with _migrated() as (_, warehouse):
        lines = audit.list_lines(
            warehouse.dsn("owner"), tenant_slug=tenant, action=action, limit=limit
        )
    table = Table("id", "at", "action", "actor", "tenant", "target", "change", "address", box=None)
    for line in lines:
        change = {"before": line.before, "after": line.after}
        table.add_row(
            str(line.id), _local_time(line.at), line.action,
            f"{line.actor_kind} {line.actor_id or ''}".strip(),
            escape(line.tenant_slug or str(line.tenant_id or "")), escape(line.target or ""),
            escape(json.dumps({k: v for k, v in change.items() if v}, ensure_ascii=False)
                   if line.before or line.after else ""),
            (line.address_hash or "")[:12],
        )  # fmt: skip
    out.print(table if lines else "no line of that kind")


@score_app.command("show")
def score_show(
    tenant: Annotated[str, typer.Option(metavar="SLUG")],
    conversation: Annotated[int, typer.Option(help="Chatwoot's id of the conversation.")],
) -> None:
    """Show a conversation's scores, the messages they rest on, and what left this database.

    Example: mirante score show --tenant corpo --conversation 4711
    """
    from ai_enrich.corrections import show_scores

    with _migrated() as (_, warehouse):
        found = show_scores(warehouse.dsn("owner"), tenant, conversation)
    if found.correction:
        out.print(f"corrected by {found.correction}", markup=False)
    for score in found.scores:
        out.print(score.headline, markup=False, soft_wrap=True)
        for line in score.evidence:
            out.print(f"  {line}", markup=False, soft_wrap=True)
        if score.sent is not None:
            out.print("  sent, masked:", markup=False)
            for line in score.sent.splitlines():
                out.print(f"  | {line}", markup=False, soft_wrap=True)
        else:
            out.print(f"  {score.why_not_sent}", markup=False)
    if not found.scores:
        out.print("no score yet: `mirante enrich`")


@score_app.command("correct")
def score_correct(
    tenant: Annotated[str, typer.Option(metavar="SLUG")],
    conversation: Annotated[int, typer.Option(help="Chatwoot's id of the conversation.")],
    by: Annotated[str, typer.Option(help="Who says so: an e-mail.")] = "cli",
    sentiment: Annotated[str | None, typer.Option(help="positive|neutral|negative")] = None,
    intent: Annotated[
        str | None, typer.Option(help="purchase|information|support|complaint")
    ] = None,
    lead_class: Annotated[str | None, typer.Option(help="high|medium|low")] = None,
    lead_score: Annotated[int | None, typer.Option(min=0, max=100)] = None,
    visit_scheduled: Annotated[
        bool | None, typer.Option("--visit-scheduled/--no-visit-scheduled", show_default=False)
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the correction back.")] = False,
) -> None:
    """Say what a conversation is: it wins over every score. What is not named stays as scored.

    Example: mirante score correct --tenant corpo --conversation 4711 --lead-class high
    """
    from ai_enrich.corrections import correct, undo_correction

    labels: dict[str, str | int | bool | None] = {
        "sentiment": sentiment, "intent": intent, "lead_class": lead_class,
        "lead_score": lead_score, "visit_scheduled": visit_scheduled,
    }  # fmt: skip
    with _migrated() as (_, warehouse):
        if undo:
            undo_correction(warehouse.dsn("owner"), tenant, conversation)
        else:
            correct(warehouse.dsn("owner"), tenant, conversation, labels, by)
    out.print("kept; the pages show it after the next `mirante build`")


@score_app.command("export")
def score_export(
    tenant: Annotated[str, typer.Option(metavar="SLUG")],
    file: Annotated[Path, typer.Option(help="JSON lines, for `mirante eval`; not overwritten.")],
) -> None:
    """Write conversations that people corrected as labelled examples, masked, for `mirante eval`.

    Of each the four labels are a person's: corrections that name fewer are left out.

    Example: mirante score export --tenant corpo --file corpo.jsonl
    """
    from ai_enrich.corrections import judged_examples
    from warehouse.embedded import write_private

    if file.exists():
        raise UsageError(f"--file {file} exists: give another name")
    with _migrated() as (_, warehouse):
        lines = list(judged_examples(warehouse.dsn("owner"), tenant))
    if not lines:
        out.print("no correction names all four labels yet: `mirante score correct --help`")
        return
    write_private(file, "".join(f"{line}\n" for line in lines))
    out.print(f"{len(lines):,} conversations: `mirante eval --file {file}`")


@score_app.command("costs")
def score_costs(tenant: TenantOption = None) -> None:
    """Show what scoring cost this month, by tenant and model, and what it may cost.

    Example: mirante score costs --tenant corpo
    """
    from ai_enrich.corrections import month_costs

    with _migrated() as (settings, warehouse):
        rows = month_costs(warehouse.dsn("owner"), tenant)
    table = Table("tenant", "model", "requests", "tokens in", "cached", "tokens out", "US$",
                  "uncertain US$", "budget US$", box=None)  # fmt: skip
    for slug, model, requests, tokens, cached, written, cost, uncertain, budget in rows:
        table.add_row(
            slug, model, f"{requests:,}", f"{tokens:,}", f"{cached:,}", f"{written:,}",
            f"{cost:.4f}", f"{uncertain:.4f}", "" if budget is None else f"{budget:.2f}",
        )  # fmt: skip
    out.print(table if rows else "nothing was asked of a provider this month")
    out.print(f"all tenants together may cost US$ {settings.ai_budget_usd:.2f} a month (UTC)")


def _ask_password() -> str:
    password = os.environ.get("MIRANTE_PASSWORD")
    if password is None:
        if not is_interactive():
            raise UsageError(
                "there is no terminal to ask for the password: set MIRANTE_PASSWORD, or send a"
                " link with `mirante user invite`"
            )
        password = str(
            typer.prompt(
                "Password (none: a one-time link)", default="", show_default=False,
                hide_input=True, confirmation_prompt=True,
            )
        )  # fmt: skip
    return password


if __name__ == "__main__":
    main()
