"""`mirante demo`: the whole path on a sample Chatwoot, and the dashboard on top."""

import fcntl
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import sql
from psycopg.errors import UndefinedTable
from rich import box
from rich.console import Console
from rich.table import Table

from warehouse import users
from warehouse.db import SAMPLE_DATABASE, SAMPLE_READER, Warehouse, fetch_all, open_warehouse
from warehouse.embedded import write_private
from warehouse.errors import MiranteError, UsageError
from warehouse.migrate import migrate
from warehouse.sample import SAMPLE_TENANTS, create_sample
from warehouse.settings import Settings
from warehouse.tenants import add_tenant, list_tenants

log = logging.getLogger(__name__)

DEFAULT_CONVERSATIONS = 4000
AGENCY_EMAIL = "agencia@mirante.example"
# Of the first tenant; the other log-ins of clients only read.
ADMIN_EMAIL, ADMIN = f"gestao@{SAMPLE_TENANTS[0].slug}.example", "admin"

# One row a tenant; the formulas are those of the KPI dictionary, read from the marts.
KPIS = """
with sums as (
    select
        tenant_id, sum(conversations) as conversations, sum(leads) as leads,
        sum(visits) as visits, sum(conversions) as conversions, sum(replies) as replies,
        sum(scored_conversations) as scored
    from marts.agg_daily
    group by tenant_id
), medians as (
    select
        tenant_id,
        percentile_cont(0.5) within group (order by first_reply_seconds) as first_reply_seconds,
        count(*) filter (where is_waiting) as waiting
    from marts.fct_conversations
    group by tenant_id
)
select
    tenants.name, tenants.slug, coalesce(sums.conversations, 0), coalesce(sums.leads, 0),
    round(100.0 * sums.leads / nullif(sums.conversations, 0), 1), coalesce(sums.visits, 0),
    coalesce(sums.conversions, 0), round(100.0 * sums.conversions / nullif(sums.leads, 0), 1),
    medians.first_reply_seconds, coalesce(medians.waiting, 0)
from marts.dim_tenants as tenants
left join sums on tenants.tenant_id = sums.tenant_id
left join medians on tenants.tenant_id = medians.tenant_id
order by sums.conversations desc nulls last
"""


class Steps:
    """Runs steps one by one, shows each while it runs, and remembers how long it took."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step under `name`."""
        started = time.perf_counter()
        with self.console.status(f"{name} …"):
            yield
        self.seconds[name] = time.perf_counter() - started
        self.console.print(f"  {name:<34}{self.seconds[name]:>6.1f} s")


def run_demo(
    settings: Settings, console: Console, *, conversations: int | None, serve: bool
) -> None:
    """Make what is missing, print each tenant's KPIs, then serve until Ctrl-C.

    A second run reuses everything. Raises UsageError when settings point at real systems.
    """
    for name, value in {
        "MIRANTE_WAREHOUSE_DSN": settings.warehouse_dsn,
        "MIRANTE_CHATWOOT_DSN": settings.chatwoot_dsn,
    }.items():
        if value is not None:
            raise UsageError(
                f"{name} is set, and the demo works only on its own sample: unset it, "
                "or use `mirante migrate` and `mirante run`"
            )
    steps = Steps(console)
    steps.console.print("[bold]Mirante demo[/bold]")
    with ExitStack() as stack:
        with steps.step("embedded PostgreSQL"):
            warehouse = stack.enter_context(open_warehouse(settings))
        with (settings.home / "demo.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MiranteError(
                    f"another demo is being made in {settings.home}: wait for it"
                ) from None
            _run_steps(settings, warehouse, steps, conversations)
        _print_kpis(warehouse, console)
        if serve:
            _print_logins(settings, warehouse, console)
            serve_dashboard(settings, warehouse, console)


def _run_steps(
    settings: Settings, warehouse: Warehouse, steps: Steps, conversations: int | None
) -> None:
    from ai_enrich.local import FAST_MODEL
    from ai_enrich.run import enrich
    from extract.pipeline import run_extract
    from warehouse.build import build

    with steps.step("sample Chatwoot"):
        make_sample(warehouse, conversations)
    with steps.step("roles, schemas, tenants, users"):
        migrate(warehouse)
        add_sample_tenants(warehouse)
        add_sample_users(settings, warehouse)
    with steps.step("extract (dlt)"):
        run_extract(warehouse.sample_dsn, warehouse.dsn("owner"), settings.home)
    with steps.step("build (dbt)"):
        build(settings, warehouse, only_if_changed=True)
    with steps.step("enrich (local model, the fast one)"):
        scored = enrich(warehouse.dsn("owner"), model=FAST_MODEL).scored
    with steps.step("build what follows the scores"):
        if scored:
            build(settings, warehouse, only_if_changed=True)


