"""Chatwoot's side: what its database has of the allow-list, and sessions that read it gently."""

import logging
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg import IsolationLevel

from extract.databases import STATEMENT_TIMEOUT, ExtractError, Session, connect, speaking_of
from extract.tables import FORBIDDEN_COLUMNS, TABLES, Table
from warehouse.db import describe_dsn

log = logging.getLogger(__name__)

SCHEMA = "public"
MINIMUM_VERSION = 120000

# A production server is not ours: reading only, one statement a range of rows, by its indexes
# even where the planner would rather scan a table, and no workers beside the session. Rows that a
# policy hides would look deleted: an error instead.
SESSION = f"""
    set default_transaction_read_only = on;
    set statement_timeout = '{STATEMENT_TIMEOUT}';
    set lock_timeout = '10s';
    set idle_in_transaction_session_timeout = '15min';
    set enable_seqscan = off;
    set max_parallel_workers_per_gather = 0;
    set jit = off;
    set row_security = off;
    set datestyle = 'ISO, YMD';
    set extra_float_digits = 1;
"""


@dataclass(frozen=True)
class SourceTable:
    """A table of the allow-list as this Chatwoot has it: the types of those columns it has.

    `has_created_at_index`: what was created since is found without reading the table.
    """

    table: Table
    types: Mapping[str, str]
    has_created_at_index: bool = False

    @property
    def is_present(self) -> bool:
        """False for an optional table that this Chatwoot does not have."""
        return bool(self.types)


@contextmanager
def connect_source(dsn: str) -> Iterator[Session]:
    """A read-only session in autocommit, with time-outs. What fails inside is said of the source.

    Raises ExtractError when the log-in fails.
    """
    with connect("source", dsn) as connection, speaking_of("source", dsn):
        connection.execute(SESSION)
        # A pooler that hands each statement to another session would lose all of it.
        if connection.execute("show default_transaction_read_only").fetchone() != ("on",):
            raise ExtractError(
                f"source {describe_dsn(dsn)}: its session keeps no setting: "
                "name the server itself, not a pooler by transaction"
            )
        yield connection


# How long a standby may go on without noticing that nothing comes any more: wal_receiver_timeout.
RECEIVER_TIMEOUT = "60 s"

# Of a replica that has replayed all it got: as sure as its receiver is; else its last commit.
MOMENT = """
select case
    when not pg_is_in_recovery() then now()
    when exists (select from pg_stat_wal_receiver)
        and pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
        then greatest(pg_last_xact_replay_timestamp(), now() - %s::interval)
    else pg_last_xact_replay_timestamp()
end at time zone 'utc'
"""


@contextmanager
def snapshot(session: Session) -> Iterator[datetime | None]:
    """One moment of the source for everything read inside, and that moment in UTC."""
    session.isolation_level = IsolationLevel.REPEATABLE_READ
    session.read_only = True
    try:
        with session.transaction():
            yield read_moment(session)
    finally:
        session.isolation_level = session.read_only = None


def read_moment(session: Session) -> datetime | None:
    """As of when this server's data is, in UTC; None: a standby that has replayed nothing yet."""
    moment: datetime | None = session.execute(MOMENT, [RECEIVER_TIMEOUT]).fetchone()[0]
    return moment


def choose_source(dsn: str, replica_dsn: str | None, since: datetime | None) -> tuple[str, str]:
    """The replica, if it answers and is not behind what raw has already; and why not, else.

    `since`: the moment of the last run. A replica that is behind it would take rows back.
    """
    if replica_dsn is None:
        return dsn, ""
    try:
        with connect_source(replica_dsn) as session:
            moment = read_moment(session)
    except ExtractError as error:
        return dsn, f"replica not used: {error}"
    if moment is None:
        return dsn, "replica not used: it has replayed nothing yet"
    if since is not None and moment < since:
        return dsn, f"replica not used: it is as of {moment:%Y-%m-%d %H:%M:%S} UTC, raw is later"
    return replica_dsn, ""


