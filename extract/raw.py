"""The warehouse's side: tables of raw_chatwoot, what they hold, the erasure ledger."""

import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from extract.databases import ExtractError, Session, connect, pipe, speaking_of
from extract.tables import TABLES, Column, Table

log = logging.getLogger(__name__)

SCHEMA = "raw_chatwoot"
# Of versions that loaded through dlt's merge.
FORMER_STAGING_SCHEMA = "raw_chatwoot_staging"
DELETED_AT = "_deleted_at"
LOAD_ID = "_dlt_load_id"
# Rows of other tables go with rows of these.
PARENTS = sorted({table.parent[0] for table in TABLES if table.parent})

# The server gives up what a process that died, or its machine, has asked for, not a session that
# waits for a long load. Not every version and system can look for that while a statement runs.
SESSION = """
    set jit = off;
    set datestyle = 'ISO, YMD';
    set extra_float_digits = 1;
    set lock_timeout = '1min';
    set client_min_messages = warning;
    set tcp_keepalives_idle = 30;
    set tcp_keepalives_interval = 10;
    set tcp_keepalives_count = 3;
    do $$ begin
        perform set_config('idle_session_timeout', '0', false);
        perform set_config('client_connection_check_interval', '2s', false);
    exception when undefined_object or invalid_parameter_value then null;
    end $$
"""


@dataclass(frozen=True)
class RawTable:
    """A table of raw_chatwoot as this run found it."""

    table: Table
    types: Mapping[str, str]

    @property
    def name(self) -> sql.Identifier:
        """The table's name with its schema."""
        return sql.Identifier(SCHEMA, self.table.name)


def widen(
    connection: Session, wanted: Mapping[str, Mapping[str, str]], tables: Sequence[Table]
) -> int:
    """Let integer columns follow a source that made them bigint; how many did.

    Views over such a table are dropped (nothing else in PostgreSQL lets the type change): the
    next build makes them again. `wanted` has the type of each allow-listed column of the source.
    """
    existing = _column_types(connection)
    altered = [
        (table.name, column.name)
        for table in tables
        for column in table.columns
        if existing.get(table.name, {}).get(column.name) == "int4"
        and _raw_type(column, wanted.get(table.name, {})) == "int8"
    ]
    with connection.transaction():
        for table, column in altered:
            log.warning("raw_chatwoot.%s.%s is bigint from now on, as in the source", table, column)
            views = connection.execute(
                """
                select distinct format('%%I.%%I', pg_namespace.nspname, pg_class.relname)
                from pg_catalog.pg_depend
                inner join pg_catalog.pg_rewrite on pg_depend.objid = pg_rewrite.oid
                inner join pg_catalog.pg_class on pg_rewrite.ev_class = pg_class.oid
                inner join pg_catalog.pg_namespace on pg_class.relnamespace = pg_namespace.oid
                where pg_depend.refobjid = format('%%I.%%I', %s::text, %s::text)::regclass
                    and pg_depend.classid = 'pg_rewrite'::regclass and pg_class.relkind = 'v'
                """,
                [SCHEMA, table],
            ).fetchall()
            for (view,) in views:
                connection.execute(sql.SQL("drop view if exists {} cascade").format(sql.SQL(view)))
            connection.execute(
                sql.SQL("alter table {} alter column {} type bigint").format(
                    sql.Identifier(SCHEMA, table), sql.Identifier(column)
                )
            )
    return len(altered)


def prepare(
    connection: Session, wanted: Mapping[str, Mapping[str, str]], tables: Sequence[Table]
) -> dict[str, RawTable]:
    """Make what is missing: schema, tables, columns; a second run changes nothing.

    `wanted` has the type of each allow-listed column of the source. A new table has no key yet:
    `make_indexes` is for after its first rows.
    """
    connection.execute(
        sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(FORMER_STAGING_SCHEMA))
    )
    existing = _column_types(connection)
    if connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone() == (None,):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
    with connection.transaction():
        for table in tables:
            _make_table(connection, table, wanted.get(table.name, {}), existing.get(table.name))
    make_indexes(connection, [table for table in tables if table.name in existing])
    types = _column_types(connection)
    return {table.name: RawTable(table, types[table.name]) for table in tables}