def make_sample(warehouse: Warehouse, conversations: int | None = None) -> None:
    """Create and fill the sample Chatwoot unless it is there, and its read-only log-in.

    Raises UsageError when one of another size is there.
    """
    admin = warehouse.admin_dsn
    sample_admin = warehouse.dsn("admin", SAMPLE_DATABASE)
    there = fetch_all(admin, "select 1 from pg_database where datname = %s", [SAMPLE_DATABASE])
    size = _sample_size(sample_admin) if there else None
    if size is None:
        with psycopg.connect(admin, autocommit=True) as connection:
            # What a killed demo left: no rows of it were extracted yet.
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(
                    sql.Identifier(SAMPLE_DATABASE)
                )
            )
            connection.execute(
                sql.SQL("create database {}").format(sql.Identifier(SAMPLE_DATABASE))
            )
        create_sample(sample_admin, conversations=conversations or DEFAULT_CONVERSATIONS)
    elif conversations is not None and conversations != size:
        raise UsageError(
            f"--conversations {conversations}: the demo here has {size}; "
            "delete the .mirante folder to start another"
        )
    _make_reader(sample_admin, warehouse.passwords["sample_reader"])


def _sample_size(dsn: str) -> int | None:
    try:
        rows = fetch_all(dsn, "select conversations from sample_truth.sample")
    except UndefinedTable:
        return None
    return int(rows[0][0]) if rows else None


def _make_reader(dsn: str, password: str) -> None:
    """The log-in that docs/source-role.md describes for a real Chatwoot."""
    from extract.tables import grant_statements

    reader = sql.Identifier(SAMPLE_READER)
    with psycopg.connect(dsn) as connection:
        exists = connection.execute(
            "select 1 from pg_roles where rolname = %s", [SAMPLE_READER]
        ).fetchone()
        connection.execute(
            sql.SQL("{} role {} login nosuperuser password {}").format(
                sql.SQL("alter" if exists else "create"), reader, sql.Literal(password)
            )
        )
        database = sql.Identifier(SAMPLE_DATABASE)
        connection.execute(sql.SQL("revoke all on database {} from public").format(database))
        connection.execute(sql.SQL("grant connect on database {} to {}").format(database, reader))
        for statement in grant_statements(SAMPLE_READER):
            connection.execute(statement.encode())


def add_sample_tenants(warehouse: Warehouse) -> dict[str, int]:
    """Add the sample's tenants that are missing; return every id by slug."""
    owner = warehouse.dsn("owner")
    there = {tenant.slug for tenant in list_tenants(owner)}
    for tenant in SAMPLE_TENANTS:
        if tenant.slug not in there:
            add_tenant(
                owner, slug=tenant.slug, name=tenant.name, segment=tenant.segment,
                timezone=tenant.timezone, account_ids=tenant.account_ids,
                inbox_ids=tenant.inbox_ids,
            )  # fmt: skip
    with psycopg.connect(owner) as connection:
        # The sample's shops mark a sale by a label; CRM files are imported by hand.
        connection.execute(
            "insert into app.funnel_rules (tenant_id, stage, kind, value)"
            " select id, 'converted', 'label', 'venda' from app.tenants where slug = any (%s)"
            " on conflict do nothing",
            [[tenant.slug for tenant in SAMPLE_TENANTS]],
        )
    return {tenant.slug: tenant.id for tenant in list_tenants(owner)}


def add_sample_users(settings: Settings, warehouse: Warehouse) -> dict[str, tuple[str, str]]:
    """One client log-in a tenant, an admin of the first and the agency's, generated.

    (e-mail, password) by slug; the admin's under `admin`, the agency's under "".
    `demo-logins.json` (0600) remembers them; without it they get new passwords.
    """
    owner = warehouse.dsn("owner")
    path = settings.home / "demo-logins.json"
    logins: dict[str, tuple[str, str]] = {}
    if path.exists():
        logins = {
            slug: (email, word) for slug, (email, word) in json.loads(path.read_text()).items()
        }
    known = {row[0] for row in fetch_all(owner, "select email from app.users")}
    for slug in [tenant.slug for tenant in SAMPLE_TENANTS] + [ADMIN, ""]:
        email = {ADMIN: ADMIN_EMAIL, "": AGENCY_EMAIL}.get(slug, f"cliente@{slug}.example")
        if email in known and slug in logins:
            continue
        password = users.generate_password()
        if email in known:
            users.set_password(owner, email, password)
        else:
            roles = {ADMIN: "admin", "": "super_admin"}
            of_tenant = SAMPLE_TENANTS[0].slug if slug == ADMIN else slug or None
            users.add_user(
                owner, email=email, password=password, tenant_slug=of_tenant,
                role=roles.get(slug, "client"),
            )  # fmt: skip
        logins[slug] = (email, password)
        write_private(path, json.dumps(logins, indent=2))
    return logins


