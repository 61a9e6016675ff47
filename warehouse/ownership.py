"""Who owns which inbox of Chatwoot: assigning, taking from another tenant, finding nobody's."""

import logging
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import Connection, sql
from psycopg.errors import CheckViolation
from psycopg.rows import class_row

from warehouse import limits
from warehouse.audit import Actor, record
from warehouse.build import LOCK_KEY as BUILD_LOCK
from warehouse.errors import MiranteError, UsageError

log = logging.getLogger(__name__)

# A build that runs meanwhile would write back what is taken away here.
BUILD_WAIT = "15min"
# Tables of marts without these columns are sums over all inboxes of the tenant.
UNTOUCHED = frozenset({("marts", "dim_tenants"), ("app", "tenant_inboxes")})


@dataclass(frozen=True)
class TenantRow:
    """What ownership needs to know of a tenant, its row locked until the transaction ends."""

    id: int
    slug: str
    status: str
    purge_after: datetime | None


@dataclass(frozen=True)
class Taken:
    """Inboxes a tenant lost, and how many rows of its marts and scores went with them."""

    from_slug: str
    inbox_ids: tuple[int, ...]
    rows: int


@dataclass(frozen=True)
class Unowned:
    """An inbox in the source that no tenant owns; `proposal` is a command line to change that."""

    account_id: int
    account_name: str
    inbox_id: int
    inbox_name: str
    channel: str
    conversations: int
    last_conversation_at: datetime | None
    proposal: str


def find_tenant(connection: Connection[Any], slug: str, *, option: str = "--slug") -> TenantRow:
    """The tenant's row, locked. Raises UsageError naming `option` when there is none."""
    found = (
        connection.cursor(row_factory=class_row(TenantRow))
        .execute(
            "select id, slug, status, purge_after from app.tenants where slug = %s"
            " for no key update",
            [slug],
        )
        .fetchone()
    )
    if found is None:
        raise UsageError(f"{option} {slug!r} does not exist: see `mirante tenant list`")
    return found


def touch(connection: Connection[Any], *tenant_ids: int) -> None:
    """Mark tenants as changed: the next build has work, and no page keeps what it has cached."""
    connection.execute(
        "update app.tenants set updated_at = clock_timestamp() where id = any (%s)",
        [list(tenant_ids)],
    )
    connection.execute("select nextval('app.data_version')")


def raise_data_version(owner_dsn: str) -> None:
    """Once more after a commit: a page that read between the first rise and it cached the old."""
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute("select nextval('app.data_version')")


def assign(
    owner_dsn: str,
    *,
    slug: str,
    inbox_ids: Sequence[int] = (),
    account_ids: Sequence[int] = (),
    from_slug: str | None = None,
    actor: Actor,
) -> list[Taken]:
    """Give inboxes or whole accounts to a tenant, all or nothing; a second run changes nothing.

    What belongs to another tenant is taken only when `from_slug` names it; then the other's rows
    of it are gone from marts and scores in the same transaction, which waits for a build that
    runs. The new owner gets the whole history with the next build. Raises UsageError on a bad
    value, MiranteError on something taken, on a limit, on a build that does not end.
    """
    with psycopg.connect(owner_dsn) as connection:
        if from_slug is not None:  # before any row is locked that others wait for
            wait_for_build(connection)
        tenant = find_tenant(connection, slug)
        taken = own(
            connection, tenant, inbox_ids=inbox_ids, account_ids=account_ids,
            from_slug=from_slug, actor=actor,
        )  # fmt: skip
    raise_data_version(owner_dsn)
    return taken