def _make_table(
    connection: Session,
    table: Table,
    source_types: Mapping[str, str],
    existing: Mapping[str, str] | None,
) -> None:
    name = sql.Identifier(SCHEMA, table.name)
    types = {column.name: _raw_type(column, source_types) for column in table.columns}
    types |= {DELETED_AT: "timestamptz", LOAD_ID: "text"}
    if existing is None:
        columns = sql.SQL(", ").join(
            # A key over what may be NULL would read the table once more.
            sql.SQL("{} {} not null" if column == "id" else "{} {}").format(
                sql.Identifier(column), sql.SQL(type_)
            )
            for column, type_ in types.items()
        )
        connection.execute(sql.SQL("create table {} ({})").format(name, columns))
        if table.name in PARENTS:  # empty as long as nothing is deleted: not worth building later
            connection.execute(_index_of_tombstones(table))
        return
    for column, type_ in types.items():
        if column not in existing:
            log.info("raw_chatwoot.%s has a new column %s", table.name, column)
            connection.execute(
                sql.SQL("alter table {} add column {} {}").format(
                    name, sql.Identifier(column), sql.SQL(type_)
                )
            )


def _raw_type(column: Column, source_types: Mapping[str, str]) -> str:
    is_wider = column.type == "int4" and source_types.get(column.name) == "int8"
    return "int8" if is_wider else column.type


def _column_types(connection: Session) -> dict[str, dict[str, str]]:
    rows = connection.execute(
        """
        select pg_class.relname, pg_attribute.attname, pg_type.typname
        from pg_catalog.pg_attribute
        inner join pg_catalog.pg_class on pg_attribute.attrelid = pg_class.oid
        inner join pg_catalog.pg_type on pg_attribute.atttypid = pg_type.oid
        where pg_class.relnamespace = to_regnamespace(%s) and pg_class.relkind in ('r', 'p')
            and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
        """,
        [SCHEMA],
    )
    types: dict[str, dict[str, str]] = {}
    for table, column, type_ in rows:
        types.setdefault(table, {})[column] = type_
    return types


def make_indexes(
    connection: Session, tables: Iterable[Table], *, keys_only: Container[str] = ()
) -> None:
    """Primary keys and indexes that tables lack; building once is faster than keeping up.

    Two tables at a time, as many as a first load has sessions. `keys_only` names tables whose
    other indexes can wait for the next run.
    """

    def due(table: Table, have: Container[str]) -> list[sql.Composed]:
        return _index_statements(table, have, with_others=table.name not in keys_only)

    have = _index_names(connection)
    waiting = [table for table in tables if due(table, have)]
    if not waiting:
        return

    def build() -> None:
        with connect_raw(connection.dsn) as session, suppress(IndexError):
            session.execute("set maintenance_work_mem = '128MB'")
            while True:
                table = waiting.pop()
                with session.transaction():
                    # A killed run's server process may still be at it, for nobody to see yet.
                    session.execute(
                        sql.SQL(
                            "set local lock_timeout = '10min';"
                            "lock table {} in share row exclusive mode;"
                            "set local lock_timeout = '1min'"
                        ).format(sql.Identifier(SCHEMA, table.name))
                    )
                    for statement in due(table, _index_names(session)):
                        session.execute(statement)

    with ThreadPoolExecutor(2) as pool:
        for built in [pool.submit(build) for _ in range(2)]:
            built.result()


def _index_names(connection: Session) -> set[str]:
    rows = connection.execute(
        "select indexname from pg_catalog.pg_indexes where schemaname = %s", [SCHEMA]
    )
    return {name for (name,) in rows}


def _index_statements(
    table: Table, have: Container[str], *, with_others: bool
) -> list[sql.Composed]:
    name = sql.Identifier(SCHEMA, table.name)
    statements = []
    if f"{table.name}_pkey" not in have:
        key = sql.Identifier(f"{table.name}_pkey")
        statements.append(
            sql.SQL("alter table {} add constraint {} primary key (id)").format(name, key)
        )
    if table.name in PARENTS and f"{table.name}_{DELETED_AT}" not in have:
        statements.append(_index_of_tombstones(table))
    statements += [
        sql.SQL("create index {} on {} ({})").format(
            sql.Identifier(f"{table.name}_{column}"), name, sql.Identifier(column)
        )
        for column in table.indexes
        if with_others and f"{table.name}_{column}" not in have
    ]
    return statements


def _index_of_tombstones(table: Table) -> sql.Composed:
    return sql.SQL("create index {} on {} (_deleted_at) where _deleted_at is not null").format(
        sql.Identifier(f"{table.name}_{DELETED_AT}"), sql.Identifier(SCHEMA, table.name)
    )


def parents_with_tombstones(connection: Session, recent: timedelta) -> set[str]:
    """Tables, of those that others' rows go with, that lost a row as lately as that."""
    query = sql.SQL(" union all ").join(
        sql.SQL("select {} where (select max(_deleted_at) from {}) > now() - {}").format(
            sql.Literal(name), sql.Identifier(SCHEMA, name), recent
        )
        for name in PARENTS
    )
    return {name for (name,) in connection.execute(query)}


