"""Reading Chatwoot: what the database has, and the rows that raw_chatwoot does not hold yet."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.schema.typing import TColumnSchema
from dlt.extract import DltResource
from psycopg import sql

from extract import raw
from extract.databases import ExtractError, connect, connect_arrow, speaking_of
from extract.tables import FORBIDDEN_COLUMNS, TABLES, Table
from warehouse.db import describe_dsn

log = logging.getLogger(__name__)

SCHEMA = "public"
PAGE_ROWS = 50_000
# Rows become visible out of order: a transaction may commit after others whose ids and times are
# later. Older or larger ones than these are found by a full pass.
TIME_OVERLAP = timedelta(hours=1)
ID_OVERLAP = 10_000

# One statement reads a page at most; a production server must not be held up by us.
SESSION = (
    "set statement_timeout = '5min'",
    "set lock_timeout = '10s'",
    "set idle_in_transaction_session_timeout = '15min'",
)


@dataclass(frozen=True)
class SourceTable:
    """A table of the allow-list as this Chatwoot has it: the types of those columns it has."""

    table: Table
    types: Mapping[str, str]

    @property
    def is_present(self) -> bool:
        """False for an optional table that this Chatwoot does not have."""
        return bool(self.types)


def inspect_source(dsn: str) -> list[SourceTable]:
    """What of the allow-list this database has and lets us read.

    Raises ExtractError when it is out of reach, no Chatwoot, lacks something required, or
    something is not granted: before anything is written.
    """
    with connect("source", dsn) as connection, speaking_of("source", dsn):
        connection.execute("set default_transaction_read_only = on")
        for setting in SESSION:
            connection.execute(setting)
        rows = connection.execute(
            """
            select
                pg_class.relname, pg_attribute.attname, pg_type.typname,
                has_column_privilege(pg_class.oid, pg_attribute.attnum, 'select')
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
        user = connection.info.user
        may_enter = connection.execute(
            "select has_schema_privilege(%s, 'usage')", [SCHEMA]
        ).fetchone()
    types: dict[str, dict[str, str]] = {}
    readable: dict[str, set[str]] = {}
    for table, column, type_, is_readable in rows:
        types.setdefault(table, {})[column] = type_
        if is_readable:
            readable.setdefault(table, set()).add(column)
    where = describe_dsn(dsn)
    _check_is_chatwoot(types, where)
    _check_columns(types, where)
    if may_enter != (True,):
        raise ExtractError(
            f"source {where}: no permission on schema {SCHEMA}: "
            f'GRANT USAGE ON SCHEMA {SCHEMA} TO "{user}"'
        )
    _check_permissions(types, readable, where, user)
    _report_news(types)
    return [
        SourceTable(
            table,
            {
                name: types[table.name][name]
                for name in table.column_names
                if name in types.get(table.name, {})
            },
        )
        for table in TABLES
    ]


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


def _report_news(types: Mapping[str, Mapping[str, str]]) -> None:
    news = [
        f"{table.name}.{column}"
        for table in TABLES
        for column in types.get(table.name, {})
        if column not in table.column_names
        and column not in table.left_out
        and column not in FORBIDDEN_COLUMNS.get(table.name, ())
    ]
    if news:
        log.warning("source has columns that are not read: %s", ", ".join(news))
    lacking = [
        f"{table.name}.{column.name}"
        for table in TABLES
        if table.name in types
        for column in table.columns
        if column.name not in types[table.name]
    ]
    lacking += [table.name for table in TABLES if table.name not in types]
    if lacking:
        log.info("source lacks, and raw has empty: %s", ", ".join(lacking))


@contextmanager
def open_snapshot(dsn: str) -> Iterator[tuple[Any, datetime]]:
    """A read-only ADBC connection that sees one moment of the source, and that moment in UTC."""
    with speaking_of("source", dsn):
        connection = connect_arrow(dsn, autocommit=False)
    try:
        with speaking_of("source", dsn), connection.cursor() as cursor:
            cursor.execute("set transaction isolation level repeatable read, read only")
            for setting in SESSION:
                cursor.execute(setting.replace("set ", "set local ", 1))
            cursor.execute("select now() at time zone 'utc'")
            moment = cursor.fetchone()[0]
        yield connection, moment
    finally:
        connection.close()


