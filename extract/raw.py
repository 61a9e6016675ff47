"""The warehouse's side: tables of raw_chatwoot, what they hold, the erasure ledger."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import Connection, sql

from extract.databases import speaking_of
from extract.tables import Column, Table

log = logging.getLogger(__name__)

SCHEMA = "raw_chatwoot"
# dlt's own, beside SCHEMA: rows on their way, emptied at the end of a load.
STAGING_SCHEMA = "raw_chatwoot_staging"
DELETED_AT = "_deleted_at"
LOAD_ID = "_dlt_load_id"

# Bytes of one batch that ADBC hands over: what is in memory at a time, long messages or not.
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class RawTable:
    """A table of raw_chatwoot as this run found it."""

    table: Table
    types: Mapping[str, str]
    is_empty: bool


def widen(
    connection: Connection[Any], wanted: Mapping[str, Mapping[str, str]], tables: Sequence[Table]
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
            # dlt makes it again, with the new type.
            connection.execute(
                sql.SQL("drop table if exists {}").format(sql.Identifier(STAGING_SCHEMA, table))
            )
    return len(altered)


def prepare(
    connection: Connection[Any], wanted: Mapping[str, Mapping[str, str]], tables: Sequence[Table]
) -> dict[str, RawTable]:
    """Make what is missing: schema, tables, columns; a second run changes nothing.

    `wanted` has the type of each allow-listed column of the source.
    """
    _empty_staging(connection)
    existing = _column_types(connection)
    if connection.execute("select to_regnamespace(%s)", [SCHEMA]).fetchone() == (None,):
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(SCHEMA)))
    with connection.transaction():
        for table in tables:
            _make_table(connection, table, wanted.get(table.name, {}), existing.get(table.name))
    make_indexes(connection, [table for table in tables if table.name in existing])
    types = _column_types(connection)
    return {
        table.name: RawTable(table, types[table.name], _is_empty(connection, table))
        for table in tables
    }


def _empty_staging(connection: Connection[Any]) -> None:
    """Empty what a killed or failed load left on its way: the ledger does not reach it there."""
    rows = connection.execute(
        """
        select pg_class.relname from pg_catalog.pg_class
        where pg_class.relnamespace = to_regnamespace(%s) and pg_class.relkind = 'r'
            and pg_class.relname not like %s and pg_relation_size(pg_class.oid) > 0
        """,
        [STAGING_SCHEMA, r"\_dlt%"],
    )
    for (table,) in rows.fetchall():
        connection.execute(sql.SQL("truncate {}").format(sql.Identifier(STAGING_SCHEMA, table)))


def _make_table(
    connection: Connection[Any],
    table: Table,
    source_types: Mapping[str, str],
    existing: Mapping[str, str] | None,
) -> None:
    name = sql.Identifier(SCHEMA, table.name)
    types = {column.name: _raw_type(column, source_types) for column in table.columns}
    types |= {DELETED_AT: "timestamptz", LOAD_ID: "text"}
    if existing is None:
        columns = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(type_))
            for column, type_ in types.items()
        )
        connection.execute(sql.SQL("create table {} ({})").format(name, columns))
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


def _column_types(connection: Connection[Any]) -> dict[str, dict[str, str]]:
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


def _is_empty(connection: Connection[Any], table: Table) -> bool:
    query = sql.SQL("select not exists (select from {})").format(sql.Identifier(SCHEMA, table.name))
    return connection.execute(query).fetchone() == (True,)


def make_indexes(connection: Connection[Any], tables: Iterable[Table]) -> None:
    """Primary key and indexes, on tables that have rows and not yet all of them.

    After the first load rather than before it: building once is faster than keeping up.
    """
    have = {
        row[0]
        for row in connection.execute(
            "select indexname from pg_catalog.pg_indexes where schemaname = %s", [SCHEMA]
        )
    }
    for table in tables:
        name = sql.Identifier(SCHEMA, table.name)
        missing = [column for column in table.indexes if f"{table.name}_{column}" not in have]
        has_key = f"{table.name}_pkey" in have
        if (has_key and not missing) or _is_empty(connection, table):
            continue
        with connection.transaction():
            if not has_key:
                connection.execute(
                    sql.SQL("alter table {} add constraint {} primary key (id)").format(
                        name, sql.Identifier(f"{table.name}_pkey")
                    )
                )
            for column in missing:
                connection.execute(
                    sql.SQL("create index {} on {} ({})").format(
                        sql.Identifier(f"{table.name}_{column}"), name, sql.Identifier(column)
                    )
                )
        connection.execute(sql.SQL("analyze {}").format(name))


def delete_erased(connection: Connection[Any], tables: Sequence[Table]) -> dict[str, int]:
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


def erased_ids(connection: Connection[Any]) -> dict[str, pa.Array]:
    """Ids that must never be loaded, per source table."""
    ids: dict[str, list[int]] = {}
    for table, id_ in connection.execute("select source_table, source_id from app.erased_rows"):
        ids.setdefault(table, []).append(id_)
    return {table: pa.array(listed, pa.int64()) for table, listed in ids.items()}


def stream(connection: Any, query: sql.Composable) -> Iterator[pa.Table]:
    """Rows of a query through ADBC, a few megabytes at a time, in the query's order."""
    with connection.cursor() as cursor:
        cursor.adbc_statement.set_options(
            **{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
        )
        cursor.execute(query.as_string())
        for batch in cursor.fetch_record_batch():
            yield pa.Table.from_batches([batch])


class RawRows:
    """Reads rows of one raw table as the source's own query would give them.

    JSON is read as text, so that both sides compare and travel alike.
    """

    def __init__(self, connection: Any, raw: RawTable, dsn: str) -> None:
        self._connection = connection
        self._dsn = dsn
        self._raw = raw
        self._name = sql.Identifier(SCHEMA, raw.table.name)

    def by_id(self, ids: pa.Array) -> pa.Table | None:
        """The rows of these ids that raw holds, tombstones included."""
        expressions = [
            read_expression(sql.Identifier(column.name), self._raw.types[column.name])
            for column in self._raw.table.columns
        ]
        return self._fetch([*expressions, sql.Identifier(DELETED_AT)], ids)

    def tombstones(self, ids: pa.Array) -> pa.Table | None:
        """What is left of the rows of these ids: keys, references, times, and `_deleted_at`."""
        table = self._raw.table
        expressions = [
            read_expression(
                sql.Identifier(column.name) if table.is_kept(column) else sql.SQL("null"),
                self._raw.types[column.name],
                column.name,
            )
            for column in table.columns
        ]
        return self._fetch([*expressions, sql.SQL("now() as _deleted_at")], ids)

    def alive_ids(self, after: int | None, up_to: int | None) -> pa.Array:
        """Ids in (after, up_to] that raw holds and that are no tombstones; None: no bound."""
        conditions: list[sql.Composable] = [sql.SQL("_deleted_at is null")]
        if after is not None:
            conditions.append(sql.SQL("id > {}").format(after))
        if up_to is not None:
            conditions.append(sql.SQL("id <= {}").format(up_to))
        query = sql.SQL("select id from {} where {}").format(
            self._name, sql.SQL(" and ").join(conditions)
        )
        found = self._all(query)
        types = {"int4": pa.int32(), "int8": pa.int64()}
        nothing = pa.array([], types[self._raw.types["id"]])
        return nothing if found is None else found["id"].combine_chunks()

    def _fetch(self, expressions: Sequence[sql.Composable], ids: pa.Array) -> pa.Table | None:
        if not len(ids):
            return None
        listed = "{" + ",".join(str(int(id_)) for id_ in ids.to_pylist()) + "}"
        query = sql.SQL("select {} from {} where id = any({}::int8[])").format(
            sql.SQL(", ").join(expressions), self._name, sql.Literal(listed)
        )
        return self._all(query)

    def _all(self, query: sql.Composable) -> pa.Table | None:
        # Inside the reading of the source, whose errors name the source.
        with speaking_of("warehouse", self._dsn):
            found = list(stream(self._connection, query))
        return pa.concat_tables(found) if found else None


def read_expression(value: sql.Composable, type_: str, name: str | None = None) -> sql.Composed:
    """`value` as `type_` of raw under the column's name: JSON as its text, infinite times as NULL.

    Neither side's ADBC can carry infinity in a timestamp.
    """
    cast = sql.SQL("{}::{}").format(value, sql.SQL(type_))
    if type_ in ("json", "jsonb"):
        cast = sql.SQL("{}::text").format(cast)
    if type_ == "timestamp":
        cast = sql.SQL("nullif(nullif({}, 'infinity'), '-infinity')").format(cast)
    label = sql.Identifier(name) if name else value
    return sql.SQL("{} as {}").format(cast, label)


def split_changed(rows: pa.Table, held: pa.Table | None) -> tuple[pa.Table, pa.Table]:
    """Rows that raw does not have, and rows that it has otherwise; equal rows are in neither."""
    if held is None:
        return rows, rows.slice(0, 0)
    position = pc.index_in(rows["id"], value_set=held["id"].combine_chunks())
    is_new = pc.is_null(position)
    known = rows.filter(pc.invert(is_new))
    before = held.take(position.drop_null())
    same = None
    for name in known.column_names:
        equal = _equal(known[name], before[name])
        same = equal if same is None else pc.and_(same, equal)
    return rows.filter(is_new), known.filter(pc.invert(same))


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    """Equality in which NULL equals NULL and NaN equals NaN."""
    equal = pc.fill_null(pc.equal(left, right), False)
    equal = pc.or_(equal, pc.and_(pc.is_null(left), pc.is_null(right)))
    if pa.types.is_floating(left.type):
        both = pc.and_(pc.is_nan(left), pc.is_nan(right))
        equal = pc.or_(equal, pc.fill_null(both, False))
    return equal
