"""What a tenant may use at most: users, inboxes; conversations and AI of a calendar month."""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Literal, LiteralString

import psycopg
from psycopg import Connection

from warehouse.audit import Actor, record
from warehouse.errors import MiranteError, UsageError

LimitName = Literal["users", "inboxes", "conversations", "ai_usd"]
WARNING_PERCENT = 80

USERS = """
select tenant_id, count(*) from app.users where is_active and tenant_id is not null group by 1
"""
INBOXES = """
select tenant_id, count(*) from app.tenant_inboxes group by 1
"""
# Those of an owned account count too, new ones included, once they were extracted.
INBOXES_WITH_ACCOUNTS = """
select tenant_id, count(*) from (
    select tenant_id, inbox_id from app.tenant_inboxes
    union all
    select accounts.tenant_id, inboxes.id
    from app.tenant_accounts as accounts
    inner join raw_chatwoot.inboxes as inboxes on accounts.account_id = inboxes.account_id
    where inboxes._deleted_at is null and not exists (
        select 1 from app.tenant_inboxes as owned where owned.inbox_id = inboxes.id
    )
) as owned
group by 1
"""
CONVERSATIONS = """
select tenants.id, (
    select count(*) from marts.fct_conversations as conversations
    where conversations.tenant_id = tenants.id and conversations.created_date
        >= date_trunc('month', now() at time zone tenants.timezone)::date
)
from app.tenants as tenants
"""
SPENDING = """
select tenant_id, spent_usd from ai.month_spending
"""
# A budget of nothing is a switch, not a limit that is reached.
LIMITS = """
select
    tenants.id, tenants.slug,
    limits.max_users, limits.max_inboxes, limits.max_conversations_per_month,
    nullif(limits.ai_budget_usd, 0),
    to_char(now() at time zone tenants.timezone, 'YYYY-MM'),
    to_char(now() at time zone 'utc', 'YYYY-MM')
from app.tenant_limits as limits
inner join app.tenants as tenants on limits.tenant_id = tenants.id
where tenants.purge_after is null
order by tenants.slug
"""