def own(
    connection: Connection[Any],
    tenant: TenantRow,
    *,
    inbox_ids: Iterable[int],
    account_ids: Iterable[int],
    from_slug: str | None = None,
    actor: Actor,
) -> list[Taken]:
    """`assign` within the caller's transaction."""
    if tenant.purge_after:
        raise MiranteError(
            f"tenant {tenant.slug!r} is deleted: `mirante tenant restore --slug {tenant.slug}`"
        )
    from_id = None
    if from_slug is not None:
        if from_slug == tenant.slug:
            raise UsageError(f"--from {from_slug!r} is the tenant itself")
        from_id = find_tenant(connection, from_slug, option="--from").id
    # Two at once would both find an inbox free.
    connection.execute(
        "lock table app.tenant_inboxes, app.tenant_accounts in share row exclusive mode"
    )
    lost: dict[int, set[int]] = {}
    before = _owned(connection, tenant.id)
    for account_id in dict.fromkeys(account_ids):
        owner = _account_owner(connection, account_id)
        if owner == tenant.id:
            continue
        if owner is not None:
            _refuse_theft(connection, "account", account_id, owner, from_id)
            lost.setdefault(owner, set()).update(_inboxes_by_account(connection, account_id))
        _write(connection, "account", account_id, tenant.id)
        record(
            connection, "tenant.assign_account", actor=actor, tenant_id=tenant.id,
            target=f"account:{account_id}", before={"tenant_id": owner},
            after={"tenant_id": tenant.id},
        )  # fmt: skip
    for inbox_id in dict.fromkeys(inbox_ids):
        explicit, owner = _inbox_owner(connection, inbox_id)
        if explicit == tenant.id:
            continue
        if owner is not None and owner != tenant.id:
            _refuse_theft(connection, "inbox", inbox_id, owner, from_id)
            lost.setdefault(owner, set()).add(inbox_id)
        _write(connection, "inbox", inbox_id, tenant.id)
        record(
            connection, "tenant.assign_inbox", actor=actor, tenant_id=tenant.id,
            target=f"inbox:{inbox_id}", before={"tenant_id": owner},
            after={"tenant_id": tenant.id},
        )  # fmt: skip
    if _owned(connection, tenant.id) == before:
        return []
    limits.refuse_above(connection, tenant.id, "inboxes")
    taken = _take_away(connection, lost, actor)
    touch(connection, tenant.id, *lost)
    return taken


def release(owner_dsn: str, *, slug: str, inbox_ids: Sequence[int], actor: Actor) -> list[Taken]:
    """Take inboxes from a tenant for nobody, with their rows, at once.

    Raises UsageError when the tenant owns one not at all, or only by owning its account.
    """
    with psycopg.connect(owner_dsn) as connection:
        wait_for_build(connection)
        tenant = find_tenant(connection, slug)
        connection.execute("lock table app.tenant_inboxes in share row exclusive mode")
        for inbox_id in dict.fromkeys(inbox_ids):
            gone = connection.execute(
                "delete from app.tenant_inboxes where inbox_id = %s and tenant_id = %s returning 1",
                [inbox_id, tenant.id],
            ).fetchone()
            if gone is None:
                raise UsageError(f"--inbox {inbox_id} was not assigned to {slug!r}")
            heir = _inbox_owner(connection, inbox_id)[1]
            if heir == tenant.id:
                raise UsageError(
                    f"--inbox {inbox_id}: its account is {slug!r}'s, so it would stay: "
                    "assign the account or the inbox to another tenant"
                )
            record(
                connection, "tenant.release_inbox", actor=actor, tenant_id=tenant.id,
                target=f"inbox:{inbox_id}", before={"tenant_id": tenant.id},
                after={"tenant_id": heir},
            )  # fmt: skip
            if heir is not None:  # who owns the account has it now
                touch(connection, heir)
        taken = _take_away(connection, {tenant.id: set(inbox_ids)}, actor)
        touch(connection, tenant.id)
    raise_data_version(owner_dsn)
    return taken


