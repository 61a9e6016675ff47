"""Tenants and what they own in Chatwoot."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import Connection
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.rows import class_row

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
        for account_id in dict.fromkeys(account_ids):
            _own(connection, "account", account_id, tenant_id)
        for inbox_id in dict.fromkeys(inbox_ids):
            _own(connection, "inbox", inbox_id, tenant_id)
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
                id, slug, name, segment, timezone, currency, status, plan,
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


def _check_timezone(connection: Connection, timezone: str) -> None:
    known = connection.execute(
        "select name from pg_timezone_names where lower(name) = lower(%s)", [timezone]
    ).fetchone()
    if known is None or known[0] != timezone:
        hint = f"did you mean {known[0]}?" if known else "use an IANA name, e.g. America/Sao_Paulo"
        raise UsageError(f"--timezone {timezone!r} is unknown: {hint}")


def _own(connection: Connection, kind: str, source_id: int, tenant_id: int) -> None:
    table, column = {
        "account": ("app.tenant_accounts", "account_id"),
        "inbox": ("app.tenant_inboxes", "inbox_id"),
    }[kind]
    try:
        connection.execute(
            f"insert into {table} ({column}, tenant_id) values (%s, %s)",  # noqa: S608  # ours
            [source_id, tenant_id],
        )
    except UniqueViolation:
        connection.rollback()
        owner = connection.execute(
            f"select tenants.slug from {table} as owned"  # noqa: S608  # ours
            f" inner join app.tenants as tenants on owned.tenant_id = tenants.id"
            f" where owned.{column} = %s",
            [source_id],
        ).fetchone()
        taken_by = owner[0] if owner else "another tenant"
        raise MiranteError(f"--{kind} {source_id} already belongs to {taken_by!r}") from None
    except CheckViolation:
        raise UsageError(f"--{kind} {source_id}: ids of Chatwoot are positive numbers") from None


def _explain(error: CheckViolation, **values: str) -> str:
    constraint = error.diag.constraint_name or ""
    for column, value in values.items():
        if constraint == f"tenants_{column}_check":
            rule = {
                "slug": "1 to 63 lower-case letters, digits and inner hyphens",
                "currency": "an ISO code such as BRL",
                "name": "not empty",
            }[column]
            return f"--{column} {value!r}: {rule}"
    return f"tenant refused by {constraint}"