def inspect_source(connection: Session, dsn: str) -> tuple[list[SourceTable], list[str]]:
    """What of the allow-list this database has and lets us read; and what else it has, or lacks.

    Raises ExtractError when it is no Chatwoot, too old, in an encoding other than UTF-8, lacks
    something required, or something is not granted or hidden: before anything is written.
    """
    where = describe_dsn(dsn)
    if connection.info.server_version < MINIMUM_VERSION:
        raise ExtractError(
            f"source {where}: PostgreSQL {connection.info.server_version // 10000} is too old, "
            f"{MINIMUM_VERSION // 10000} or later is needed"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ExtractError(f"source {where}: its encoding is {encoding}, expected UTF8")
    rows = connection.execute(
        """
        select
            pg_class.relname, pg_attribute.attname, pg_type.typname,
            has_column_privilege(pg_class.oid, pg_attribute.attnum, 'select'),
            row_security_active(pg_class.oid)
        from pg_catalog.pg_attribute
        inner join pg_catalog.pg_class on pg_attribute.attrelid = pg_class.oid
        inner join pg_catalog.pg_type on pg_attribute.atttypid = pg_type.oid
        where pg_class.relnamespace = to_regnamespace(%s)
            and pg_class.relname = any(%s)
            and pg_class.relkind in ('r', 'p', 'v', 'm', 'f')
            and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
        """,
        [SCHEMA, [table.name for table in TABLES]],
    ).fetchall()
    may_enter = connection.execute("select has_schema_privilege(%s, 'usage')", [SCHEMA]).fetchone()
    types: dict[str, dict[str, str]] = {}
    readable: dict[str, set[str]] = {}
    filtered: set[str] = set()
    for table, column, type_, is_readable, is_filtered in rows:
        types.setdefault(table, {})[column] = type_
        if is_filtered:
            filtered.add(table)
        if is_readable:
            readable.setdefault(table, set()).add(column)
    _check_is_chatwoot(types, where)
    _check_columns(types, where)
    user = connection.info.user
    if may_enter != (True,):
        raise ExtractError(
            f"source {where}: no permission on schema {SCHEMA}: "
            f'GRANT USAGE ON SCHEMA {SCHEMA} TO "{user}"'
        )
    _check_permissions(types, readable, where, user)
    if filtered:
        raise ExtractError(
            f"source {where}: row security hides rows of {', '.join(sorted(filtered))}: "
            f'ALTER ROLE "{user}" BYPASSRLS'
        )
    indexed = _created_at_indexes(connection)
    return [
        SourceTable(
            table,
            {
                name: types[table.name][name]
                for name in table.column_names
                if name in types.get(table.name, {})
            },
            table.name in indexed,
        )
        for table in TABLES
    ], _drift(types, indexed)


def _created_at_indexes(connection: Session) -> set[str]:
    """Tables that Chatwoot has an index on created_at for, and this database too.

    Of a view, which has none of its own, that is believed.
    """
    rows = connection.execute(
        """
        select pg_class.relname from pg_catalog.pg_class
        where pg_class.relnamespace = to_regnamespace(%s) and pg_class.relname = any(%s)
            and (pg_class.relkind = 'v' or exists (
                select from pg_catalog.pg_index
                inner join pg_catalog.pg_attribute
                    on pg_index.indrelid = pg_attribute.attrelid
                    and pg_index.indkey[0] = pg_attribute.attnum
                inner join pg_catalog.pg_class as index_class
                    on pg_index.indexrelid = index_class.oid
                inner join pg_catalog.pg_am on index_class.relam = pg_am.oid
                where pg_index.indrelid = pg_class.oid and pg_am.amname = 'btree'
                    and pg_attribute.attname = 'created_at'
                    and pg_index.indisvalid and pg_index.indpred is null
            ))
        """,
        [SCHEMA, [table.name for table in TABLES if table.has_created_at_index]],
    )
    return {row[0] for row in rows}


def _check_is_chatwoot(types: Mapping[str, Mapping[str, str]], where: str) -> None:
    missing = [table.name for table in TABLES if not table.is_optional and table.name not in types]
    telling = [name for name in ("conversations", "messages", "inboxes") if name in missing]
    if telling:
        raise ExtractError(
            f"source {where} is not a Chatwoot database: schema {SCHEMA} has no table "
            f"{', '.join(telling)}; check the database name in MIRANTE_CHATWOOT_DSN"
        )
    if missing:
        raise ExtractError(f"source {where}: required table missing: {', '.join(missing)}")


def _check_columns(types: Mapping[str, Mapping[str, str]], where: str) -> None:
    problems = []
    for table in TABLES:
        if not (have := types.get(table.name)):
            continue
        for column in table.columns:
            found = have.get(column.name)
            if found is None and column.required:
                problems.append(f"{table.name}.{column.name} is missing")
            elif found is not None and not column.accepts(found):
                problems.append(f"{table.name}.{column.name} is {found}, expected {column.type}")
    if problems:
        raise ExtractError(f"source {where}: columns are not as expected: {'; '.join(problems)}")


def _check_permissions(
    types: Mapping[str, Mapping[str, str]],
    readable: Mapping[str, set[str]],
    where: str,
    user: str,
) -> None:
    denied = {}
    for table in TABLES:
        have = types.get(table.name, {})
        wanted = [name for name in table.column_names if name in have]
        if missing := [name for name in wanted if name not in readable.get(table.name, ())]:
            denied[table.name] = missing
    if denied:
        grants = "; ".join(
            f'GRANT SELECT ({", ".join(columns)}) ON {SCHEMA}.{name} TO "{user}"'
            for name, columns in denied.items()
        )
        raise ExtractError(
            f"source {where}: no permission on {', '.join(denied)}: {grants} "
            "(all grants: docs/source-role.md)"
        )


def _drift(types: Mapping[str, Mapping[str, str]], indexed: Container[str]) -> list[str]:
    """What this Chatwoot has that nobody decided about yet, and what it lacks, in words."""
    news = [
        f"{table.name}.{column}"
        for table in TABLES
        for column in types.get(table.name, {})
        if column not in table.column_names
        and column not in table.left_out
        and column not in FORBIDDEN_COLUMNS.get(table.name, ())
    ]
    lacking = [
        f"{table.name}.{column.name}"
        for table in TABLES
        if table.name in types
        for column in table.columns
        if column.name not in types[table.name]
    ]
    lacking += [table.name for table in TABLES if table.name not in types]
    said = []
    if news:
        said.append(f"source has columns that are not read: {', '.join(news)}")
    if lacking:
        said.append(f"source lacks, and raw has empty: {', '.join(lacking)}")
    said += [
        f"source has no index on {table.name}.created_at: ticks find new rows by id alone"
        for table in TABLES
        if table.has_created_at_index and table.name in types and table.name not in indexed
    ]
    return said


def changed_types(
    sources: Sequence[SourceTable], before: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Columns whose type is another than the last run found; `before` by table and column."""
    return [
        f"source has {source.table.name}.{name} as {type_}, was {was}"
        for source in sources
        for name, type_ in source.types.items()
        if (was := before.get(source.table.name, {}).get(name, type_)) != type_
    ]