def _write(connection: Connection[Any], kind: str, source_id: int, tenant_id: int) -> None:
    table = sql.Identifier("app", {"account": "tenant_accounts", "inbox": "tenant_inboxes"}[kind])
    column = sql.Identifier(f"{kind}_id")
    try:
        # Its time tells a build that the ownership is new.
        connection.execute(
            sql.SQL(
                "insert into {table} ({column}, tenant_id) values (%s, %s) on conflict ({column})"
                " do update set tenant_id = excluded.tenant_id, created_at = clock_timestamp()"
            ).format(table=table, column=column),
            [source_id, tenant_id],
        )
    except (CheckViolation, psycopg.errors.NumericValueOutOfRange):
        raise UsageError(f"--{kind} {source_id}: ids of Chatwoot are positive numbers") from None


def _refuse_theft(
    connection: Connection[Any], kind: str, source_id: int, owner: int, from_id: int | None
) -> None:
    if owner == from_id:
        return
    (slug,) = connection.execute(
        "select slug from app.tenants where id = %s", [owner]
    ).fetchone() or ("another tenant",)
    raise MiranteError(
        f"--{kind} {source_id} already belongs to {slug!r}: to take it from there, with its rows, "
        f"`mirante tenant assign-inbox --slug … --{kind} {source_id} --from {slug}`"
    )


def _account_owner(connection: Connection[Any], account_id: int) -> int | None:
    row = connection.execute(
        "select tenant_id from app.tenant_accounts where account_id = %s", [account_id]
    ).fetchone()
    return row[0] if row else None


def _inbox_owner(connection: Connection[Any], inbox_id: int) -> tuple[int | None, int | None]:
    """The tenant that has the inbox by name, and the one that has it at all."""
    row = connection.execute(
        "select tenant_id from app.tenant_inboxes where inbox_id = %s", [inbox_id]
    ).fetchone()
    if row:
        return row[0], row[0]
    if not _exists(connection, "raw_chatwoot.inboxes"):
        return None, None
    row = connection.execute(
        "select accounts.tenant_id from raw_chatwoot.inboxes as inboxes"
        " inner join app.tenant_accounts as accounts on inboxes.account_id = accounts.account_id"
        " where inboxes.id = %s",
        [inbox_id],
    ).fetchone()
    return None, row[0] if row else None


def _inboxes_by_account(connection: Connection[Any], account_id: int) -> list[int]:
    """Inboxes that whoever owns the account has by it."""
    if not _exists(connection, "raw_chatwoot.inboxes"):
        return []
    return [
        row[0]
        for row in connection.execute(
            "select id from raw_chatwoot.inboxes as inboxes where account_id = %s and not exists"
            " (select 1 from app.tenant_inboxes as owned where owned.inbox_id = inboxes.id)",
            [account_id],
        )
    ]


def _owned(connection: Connection[Any], tenant_id: int) -> list[Any]:
    return connection.execute(
        "select 'inbox', inbox_id from app.tenant_inboxes where tenant_id = %(id)s"
        " union all select 'account', account_id from app.tenant_accounts where tenant_id = %(id)s"
        " order by 1, 2",
        {"id": tenant_id},
    ).fetchall()


def _exists(connection: Connection[Any], relation: str) -> bool:
    return connection.execute("select to_regclass(%s)", [relation]).fetchone() != (None,)


def wait_for_build(connection: Connection[Any]) -> None:
    """Hold the builds' lock until the transaction ends. Raises MiranteError after 15 minutes."""
    connection.execute(sql.SQL("set local lock_timeout = {}").format(BUILD_WAIT))
    try:
        connection.execute("select pg_advisory_xact_lock(%s)", [BUILD_LOCK])
    except psycopg.errors.LockNotAvailable:
        raise MiranteError(
            f"a build has been running for {BUILD_WAIT}: try again after it"
        ) from None
    connection.execute("set local lock_timeout = '30s'")


def _take_away(connection: Connection[Any], lost: dict[int, set[int]], actor: Actor) -> list[Taken]:
    taken = []
    if any(lost.values()):
        wait_for_build(connection)
    for tenant_id, inbox_ids in lost.items():
        rows = remove_rows(connection, tenant_id, sorted(inbox_ids))
        (slug,) = connection.execute(
            "select slug from app.tenants where id = %s", [tenant_id]
        ).fetchone() or ("",)
        record(
            connection, "tenant.lose_inboxes", actor=actor, tenant_id=tenant_id,
            target=f"tenant:{tenant_id}",
            after={"inbox_ids": sorted(inbox_ids), "rows_removed": rows},
        )  # fmt: skip
        taken.append(Taken(slug, tuple(sorted(inbox_ids)), rows))
    return taken


