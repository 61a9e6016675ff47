"""Tenants: adding, changing, suspending, and leaving with a grace period."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString

import psycopg
from psycopg import Connection, sql
from psycopg.errors import CheckViolation, ForeignKeyViolation, UniqueViolation
from psycopg.rows import class_row

from warehouse import analysts, ownership
from warehouse.audit import SYSTEM, Actor, record, without_personal
from warehouse.db import Warehouse
from warehouse.errors import MiranteError, UsageError

log = logging.getLogger(__name__)

SEGMENTS = ("gym", "clinic", "shop", "school", "general")
# KPI definition of every new tenant's funnel; segment packs add labels and keywords.
DEFAULT_RULES = (
    ("lead", "ai", "lead_class=high"),
    ("lead", "ai", "lead_class=medium"),
    ("visit_scheduled", "ai", "visit_scheduled=true"),
    ("converted", "crm", ""),
)
GRACE_DAYS = 30
# To be purged: the one that is asked for, else all whose grace is over.
IS_DUE: LiteralString = (
    "purge_after is not null"
    " and case when %(slug)s::text is null then purge_after <= now() else slug = %(slug)s end"
)
# What `edit_tenant` changes; of the limits None is the plan's.
EDITABLE = (
    "slug", "name", "segment", "timezone", "currency", "plan",
    "max_users", "max_inboxes", "max_conversations_per_month",
    "ai_budget_usd", "ai_outside_allowed",
)  # fmt: skip


@dataclass(frozen=True)
class Tenant:
    """A row of app.tenants with what it owns."""

    id: int
    slug: str
    name: str
    segment: str
    timezone: str
    currency: str
    status: str
    plan: str
    purge_after: datetime | None
    account_ids: list[int]
    inbox_ids: list[int]


def add_tenant(
    owner_dsn: str,
    *,
    slug: str,
    name: str,
    segment: str,
    timezone: str = "America/Sao_Paulo",
    currency: str = "BRL",
    account_ids: Sequence[int] = (),
    inbox_ids: Sequence[int] = (),
    actor: Actor = SYSTEM,
) -> int:
    """Insert a tenant with its accounts, inboxes and default funnel rules; return its id.

    All or nothing. Raises UsageError on a bad value, MiranteError on a slug, inbox or account
    that is taken.
    """
    if segment not in SEGMENTS:
        raise UsageError(f"--segment {segment!r}: use one of {', '.join(SEGMENTS)}")
    with psycopg.connect(owner_dsn) as connection:
        _check_timezone(connection, timezone)
        try:
            row = connection.execute(
                "insert into app.tenants (slug, name, segment, timezone, currency)"
                " values (%s, %s, %s, %s, %s) returning id",
                [slug, name, segment, timezone, currency],
            ).fetchone()
        except UniqueViolation:
            raise MiranteError(f"--slug {slug!r} is taken: see `mirante tenant list`") from None
        except CheckViolation as error:
            raise UsageError(_explain(error, slug=slug, name=name, currency=currency)) from None
        assert row is not None  # noqa: S101  # insert … returning gives one row
        tenant_id = int(row[0])
        record(
            connection, "tenant.add", actor=actor, tenant_id=tenant_id,
            target=f"tenant:{tenant_id}", after={"slug": slug, "segment": segment},
        )  # fmt: skip
        ownership.own(
            connection, ownership.find_tenant(connection, slug),
            inbox_ids=inbox_ids, account_ids=account_ids, actor=actor,
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.executemany(
                "insert into app.funnel_rules (tenant_id, stage, kind, value)"
                " values (%s, %s, %s, %s)",
                [(tenant_id, *rule) for rule in DEFAULT_RULES],
            )
        connection.execute("select nextval('app.data_version')")
    log.info("tenant %s added with id %s", slug, tenant_id)
    return tenant_id


def list_tenants(owner_dsn: str) -> list[Tenant]:
    """All tenants by slug."""
    with (
        psycopg.connect(owner_dsn) as connection,
        connection.cursor(row_factory=class_row(Tenant)) as cursor,
    ):
        return cursor.execute(
            """
            select
                id, slug, name, segment, timezone, currency, status, plan, purge_after,
                array(
                    select account_id from app.tenant_accounts as accounts
                    where accounts.tenant_id = tenants.id order by 1
                ) as account_ids,
                array(
                    select inbox_id from app.tenant_inboxes as inboxes
                    where inboxes.tenant_id = tenants.id order by 1
                ) as inbox_ids
            from app.tenants as tenants
            order by slug
            """
        ).fetchall()


def edit_tenant(owner_dsn: str, slug: str, changes: Mapping[str, Any], actor: Actor) -> list[str]:
    """Change columns of EDITABLE; return the names of those that differ now.

    The marts follow with the next build: a new zone moves days, a new segment its pack. Raises
    UsageError on a bad value or an unknown tenant, MiranteError on a slug that is taken.
    """
    unknown = set(changes) - set(EDITABLE)
    if unknown:
        raise ValueError(f"not editable: {', '.join(sorted(unknown))}")
    if changes.get("segment", SEGMENTS[0]) not in SEGMENTS:
        raise UsageError(f"--segment {changes['segment']!r}: use one of {', '.join(SEGMENTS)}")
    with psycopg.connect(owner_dsn) as connection:
        tenant = ownership.find_tenant(connection, slug)
        if "timezone" in changes:
            _check_timezone(connection, changes["timezone"])
        columns = sql.SQL(", ").join(map(sql.Identifier, EDITABLE))
        row = connection.execute(
            sql.SQL("select {} from app.tenants where id = %s").format(columns), [tenant.id]
        ).fetchone()
        before = {
            name: float(value) if isinstance(value, Decimal) else value
            for name, value in zip(EDITABLE, row or (), strict=True)
        }
        changed = {name: value for name, value in changes.items() if before[name] != value}
        if not changed:
            return []
        try:
            connection.execute(
                sql.SQL("update app.tenants set {}, updated_at = now() where id = %s").format(
                    sql.SQL(", ").join(
                        sql.SQL("{} = %s").format(sql.Identifier(name)) for name in changed
                    )
                ),
                [*changed.values(), tenant.id],
            )
        except UniqueViolation:
            raise MiranteError(
                f"--new-slug {changes['slug']!r} is taken: see `mirante tenant list`"
            ) from None
        except ForeignKeyViolation:
            raise UsageError(
                f"--plan {changes['plan']!r} does not exist: see `mirante tenant plans`"
            ) from None
        except (CheckViolation, psycopg.errors.NumericValueOutOfRange) as error:
            raise UsageError(_explain(error, **changes)) from None
        record(
            connection, "tenant.edit", actor=actor, tenant_id=tenant.id,
            target=f"tenant:{tenant.id}",
            before=without_personal({name: before[name] for name in changed}),
            after=without_personal(changed),
        )  # fmt: skip
        ownership.touch(connection, tenant.id)
    ownership.raise_data_version(owner_dsn)
    return list(changed)


def suspend_tenant(warehouse: Warehouse, slug: str, actor: Actor) -> None:
    """Shut a tenant's people out at once; its data goes on being built.

    Sessions of the dashboard end, SQL log-ins see no row, then lose their connections. Raises
    MiranteError when it is not active, or when its log-ins could not be disconnected.
    """
    _change_status(warehouse, slug, "suspended", actor, allowed=("active",))


def cancel_tenant(warehouse: Warehouse, slug: str, actor: Actor) -> None:
    """End a contract: as suspended, and told apart from it. Its data stays."""
    _change_status(warehouse, slug, "cancelled", actor, allowed=("active", "suspended"))


def restore_tenant(warehouse: Warehouse, slug: str, actor: Actor) -> None:
    """Make a suspended, cancelled or deleted tenant active again, as it was."""
    _change_status(warehouse, slug, "active", actor, allowed=("suspended", "cancelled"))


def delete_tenant(
    warehouse: Warehouse, slug: str, actor: Actor, *, grace_days: int = GRACE_DAYS
) -> datetime:
    """Cancel a tenant and mark it for purging after the grace period; return that moment.

    `restore_tenant` brings it back until then. A second call moves the moment.
    """
    owner = warehouse.dsn("owner")
    with psycopg.connect(owner) as connection:
        tenant = ownership.find_tenant(connection, slug)
        (purge_after,) = connection.execute(
            "update app.tenants set status = 'cancelled',"
            " purge_after = now() + make_interval(days => %s) where id = %s returning purge_after",
            [grace_days, tenant.id],
        ).fetchone() or (None,)
        assert purge_after is not None  # noqa: S101  # the row is locked
        record(
            connection, "tenant.delete", actor=actor, tenant_id=tenant.id,
            target=f"tenant:{tenant.id}", before={"status": tenant.status},
            after={"status": "cancelled", "purge_after": purge_after.isoformat()},
        )  # fmt: skip
        ownership.touch(connection, tenant.id)
    ownership.raise_data_version(owner)
    analysts.disable(warehouse, tenant.id)
    return purge_after  # type: ignore[no-any-return]


def purge_tenants(
    warehouse: Warehouse, actor: Actor, *, slug: str | None = None
) -> list[tuple[str, int]]:
    """Remove deleted tenants whose grace is over; with `slug` that one, its grace over or not.

    Their rows leave marts, intermediate, ai and app in one transaction each, their SQL log-ins the
    server. Stays: the audit log, and what Chatwoot still has in raw_chatwoot, as nobody's. Returns
    (slug, rows). Raises MiranteError on a tenant that was not deleted before.
    """
    owner = warehouse.dsn("owner")
    with psycopg.connect(owner) as connection:
        if slug is not None:
            tenant = ownership.find_tenant(connection, slug)
            if tenant.purge_after is None:
                raise MiranteError(
                    f"tenant {slug!r} is not deleted: `mirante tenant delete --slug {slug}` first"
                )
        due = connection.execute(
            f"select id, slug from app.tenants as tenants where {IS_DUE} order by 1",  # noqa: S608
            {"slug": slug},
        ).fetchall()
    purged = []
    for tenant_id, its_slug in due:
        with psycopg.connect(owner) as connection:
            ownership.wait_for_build(connection)
            row = connection.execute(
                f"select {IS_DUE} from app.tenants where id = %(id)s for update",  # noqa: S608
                {"id": tenant_id, "slug": slug},
            ).fetchone()
            if row != (True,):  # brought back, or given longer, meanwhile
                continue
            analysts.remove_all(warehouse, tenant_id, actor)
            rows = _remove_everything(connection, tenant_id)
            record(
                connection, "tenant.purge", actor=actor, tenant_id=tenant_id,
                target=f"tenant:{tenant_id}", after={"slug": its_slug, "rows_removed": rows},
            )  # fmt: skip
            connection.execute("select nextval('app.data_version')")
        ownership.raise_data_version(owner)
        purged.append((its_slug, rows))
    return purged


def _remove_everything(connection: Connection[Any], tenant_id: int) -> int:
    """Every row with the tenant's id in a table of ours, by the catalogue; then the tenant."""
    tables = connection.execute(
        """
        select relations.relnamespace::regnamespace::text, relations.relname::text
        from pg_class as relations
        inner join pg_attribute as columns
            on columns.attrelid = relations.oid and columns.attname = 'tenant_id'
        where relations.relnamespace::regnamespace::text in ('marts', 'intermediate', 'ai', 'app')
            and relations.relkind in ('r', 'p') and not relations.relispartition
            and has_table_privilege(relations.oid, 'delete')
        order by relations.relnamespace::regnamespace::text = 'app', relations.relname
        """
    ).fetchall()
    removed = 0
    for schema, table in tables:
        if schema == "app":  # the tenant's row takes them along, in the order of their keys
            continue
        removed += connection.execute(
            sql.SQL("delete from {} where tenant_id = %s").format(sql.Identifier(schema, table)),
            [tenant_id],
        ).rowcount
    connection.execute("delete from app.tenants where id = %s", [tenant_id])
    for schema, table in tables:
        left = connection.execute(
            sql.SQL("delete from {} where tenant_id = %s").format(sql.Identifier(schema, table)),
            [tenant_id],
        ).rowcount
        removed += left
    return removed