def analyze(connection: Session, tables: Iterable[Table]) -> None:
    """Gather the planner's statistics of tables that grew: a build may come before autovacuum."""
    for table in tables:
        connection.execute(sql.SQL("analyze {}").format(sql.Identifier(SCHEMA, table.name)))


def known_rows(connection: Session, table: Table) -> float:
    """Rows of a table of raw as the planner believes; below 0 where it was never told."""
    query = "select reltuples from pg_catalog.pg_class where oid = to_regclass(%s)"
    row = connection.execute(query, [f"{SCHEMA}.{table.name}"]).fetchone()
    return -1.0 if row is None else float(row[0])


@contextmanager
def analyzing(dsn: str, tables: Sequence[Table]) -> Iterator[None]:
    """Do so while something else goes on."""

    def analyze_all() -> None:
        try:
            with connect_raw(dsn) as session:
                analyze(session, tables)
        except ExtractError as error:  # autovacuum will do it
            log.warning("statistics were not gathered: %s", error)

    if not tables:
        yield
        return
    with ThreadPoolExecutor(1) as pool:
        analyzed = pool.submit(analyze_all)
        yield
        analyzed.result()


def last_id(connection: Session, table: Table) -> int | None:
    """The highest id that raw has had, tombstones included; None: no row."""
    query = sql.SQL("select max(id) from {}").format(sql.Identifier(SCHEMA, table.name))
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def last_ids(connection: Session, tables: Iterable[Table]) -> dict[str, int | None]:
    """The same of several tables."""
    query = sql.SQL(" union all ").join(
        sql.SQL("select {}, (select max(id) from {})").format(
            sql.Literal(table.name), sql.Identifier(SCHEMA, table.name)
        )
        for table in tables
    )
    return dict(connection.execute(query).fetchall())


def has_state(connection: Session) -> bool:
    """Whether dlt ever kept a state here: without its table there is none to wait for."""
    query = "select to_regclass(%s) is not null"
    answer: bool = connection.execute(query, [f"{SCHEMA}._dlt_pipeline_state"]).fetchone()[0]
    return answer


def delete_erased(connection: Session, tables: Sequence[Table]) -> dict[str, int]:
    """Delete the rows of the erasure ledger that raw_chatwoot holds; how many, per table."""
    listed = {
        row[0] for row in connection.execute("select distinct source_table from app.erased_rows")
    }
    deleted = {}
    for table in tables:
        if table.name in listed:
            query = sql.SQL(
                "delete from {} as raw using app.erased_rows as erased "
                "where erased.source_table = %s and raw.id = erased.source_id"
            ).format(sql.Identifier(SCHEMA, table.name))
            if count := connection.execute(query, [table.name]).rowcount:
                deleted[table.name] = count
    return deleted


def erased_ids(connection: Session) -> dict[str, list[int]]:
    """Ids that must never be loaded, per source table, sorted."""
    ids: dict[str, list[int]] = {}
    query = "select source_table, source_id from app.erased_rows order by 1, 2"
    for table, id_ in connection.execute(query):
        ids.setdefault(table, []).append(id_)
    return ids


@contextmanager
def connect_raw(dsn: str) -> Iterator[Session]:
    """A session of the owner for reading and changing raw_chatwoot, in autocommit.

    What fails inside is said of the warehouse. Raises ExtractError when the log-in fails.
    """
    with connect("warehouse", dsn) as connection, speaking_of("warehouse", dsn):
        connection.execute(SESSION)
        yield connection