def remove_rows(connection: Connection[Any], tenant_id: int, inbox_ids: list[int]) -> int:
    """Delete what `tenant_id` has of these inboxes, by the catalogue; return the number of rows.

    A table with inbox_id or conversation_id loses those rows. One of marts with contact_id or
    agent_id alone loses the contacts and agents met there (dim_agents keeps those met elsewhere
    too), and one with none of them, being sums over all inboxes, every row of the tenant: the
    next build makes again what is still the tenant's. So a mart that is new needs no entry here.
    """
    if _exists(connection, "marts.fct_conversations"):
        # Sums and contacts that go below are made again from all the tenant has left.
        connection.execute(
            "insert into app.changed_conversations (conversation_id, source_table)"
            " select conversation_id, 'app.tenant_inboxes' from marts.fct_conversations"
            " where tenant_id = %s",
            [tenant_id],
        )
    connection.execute(
        "create temp table moved (kind text, id bigint, primary key (kind, id)) on commit drop"
    )
    tables = _tables_of_tenants(connection)
    values = {"tenant": tenant_id, "inboxes": inbox_ids}
    for query in _moved_ids(connection, tables):
        connection.execute(
            sql.SQL("insert into pg_temp.moved ") + query + sql.SQL(" on conflict do nothing"),
            values,
        )
    connection.execute("analyze pg_temp.moved")
    _note_days(connection, tenant_id, tables)
    removed = 0
    # Facts first: dim_agents asks them who is left.
    for schema, table, columns in sorted(tables, key=lambda table: not columns_of_place(table[2])):
        condition = _condition(schema, table, columns, tables)
        if condition is None:
            continue
        removed += connection.execute(
            sql.SQL("delete from {} as rows where rows.tenant_id = %(tenant)s and ({})").format(
                sql.Identifier(schema, table), condition
            ),
            values,
        ).rowcount
    connection.execute("drop table pg_temp.moved")
    return removed


def _note_days(
    connection: Connection[Any], tenant_id: int, tables: list[tuple[str, str, frozenset[str]]]
) -> None:
    """Have the next build make all the tenant's sums by day again.

    A conversation that came into the inbox after the last build is in the sums of another one.
    """
    days = [
        sql.SQL("select tenant_id, date, inbox_id from {} where tenant_id = %(tenant)s").format(
            sql.Identifier(schema, table)
        )
        for schema, table, columns in tables
        if {"date", "inbox_id"} <= columns and "conversation_id" not in columns
    ]
    if days:
        connection.execute(
            sql.SQL(
                "insert into intermediate.int_days_touched (tenant_id, date, inbox_id) {}"
                " order by 1, 2, 3 on conflict do nothing"
            ).format(sql.SQL(" union ").join(days)),
            {"tenant": tenant_id},
        )


def columns_of_place(columns: frozenset[str]) -> list[str]:
    """Those of the columns that say which inbox a row is of."""
    return [name for name in ("inbox_id", "conversation_id") if name in columns]


def _condition(
    schema: str, table: str, columns: frozenset[str], tables: list[tuple[str, str, frozenset[str]]]
) -> sql.Composable | None:
    """Which rows of the tenant go; None where none do."""
    moved = sql.SQL("rows.{} in (select id from pg_temp.moved where kind = {})")
    by_place = {
        "inbox_id": sql.SQL("rows.inbox_id = any (%(inboxes)s)"),
        "conversation_id": moved.format(sql.Identifier("conversation_id"), "conversation_id"),
    }
    if place := columns_of_place(columns):
        return sql.SQL(" or ").join(by_place[name] for name in place)
    if schema != "marts":
        return None
    for name in ("contact_id", "agent_id"):
        if name not in columns:
            continue
        condition: sql.Composable = moved.format(sql.Identifier(name), name)
        if (schema, table) == ("marts", "dim_agents"):
            for other_schema, other, other_columns in tables:
                if other_schema == "marts" and {"agent_id", "conversation_id"} <= other_columns:
                    condition += sql.SQL(
                        " and not exists (select 1 from {} as others where"
                        " others.tenant_id = %(tenant)s and others.agent_id = rows.agent_id)"
                    ).format(sql.Identifier(other_schema, other))
        return condition
    return sql.SQL("true")