def _change_status(
    warehouse: Warehouse, slug: str, status: str, actor: Actor, *, allowed: tuple[str, ...]
) -> None:
    owner = warehouse.dsn("owner")
    with psycopg.connect(owner) as connection:
        tenant = ownership.find_tenant(connection, slug)
        if tenant.status not in allowed:
            raise MiranteError(f"tenant {slug!r} is {tenant.status} already")
        connection.execute(
            "update app.tenants set status = %s, purge_after = null where id = %s",
            [status, tenant.id],
        )
        verb = {"suspended": "suspend", "cancelled": "cancel", "active": "restore"}[status]
        record(
            connection, f"tenant.{verb}", actor=actor, tenant_id=tenant.id,
            target=f"tenant:{tenant.id}", before={"status": tenant.status},
            after={"status": status},
        )  # fmt: skip
        ownership.touch(connection, tenant.id)
    ownership.raise_data_version(owner)
    if status == "active":
        analysts.enable(warehouse, tenant.id)
    else:
        analysts.disable(warehouse, tenant.id)


def _check_timezone(connection: Connection, timezone: str) -> None:
    known = connection.execute(
        "select name from pg_timezone_names where lower(name) = lower(%s)", [timezone]
    ).fetchone()
    if known is None or known[0] != timezone:
        hint = f"did you mean {known[0]}?" if known else "use an IANA name, e.g. America/Sao_Paulo"
        raise UsageError(f"--timezone {timezone!r} is unknown: {hint}")


def _explain(error: psycopg.Error, **values: object) -> str:
    constraint = error.diag.constraint_name or ""
    for column, value in values.items():
        if constraint == f"tenants_{column}_check" or column == error.diag.column_name:
            rule = {
                "slug": "1 to 63 lower-case letters, digits and inner hyphens",
                "currency": "an ISO code such as BRL",
                "name": "not empty",
            }.get(column, "a number above 0")
            return f"--{column.replace('_', '-')} {value!r}: {rule}"
    return f"tenant refused by {constraint or 'the database'}"