class TableReader:
    """Reads one table of the source and keeps what raw_chatwoot does not hold yet.

    `before` is what the last finished run left in dlt's state, `state` what this one leaves once
    `changes` is exhausted; the counts are right from then on too.
    """

    def __init__(
        self,
        source: SourceTable,
        held: raw.RawTable,
        *,
        before: Mapping[str, Any],
        erased: pa.Array | None,
        is_full: bool,
    ) -> None:
        self.table = source.table
        self.held = held
        self.rows_read = self.rows_inserted = self.rows_updated = self.rows_deleted = 0
        self.seconds = 0.0
        self._source = source
        self._erased = erased
        self._before = before
        self._is_whole = (
            is_full
            or self.table.read == "whole"
            or held.is_empty
            # A column that came or went changed every row without touching updated_at.
            or before.get("columns") != sorted(source.types)
            or not before.get("updated_at")
        )
        start = {} if self._is_whole else before
        updated_at = start.get("updated_at")
        self._max_id: int | None = start.get("max_id")
        self._updated_at = datetime.fromisoformat(updated_at) if updated_at else None

    @property
    def state(self) -> dict[str, Any]:
        """What the next run needs to know of this one."""
        return {
            "columns": sorted(self._source.types),
            "max_id": self._max_id,
            "updated_at": self._updated_at.isoformat() if self._updated_at else None,
        }

    @property
    def has_new_state(self) -> bool:
        """Whether the state after reading is another than before."""
        return self.state != self._before

    @property
    def watermark(self) -> str | None:
        """How far the table has been read: the latest `updated_at`, else the highest id."""
        if self._updated_at:
            return self._updated_at.isoformat()
        return None if self._max_id is None else f"id {self._max_id}"

    def changes(self, source: Any, held: raw.RawRows, moment: datetime) -> Iterator[pa.Table]:
        """Rows to merge: new, changed, and tombstones. Equal and erased rows are left out."""
        parts = self._parts(source, held, moment)
        while True:
            started = time.perf_counter()
            rows = next(parts, None)
            self.seconds += time.perf_counter() - started
            if rows is None:
                return
            yield rows

    def _parts(self, source: Any, held: raw.RawRows, moment: datetime) -> Iterator[pa.Table]:
        if not self._source.is_present:
            return
        last_id: int | None = None
        condition = self._condition()
        while True:
            page_rows = 0
            for rows in raw.stream(source, self._query(condition, last_id)):
                page_rows += rows.num_rows
                after, last_id = last_id, rows["id"][-1].as_py()
                self._note(rows, moment)
                yield from self._changed(rows, held)
                if self._is_whole:
                    yield from self._gone(rows["id"], held, after, last_id)
            if page_rows < PAGE_ROWS:
                break
        if self._is_whole:
            yield from self._gone(None, held, last_id, None)

    def _condition(self) -> sql.Composable:
        if self._is_whole or self._updated_at is None or self._max_id is None:
            return sql.SQL("true")
        return sql.SQL("(updated_at >= {} or id > {})").format(
            sql.Literal(self._updated_at - TIME_OVERLAP), sql.Literal(self._max_id - ID_OVERLAP)
        )

    def _query(self, condition: sql.Composable, after: int | None) -> sql.Composed:
        expressions = [
            raw.read_expression(
                sql.Identifier(name) if name in self._source.types else sql.SQL("null"),
                self.held.types[name],
                name,
            )
            for name in self.table.column_names
        ]
        return sql.SQL(
            "select {columns}, null::timestamptz as _deleted_at from {table} "
            "where {condition} and {page} order by id limit {rows}"
        ).format(
            columns=sql.SQL(", ").join(expressions),
            table=sql.Identifier(SCHEMA, self.table.name),
            condition=condition,
            page=sql.SQL("true") if after is None else sql.SQL("id > {}").format(after),
            rows=PAGE_ROWS,
        )

    def _note(self, rows: pa.Table, moment: datetime) -> None:
        self.rows_read += rows.num_rows
        highest = rows["id"][-1].as_py()
        self._max_id = highest if self._max_id is None else max(highest, self._max_id)
        if "updated_at" in rows.column_names:
            # A time in the future would hide every change until then.
            latest = pc.min_element_wise(pc.max(rows["updated_at"]), pa.scalar(moment)).as_py()
            self._updated_at = max(latest, self._updated_at or latest)

    def _changed(self, rows: pa.Table, held: raw.RawRows) -> Iterator[pa.Table]:
        if self._erased is not None:
            is_erased = pc.is_in(rows["id"].cast(pa.int64()), value_set=self._erased)
            rows = rows.filter(pc.invert(is_erased))
        known = None if self.held.is_empty else held.by_id(rows["id"])
        new, changed = raw.split_changed(rows, known)
        self.rows_inserted += new.num_rows
        self.rows_updated += changed.num_rows
        yield from (part for part in (new, changed) if part.num_rows)

    def _gone(
        self, ids: pa.ChunkedArray | None, held: raw.RawRows, after: int | None, up_to: int | None
    ) -> Iterator[pa.Table]:
        """Tombstones of rows that raw holds in (after, up_to] and the source does not."""
        if self.held.is_empty:
            return
        alive = held.alive_ids(after, up_to)
        if ids is not None:
            alive = alive.filter(pc.invert(pc.is_in(alive, value_set=ids.combine_chunks())))
        for start in range(0, len(alive), PAGE_ROWS):
            tombstones = held.tombstones(alive.slice(start, PAGE_ROWS))
            if tombstones is not None:
                self.rows_deleted += tombstones.num_rows
                yield tombstones


@dlt.source(name="chatwoot", max_table_nesting=0)
def chatwoot(
    readings: Sequence[tuple[TableReader, Iterator[pa.Table]]],
) -> Iterator[DltResource]:
    """Resources of the tables that are read, merged on `id`; state per table is dlt's."""
    for reader, changes in readings:
        yield dlt.resource(
            _rows(reader, changes),
            name=reader.table.name,
            primary_key="id",
            write_disposition={"disposition": "merge", "strategy": "upsert"},
            columns=_hints(reader),
            file_format="parquet",
        )


def _rows(reader: TableReader, changes: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield from changes
    dlt.current.resource_state().update(reader.state)


def _hints(reader: TableReader) -> list[TColumnSchema]:
    """The types by dlt's names: it makes its staging tables of them; raw's own are made by us."""
    kinds: dict[str, TColumnSchema] = {
        "int4": {"data_type": "bigint", "precision": 32},
        "int8": {"data_type": "bigint", "precision": 64},
        "varchar": {"data_type": "text"},
        "text": {"data_type": "text"},
        "bool": {"data_type": "bool"},
        "float8": {"data_type": "double"},
        "json": {"data_type": "json"},
        "jsonb": {"data_type": "json"},
        "timestamp": {"data_type": "timestamp", "timezone": False, "precision": 6},
        "timestamptz": {"data_type": "timestamp", "timezone": True, "precision": 6},
    }
    types = {name: reader.held.types[name] for name in (*reader.table.column_names, "_deleted_at")}
    return [
        {"name": name, "nullable": name != "id", **kinds[type_]} for name, type_ in types.items()
    ]
