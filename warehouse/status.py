"""How the installation is: runs of the extraction, and per tenant how old its numbers are."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row

from warehouse.limits import Usage, read_usage

# Rows of a tenant as its marts have them; without marts there is nothing to count.
COUNTS = """
select
    tenant_id, coalesce(sum(conversations), 0)::bigint,
    coalesce(sum(contact_messages + agent_messages + bot_messages), 0)::bigint
from marts.agg_daily
group by tenant_id
"""

RUNS = """
select
    id, pass as pass_, status, started_at, finished_at,
    extract(epoch from coalesce(finished_at, now()) - started_at)::float8 as seconds,
    coalesce(rows_read, 0) as rows_read, coalesce(rows_changed, 0) as rows_changed,
    lag_seconds, drift, error
from app.sync_runs
order by id desc
limit %s
"""

TABLES = """
select
    source_table, watermark, rows_compared, rows_read, rows_inserted, rows_updated,
    rows_deleted, seconds
from app.sync_tables
where sync_run_id = (select max(id) from app.sync_runs where status = 'succeeded')
order by seconds desc, source_table
"""

# Extraction is of whole tables: what every tenant shares.
FRESHNESS = """
select
    last.finished_at,
    extract(epoch from now() - last.finished_at + last.lag_seconds * interval '1 s')::float8,
    (
        select error from (
            select finished_at, error from app.sync_runs where status = 'failed'
            union all
            select finished_at, error from app.builds where status = 'failed'
        ) as failures
        order by finished_at desc limit 1
    )
from (values (1)) as one (row)
left join lateral (
    select finished_at, coalesce(lag_seconds, 0) as lag_seconds
    from app.sync_runs where status = 'succeeded' order by id desc limit 1
) as last on true
"""


@dataclass(frozen=True)
class RunStatus:
    """One run of the extraction; `lag_seconds`: how old its data was at its end."""

    id: int
    pass_: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    seconds: float
    rows_read: int
    rows_changed: int
    lag_seconds: float | None
    drift: list[str]
    error: str | None


@dataclass(frozen=True)
class TableStatus:
    """What the last successful run did to one table of the source."""

    source_table: str
    watermark: str | None
    rows_compared: int
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    seconds: float


@dataclass(frozen=True)
class TenantStatus:
    """How a tenant's numbers are: rows in its marts, and how old what they come from is."""

    slug: str
    name: str
    status: str
    last_success_at: datetime | None
    lag_seconds: float | None
    conversations: int
    messages: int
    last_error: str | None
    limits: list[Usage]

    @property
    def limit_messages(self) -> list[str]:
        """A line for every limit of which 80 % or more is used."""
        return [usage.message for usage in self.limits if usage.reached]


@dataclass(frozen=True)
class Status:
    """All of it; tables and their watermarks are shared by all tenants."""

    runs: list[RunStatus]
    tables: list[TableStatus]
    tenants: list[TenantStatus]

    def as_json(self) -> dict[str, Any]:
        """Plain values, times in ISO 8601."""
        runs = [
            {"pass" if name == "pass_" else name: value for name, value in asdict(run).items()}
            for run in self.runs
        ]
        return {
            "shared_by_all_tenants": ["runs", "tables", "last_success_at", "lag_seconds"],
            "runs": runs,
            "tables": [asdict(table) for table in self.tables],
            "tenants": [
                asdict(tenant) | {"limits": [usage.as_json() for usage in tenant.limits]}
                for tenant in self.tenants
            ],
        }


def read_status(owner_dsn: str, *, runs: int = 10) -> Status:
    """The last runs, the tables of the last success, every tenant."""
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        last_runs = connection.cursor(row_factory=class_row(RunStatus)).execute(RUNS, [runs])
        tables = connection.cursor(row_factory=class_row(TableStatus)).execute(TABLES)
        finished_at, lag, last_error = connection.execute(FRESHNESS).fetchone() or (None,) * 3
        counts: dict[int, tuple[int, int]] = {}
        has_marts = connection.execute("select to_regclass('marts.agg_daily')").fetchone()
        if has_marts != (None,):
            counts = {row[0]: row[1:] for row in connection.execute(COUNTS)}
        usage = read_usage(connection)
        tenants = connection.execute("select id, slug, name, status from app.tenants order by slug")
        return Status(
            runs=last_runs.fetchall(),
            tables=tables.fetchall(),
            tenants=[
                TenantStatus(
                    slug=slug,
                    name=name,
                    status=status,
                    last_success_at=finished_at,
                    lag_seconds=lag,
                    conversations=counts.get(id_, (0, 0))[0],
                    messages=counts.get(id_, (0, 0))[1],
                    last_error=last_error,
                    limits=[part for part in usage if part.tenant_id == id_],
                )
                for id_, slug, name, status in tenants.fetchall()
            ],
        )