def add_agency_second_factor(settings: Settings, warehouse: Warehouse) -> tuple[str, list[str]]:
    """The demo agency's key and the recovery codes that are left, so that it needs no phone.

    `demo-second-factor.json` (0600) remembers them. Made anew when another was set up, when it was
    taken off, or when no code is left.
    """
    owner, email = warehouse.dsn("owner"), AGENCY_EMAIL
    path = settings.home / "demo-second-factor.json"
    if path.exists():
        stored = json.loads(path.read_text())
        left = {
            bytes(row[0])
            for row in fetch_all(
                owner,
                "select codes.code_sha256 from app.recovery_codes as codes"
                " inner join app.users as users on codes.user_id = users.id"
                " where users.email = %s and users.totp_secret = %s",
                [email, stored["key"]],
            )
        }
        codes = [code for code in stored["codes"] if users.recovery_code_hash(code) in left]
        if codes:
            return stored["key"], codes
    key, codes = users.set_second_factor(owner, email)
    write_private(path, json.dumps({"key": key, "codes": codes}, indent=2))
    return key, codes


def _print_kpis(warehouse: Warehouse, console: Console) -> None:
    table = Table(title="Six months of each tenant", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("tenant", no_wrap=True)
    for heading in ("conversations", "leads", "lead rate", "visits", "won", "won/lead",
                    "1st reply", "waiting"):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for name, _, total, leads, lead_rate, visits, won, crm_rate, reply, waiting in fetch_all(
        warehouse.dsn("super"), KPIS
    ):
        table.add_row(
            name, f"{total:,}", f"{leads:,}", _percent(lead_rate), f"{visits:,}", f"{won:,}",
            _percent(crm_rate), _duration(reply), f"{waiting:,}",
        )  # fmt: skip
    console.print(table)
    console.print(
        "1st reply: median. won: by the label venda until a CRM file is imported."
        " Leads: by labels, phrases and the scores of the fast local model."
    )


def _percent(value: object) -> str:
    return "–" if value is None else f"{value} %"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _print_logins(settings: Settings, warehouse: Warehouse, console: Console) -> None:
    table = Table(title="Log-ins of this demo", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("sees", "e-mail", "password"):
        table.add_column(heading, no_wrap=True)
    names = {tenant.slug: tenant.name for tenant in SAMPLE_TENANTS}
    names[ADMIN] = f"{SAMPLE_TENANTS[0].name}, as its admin"
    for slug, (email, password) in add_sample_users(settings, warehouse).items():
        table.add_row(names.get(slug, "every client (agency)"), email, password)
    console.print(table)
    key, codes = add_agency_second_factor(settings, warehouse)
    console.print(
        "The agency's log-in asks for a second step. Type one of these codes (each works once):\n"
        f"  {'  '.join(codes[:3])}\n"
        f"or add this key to an authenticator app: {key}"
    )


def serve_dashboard(settings: Settings, warehouse: Warehouse, console: Console) -> None:
    """Serve the dashboard on the first free port from the setting's on, until Ctrl-C.

    Raises UsageError when this machine cannot listen on the host.
    """
    from dashboard.server import serve

    port = free_port(settings.host, settings.port)
    serve(
        warehouse.dsn("app"), host=settings.host, port=port, brand_name=settings.brand_name,
        cookie_secure=settings.cookie_secure, idle_hours=settings.session_idle_hours,
        session_days=settings.session_days, hash_key=warehouse.audit_key.decode(),
        public_url=settings.public_url, chatwoot_url=settings.chatwoot_url,
        trusted_proxies=settings.trusted_proxies,
        export_max_rows=settings.export_max_rows,
        ready=lambda address: console.print(
            f"\nDashboard (Ctrl-C stops everything): [bold]{address}[/bold]"
        ),
    )  # fmt: skip


def free_port(host: str, wanted: int) -> int:
    """`wanted` if it is free, else the next free of the following 100, else any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in [*range(wanted, min(wanted + 100, 65536)), 0] if wanted else [0]:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(f"MIRANTE_HOST {host!r}: this machine cannot listen on it")