class Incoming:
    """Rows of one table on their way into raw, kept in temporary tables of one transaction.

    First `receive`, then what raw has lost by it (`find_gone`), then `drop_equal`;
    `apply` leaves raw with exactly the source's rows of the ranges read.
    """

    def __init__(self, connection: Session, held: RawTable) -> None:
        self.table = held.table
        self.rows_read = self.rows_inserted = self.rows_updated = self.rows_deleted = 0
        self._rows_differing = 0
        self._connection = connection
        self._held = held
        self._incoming = sql.Identifier(f"incoming_{self.table.name}")
        self._gone = sql.Identifier(f"gone_{self.table.name}")
        self._columns = [sql.Identifier(column.name) for column in self.table.columns]
        connection.execute(
            sql.SQL(
                "create temporary table {} (like {}) on commit drop;"
                "create temporary table {} (id int8 primary key) on commit drop"
            ).format(self._incoming, held.name, self._gone)
        )

    def receive(self, source: Session, query: sql.Composable) -> None:
        """Read rows of the source into the transaction; a row may come once."""
        target = sql.SQL("{} ({})").format(self._incoming, sql.SQL(", ").join(self._columns))
        self.rows_read += pipe(source, query, self._connection, target)

    def find_gone(self, after: Sequence[int], up_to: Sequence[int]) -> None:
        """Note as gone what raw holds in the ranges (after, up_to] and did not come."""
        query = sql.SQL(
            """
            insert into {gone}
            select raw.id
            from unnest(%s::int8[], %s::int8[]) as wanted (after, up_to)
            inner join {raw} as raw on raw.id > wanted.after and raw.id <= wanted.up_to
            where raw._deleted_at is null
                and not exists (select from {incoming} as incoming where incoming.id = raw.id)
            on conflict do nothing
            """
        ).format(gone=self._gone, raw=self._held.name, incoming=self._incoming)
        parameters = [list(after), list(up_to)]
        self.rows_deleted += self._connection.execute(query, parameters).rowcount

    def ids_below(
        self, parent: "Incoming", column: str, recent: timedelta, limit: int
    ) -> list[int]:
        """Ids of raw's rows whose parent is gone, lately or now, and that are not known; sorted."""
        query = sql.SQL(
            """
            select raw.id from {raw} as raw
            where raw._deleted_at is null
                and raw.{column} = any(array(
                    select id from {parent_gone}
                    union all
                    select id from {parent} where _deleted_at > now() - {recent}
                ))
                and not exists (select from {gone} as gone where gone.id = raw.id)
                and not exists (select from {incoming} as incoming where incoming.id = raw.id)
            order by raw.id limit %s
            """
        ).format(
            raw=self._held.name,
            column=sql.Identifier(column),
            parent_gone=parent._gone,
            parent=parent._held.name,
            recent=recent,
            gone=self._gone,
            incoming=self._incoming,
        )
        return [row[0] for row in self._connection.execute(query, [limit])]

    def drop_equal(self) -> None:
        """Forget what raw holds already."""
        mine, theirs = (
            sql.SQL("({})").format(
                sql.SQL(", ").join(
                    text_form(sql.Identifier(side, column.name), self._held.types[column.name])
                    for column in self.table.columns
                )
            )
            for side in ("incoming", "raw")
        )
        equal = self._connection.execute(
            sql.SQL(
                # A join may be planned to read all of raw; what OFFSET keeps apart looks up keys.
                "delete from {} as incoming where exists (select from {} as raw"
                " where raw.id = incoming.id and raw._deleted_at is null"
                " and {} is not distinct from {} offset 0)"
            ).format(self._incoming, self._held.name, mine, theirs)
        )
        self._rows_differing = self.rows_read - equal.rowcount

    @property
    def rows_changed(self) -> int:
        """Rows of raw that `apply` will change; right after `drop_equal`."""
        return self._rows_differing + self.rows_deleted

    def apply(self, load_id: str) -> None:
        """Merge into raw: tombstones for what is gone, then new and changed rows."""
        if self.rows_deleted:
            lost = [
                sql.SQL("{} = null").format(sql.Identifier(column.name))
                for column in self.table.columns
                if not self.table.is_kept(column)
            ]
            self._connection.execute(
                sql.SQL("update {} set {} where id = any(array(select id from {}))").format(
                    self._held.name,
                    sql.SQL(", ").join([*lost, sql.SQL("_deleted_at = now(), _dlt_load_id = %s")]),
                    self._gone,
                ),
                [load_id],
            )
        if not self._rows_differing:
            return
        merged = self._connection.execute(
            sql.SQL(
                """
                with merged as (
                    insert into {table} ({columns}, _dlt_load_id)
                    select {columns}, %s from {incoming}
                    on conflict (id) do update set
                        {changes}, _deleted_at = null, _dlt_load_id = excluded._dlt_load_id
                    -- a row that was not there has no one who locked it
                    returning xmax = 0 as is_new
                )
                select count(*) filter (where is_new), count(*) filter (where not is_new)
                from merged
                """
            ).format(
                table=self._held.name,
                columns=sql.SQL(", ").join(self._columns),
                incoming=self._incoming,
                changes=sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(name)
                    for column, name in zip(self.table.columns, self._columns, strict=True)
                    if column.name != "id"
                ),
            ),
            [load_id],
        )
        self.rows_inserted, self.rows_updated = merged.fetchone()


def append(source: Session, query: sql.Composable, connection: Session, held: RawTable) -> int:
    """Read rows that raw has never had straight into it, `_dlt_load_id` last; how many."""
    names = [*(column.name for column in held.table.columns), LOAD_ID]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    return pipe(source, query, connection, sql.SQL("{} ({})").format(held.name, columns))


def text_form(value: sql.Composable, type_: str) -> sql.Composable:
    """What to compare: of some types PostgreSQL holds values for equal that are written apart."""
    is_written_apart = type_ in ("json", "jsonb", "float8")
    return sql.SQL("{}::text").format(value) if is_written_apart else value