@dataclass(frozen=True)
class Usage:
    """One limit of one tenant: `used` of `limit`, counted or (ai_usd) in US dollars.

    `month` is the tenant's, of ai_usd that of UTC, as YYYY-MM.
    """

    tenant_id: int
    slug: str
    name: LimitName
    used: int | Decimal
    limit: int | Decimal
    month: str

    @property
    def percent(self) -> int:
        """Rounded down: 100 only when there is nothing left."""
        return int(self.used * 100 // self.limit)

    @property
    def reached(self) -> int:
        """100, 80 or 0: the threshold that was passed."""
        return 100 if self.percent >= 100 else WARNING_PERCENT * (self.percent >= WARNING_PERCENT)

    @property
    def message(self) -> str:
        """One line for the agency, with what follows."""
        amounts = f"{self.used:,} of {self.limit:,}"
        what = f"{self.name} in {self.month}" if self.name == "conversations" else self.name
        if self.name == "ai_usd":
            amounts = f"US$ {self.used:,.2f} of US$ {self.limit:,.2f}"
            what = f"for AI in {self.month}"
        follows = {
            "users": "no other can be added",
            "inboxes": "no other can be assigned",
            "conversations": "nothing is cut: talk about another plan",
            "ai_usd": "the local model scores until the month ends",
        }[self.name]
        line = f"tenant {self.slug}: {amounts} {what} ({self.percent} %)"
        return f"{line}; {follows}" if self.reached == 100 else line

    def as_json(self) -> dict[str, Any]:
        """Plain values, the percentage among them."""
        values = {k: v for k, v in asdict(self).items() if k not in ("tenant_id", "slug")}
        numbers = {"used": _plain(self.used), "limit": _plain(self.limit)}
        return values | numbers | {"percent": self.percent}


def _plain(value: int | Decimal | None) -> int | float | None:
    """As JSON has it."""
    return float(value) if isinstance(value, Decimal) else value


def read_usage(connection: Connection[Any], slug: str | None = None) -> list[Usage]:
    """Use of every limit that is set, by tenant; conversations as of the last build."""
    rows = connection.execute(LIMITS).fetchall()
    if not any(value for row in rows for value in row[2:6]):
        return []
    has_raw, has_marts = connection.execute(
        "select to_regclass('raw_chatwoot.inboxes'), to_regclass('marts.fct_conversations')"
    ).fetchone() or (None, None)
    counts: dict[LimitName, dict[int, Any]] = {
        "users": _count(connection, USERS),
        "inboxes": _count(connection, INBOXES_WITH_ACCOUNTS if has_raw else INBOXES),
        "conversations": _count(connection, CONVERSATIONS) if has_marts else {},
        "ai_usd": _count(connection, SPENDING),
    }
    return [
        Usage(
            tenant_id, tenant_slug, name, counts[name].get(tenant_id, 0), limit,
            utc_month if name == "ai_usd" else month,
        )
        for tenant_id, tenant_slug, *bounds, month, utc_month in rows
        for name, limit in zip(counts, bounds, strict=True)
        if limit is not None and slug in (None, tenant_slug)
    ]  # fmt: skip


def _count(connection: Connection[Any], query: LiteralString) -> dict[int, Any]:
    return dict(connection.execute(query).fetchall())


def warnings(owner_dsn: str, slug: str | None = None) -> list[str]:
    """A line for every limit of which 80 % or more is used."""
    with psycopg.connect(owner_dsn) as connection:
        return [usage.message for usage in read_usage(connection, slug) if usage.reached]


def refuse_above(connection: Connection[Any], tenant_id: int, name: LimitName) -> None:
    """Raise MiranteError when the transaction has taken the tenant above its limit."""
    for usage in read_usage(connection):
        if (usage.tenant_id, usage.name) == (tenant_id, name) and usage.used > usage.limit:
            raise MiranteError(
                f"tenant {usage.slug} would have {usage.used} {name} and may have {usage.limit}: "
                f"raise --max-{name}, or change its plan (`mirante tenant edit --help`)"
            )


def record_reached(owner_dsn: str, actor: Actor) -> list[str]:
    """Warnings as `warnings` gives them; each goes into the audit log once a month."""
    with psycopg.connect(owner_dsn) as connection:
        reached = [usage for usage in read_usage(connection) if usage.reached]
        for usage in reached:
            target = f"limit:{usage.name}:{usage.month}"
            known = connection.execute(
                "select 1 from app.audit_log where action = 'limit.reach' and tenant_id = %s"
                " and target = %s and after ->> 'percent' = %s",
                [usage.tenant_id, target, str(usage.reached)],
            ).fetchone()
            if known is None:
                record(
                    connection, "limit.reach", actor=actor, tenant_id=usage.tenant_id,
                    target=target,
                    after={
                        "percent": usage.reached, "used": _plain(usage.used),
                        "limit": _plain(usage.limit),
                    },
                )  # fmt: skip
    return [usage.message for usage in reached]


@dataclass(frozen=True)
class Plan:
    """A row of app.plans; None: no limit."""

    name: str
    max_users: int | None
    max_inboxes: int | None
    max_conversations_per_month: int | None
    max_ai_budget_usd: Decimal | None = None


def list_plans(owner_dsn: str) -> list[Plan]:
    """All plans by name."""
    with psycopg.connect(owner_dsn) as connection:
        return [
            Plan(*row)
            for row in connection.execute(
                "select name, max_users, max_inboxes, max_conversations_per_month,"
                " max_ai_budget_usd from app.plans order by name"
            )
        ]


def set_plan(owner_dsn: str, plan: Plan, actor: Actor) -> None:
    """Make a plan or give it these limits. Raises UsageError on a bad name or limit."""
    with psycopg.connect(owner_dsn) as connection:
        before = connection.execute(
            "select max_users, max_inboxes, max_conversations_per_month, max_ai_budget_usd"
            " from app.plans where name = %s for update",
            [plan.name],
        ).fetchone()
        values = asdict(plan)
        try:
            connection.execute(
                """
                insert into app.plans (
                    name, max_users, max_inboxes, max_conversations_per_month, max_ai_budget_usd
                )
                values (
                    %(name)s, %(max_users)s, %(max_inboxes)s, %(max_conversations_per_month)s,
                    %(max_ai_budget_usd)s
                )
                on conflict (name) do update set
                    max_users = excluded.max_users, max_inboxes = excluded.max_inboxes,
                    max_conversations_per_month = excluded.max_conversations_per_month,
                    max_ai_budget_usd = excluded.max_ai_budget_usd,
                    updated_at = now()
                """,
                values,
            )
        except psycopg.errors.CheckViolation as error:
            what = (error.diag.constraint_name or "").removeprefix("plans_").removesuffix("_check")
            raise UsageError(
                f"--{what.replace('_', '-')} of plan {plan.name!r} is refused"
            ) from None
        names = list(values)[1:]
        record(
            connection, "plan.set", actor=actor, target=f"plan:{plan.name}",
            before=dict(zip(names, map(_plain, before), strict=True)) if before else None,
            after={name: _plain(values[name]) for name in names},
        )  # fmt: skip