def _tables_of_tenants(connection: Connection[Any]) -> list[tuple[str, str, frozenset[str]]]:
    """Every table with a tenant_id that somebody reads: schema, name, columns."""
    rows = connection.execute(
        """
        select relations.relnamespace::regnamespace::text, relations.relname::text,
            array_agg(columns.attname::text)
        from pg_class as relations
        inner join pg_attribute as columns on columns.attrelid = relations.oid
        where relations.relnamespace::regnamespace::text in ('marts', 'intermediate', 'ai', 'app')
            -- what a build has still to do is nobody's to read
            and relations.relname !~ '_touched$'
            and relations.relkind in ('r', 'p') and not relations.relispartition
            and columns.attnum > 0 and not columns.attisdropped
        group by relations.oid
        having 'tenant_id' = any (array_agg(columns.attname))
            and has_table_privilege(relations.oid, 'delete')
        order by 1, 2
        """
    ).fetchall()
    return [
        (schema, table, frozenset(columns))
        for schema, table, columns in rows
        if (schema, table) not in UNTOUCHED
    ]


def _moved_ids(
    connection: Connection[Any], tables: list[tuple[str, str, frozenset[str]]]
) -> list[sql.Composable]:
    """Queries of (kind, id): conversations of the inboxes, then contacts and agents of those."""
    queries: list[sql.Composable] = []
    marts = [(table, columns) for schema, table, columns in tables if schema == "marts"]
    has_raw = _exists(connection, "raw_chatwoot.conversations")
    if has_raw:  # what was not built yet may have been scored
        queries.append(
            sql.SQL(
                "select 'conversation_id', id from raw_chatwoot.conversations"
                " where inbox_id = any (%(inboxes)s)"
            )
        )
    queries += [
        sql.SQL(
            "select distinct 'conversation_id', conversation_id from {}"
            " where tenant_id = %(tenant)s and inbox_id = any (%(inboxes)s)"
        ).format(sql.Identifier("marts", table))
        for table, columns in marts
        if {"inbox_id", "conversation_id"} <= columns
    ]
    for name in ("contact_id", "agent_id"):
        queries += [
            sql.SQL(
                "select distinct {kind}, {column} from {table} where tenant_id = %(tenant)s"
                " and {column} is not null and conversation_id in"
                " (select id from pg_temp.moved where kind = 'conversation_id')"
            ).format(kind=name, column=sql.Identifier(name), table=sql.Identifier("marts", table))
            for table, columns in marts
            if {name, "conversation_id"} <= columns
        ]
    for table, place, kind, column in (
        ("conversations", "inbox_id = any (%(inboxes)s)", "contact_id", "contact_id"),
        ("inbox_members", "inbox_id = any (%(inboxes)s)", "agent_id", "user_id"),
        (
            "conversation_participants",
            "conversation_id in (select id from pg_temp.moved where kind = 'conversation_id')",
            "agent_id",
            "user_id",
        ),
    ):
        if has_raw and _exists(connection, f"raw_chatwoot.{table}"):
            queries.append(
                sql.SQL("select distinct {}, {column} from {} where {} and {column} is not null")
                .format(
                    kind, sql.Identifier("raw_chatwoot", table), sql.SQL(place),
                    column=sql.Identifier(column),
                )
            )  # fmt: skip
    return queries


def discover(owner_dsn: str) -> tuple[list[Unowned], list[tuple[str, int]]]:
    """Inboxes of the source that are nobody's, each with a proposal; and assigned ones it lacks.

    Reads the last extraction, changes nothing. Raises MiranteError before the first extraction.
    """
    with psycopg.connect(owner_dsn) as connection:
        if not _exists(connection, "raw_chatwoot.inboxes"):
            raise MiranteError("nothing was extracted yet: run `mirante extract` first")
        rows = connection.execute(
            """
            select
                inboxes.account_id, coalesce(accounts.name, ''), inboxes.id,
                coalesce(inboxes.name, ''), coalesce(inboxes.channel_type, ''),
                conversations.count, conversations.last_at at time zone 'utc',
                exists (
                    select 1 from raw_chatwoot.inboxes as others
                    inner join app.tenant_inboxes as taken on taken.inbox_id = others.id
                    where others.account_id = inboxes.account_id
                ) as is_shared
            from raw_chatwoot.inboxes as inboxes
            left join raw_chatwoot.accounts as accounts on inboxes.account_id = accounts.id
            cross join lateral (
                select count(*) as count, max(created_at) as last_at
                from raw_chatwoot.conversations as conversations
                where conversations.inbox_id = inboxes.id and conversations._deleted_at is null
            ) as conversations
            where inboxes._deleted_at is null
                and not exists (
                    select 1 from app.tenant_inboxes as owned where owned.inbox_id = inboxes.id
                )
                and not exists (
                    select 1 from app.tenant_accounts as owned
                    where owned.account_id = inboxes.account_id
                )
            order by inboxes.account_id, inboxes.id
            """
        ).fetchall()
        tenants = connection.execute(
            "select slug, name from app.tenants where purge_after is null order by slug"
        ).fetchall()
        missing = connection.execute(
            """
            select tenants.slug, owned.inbox_id
            from app.tenant_inboxes as owned
            inner join app.tenants as tenants on owned.tenant_id = tenants.id
            where not exists (
                select 1 from raw_chatwoot.inboxes as inboxes
                where inboxes.id = owned.inbox_id and inboxes._deleted_at is null
            )
            order by 1, 2
            """
        ).fetchall()
    slugs = {slug for slug, _ in tenants}
    whole: dict[int, str] = {}
    found = []
    for account_id, account, inbox_id, inbox, channel, count, last_at, is_shared in rows:
        account, inbox = _printable(account), _printable(inbox)
        known = [
            slug for slug, name in tenants
            if _folded(name) and (_folded(name) in _folded(inbox) or slug == slugify(inbox))
        ]  # fmt: skip
        if len(known) == 1:
            proposal = f"mirante tenant assign-inbox --slug {known[0]} --inbox {inbox_id}"
        elif is_shared:
            proposal = _proposal(inbox or f"inbox {inbox_id}", f"--inbox {inbox_id}", slugs)
        else:
            if account_id not in whole:
                whole[account_id] = _proposal(
                    account or f"account {account_id}", f"--account {account_id}", slugs
                )
            proposal = whole[account_id]
        found.append(
            Unowned(
                account_id, account, inbox_id, inbox, channel.removeprefix("Channel::"), count,
                last_at, proposal,
            )
        )  # fmt: skip
    return found, missing


def _proposal(name: str, what: str, slugs: set[str]) -> str:
    slug = base = slugify(name) or "tenant"
    number = 2
    while slug in slugs:
        slug, number = f"{base[:58]}-{number}", number + 1
    slugs.add(slug)
    return f"mirante tenant add --slug {slug} --name {shlex.quote(name)} --segment general {what}"


def slugify(name: str) -> str:
    """Lower-case letters, digits and hyphens of `name`; may be empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:60].strip("-")


def _folded(name: str) -> str:
    return slugify(name).replace("-", " ")


def _printable(name: str) -> str:
    """A name of the source for a terminal: somebody may have put control characters into it."""
    return "".join(letter if letter.isprintable() else " " for letter in name).strip()
