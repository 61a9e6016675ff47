"""A small Chatwoot with every kind of value, and a warehouse for it: what tests of extract use."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, conninfo, sql

from extract import comparison, pipeline, source
from extract.pipeline import TableRun, run_extract
from extract.tables import FORBIDDEN_COLUMNS, TABLES, grant_statements
from warehouse.db import Warehouse
from warehouse.migrate import migrate

READER = "extract_reader"
READER_PASSWORD = "leitor/secreto@1"
FIRST_UPDATE = datetime(2024, 3, 1)
SIZES = {"messages": 240, "conversations": 60, "contacts": 60, "taggings": 60}
# Every kind of value a type can bring, NULL last.
SAMPLES: dict[str, list[Any]] = {
    "int4": [1, 2, -1, 2147483647, None],
    "int8": [1, 2, 9007199254740993, None],
    "bool": [True, False, None],
    "float8": [0.1, "NaN", "Infinity", -1.5e300, None],
    "varchar": ["Ana", "", "a\\b\tc\nd 'e' \"f\"", "😀 <b>é</b>", "NULL", None],
    "text": ["oi", "", "😀\r\n\\N", None],
    "timestamp": [
        "infinity",
        "1969-12-31 23:59:59.999999",
        "2024-03-01 10:00:00.123456",
        "2024-03-01 10:00:00",
        None,
    ],
    "json": ["{}", '{"a":  1, "a": 2}', json.dumps('{"deleted": true}'), '"\\u0000"', None],
    "jsonb": ["{}", '{"z": 1, "a": [1.10, null, "é"]}', '"texto"', None],
    "uuid": ["00000000-0000-4000-8000-000000000000", None],
}


@dataclass
class Databases:
    """A Chatwoot and a warehouse of one test's own."""

    admin_dsn: str
    reader_dsn: str
    warehouse_dsn: str
    home: Path

    def run(self, **options: Any) -> dict[str, TableRun]:
        runs = run_extract(self.reader_dsn, self.warehouse_dsn, self.home, **options)
        return {run.table: run for run in runs}

    def source(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.admin_dsn, query, parameters)

    def raw(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return rows_of(self.warehouse_dsn, query, parameters)


def rows_of(dsn: str, query: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def make_small(patch: pytest.MonkeyPatch) -> None:
    """Ranges, batches and overlaps small enough to matter in small tables."""
    patch.setattr(comparison, "RANGE_IDS", 4)
    patch.setattr(comparison, "FINE_IDS", 2)
    patch.setattr(comparison, "BATCH_IDS", 50)
    patch.setattr(comparison, "FETCH_ROWS", 40)
    patch.setattr(pipeline, "BULK_ROWS", 100)
    patch.setattr(pipeline, "ID_OVERLAP", 5)
    patch.setattr("extract.databases.PIPE_BYTES", 2000)


def make_cloner(warehouse: Warehouse, folder: Path, prefix: str) -> Callable[..., Databases]:
    """Makes pairs of databases from templates: a filled Chatwoot and an empty warehouse.

    What it returns takes the names of other templates; `target=None`: no warehouse.
    """
    numbers = count(1)

    def make(chatwoot: str = f"{prefix}_cw", target: str | None = f"{prefix}_wh") -> Databases:
        number = next(numbers)
        with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
            connection.execute(f"create database {prefix}_cw_{number} template {chatwoot}")
            if target:
                name = f"{prefix}_wh_{number}"
                connection.execute(f"create database {name} template {target}")
                connection.execute(f"grant create on database {name} to mirante_owner")
        admin = warehouse.dsn("admin", f"{prefix}_cw_{number}")
        home = folder / f"home{number}"
        home.mkdir()
        return Databases(
            admin_dsn=admin,
            reader_dsn=conninfo.make_conninfo(admin, user=READER, password=READER_PASSWORD),
            warehouse_dsn=warehouse.dsn("owner", f"{prefix}_wh_{number}") if target else "",
            home=home,
        )

    with psycopg.connect(warehouse.admin_dsn, autocommit=True) as connection:
        connection.execute(f"create database {prefix}_cw")
        connection.execute(f"create database {prefix}_wh")
        if not connection.execute("select 1 from pg_roles where rolname = %s", [READER]).fetchone():
            connection.execute(f"create role {READER} login password '{READER_PASSWORD}'")
    migrate(dataclasses.replace(warehouse, admin_dsn=warehouse.dsn("admin", f"{prefix}_wh")))
    with psycopg.connect(warehouse.dsn("admin", f"{prefix}_cw")) as connection:
        fill_chatwoot(connection)
        for statement in grant_statements(READER):
            connection.execute(statement)
    return make


def fill_chatwoot(connection: Connection) -> None:
    """Chatwoot's real tables without their unique indexes, and rows of every kind of value."""
    ddl = (Path(source.__file__).parents[1] / "warehouse" / "sample" / "chatwoot.sql").read_text()
    connection.execute(ddl.split("\n-- Indexes")[0])
    for table in TABLES:
        if table.has_created_at_index:
            connection.execute(f"create index on {table.name} (created_at)")
    connection.execute("set session_replication_role = replica")
    for table in TABLES:
        columns = connection.execute(
            """
            select attname, typname, attnotnull from pg_attribute
            inner join pg_type on atttypid = pg_type.oid
            where attrelid = %s::regclass and attnum > 0 and not attisdropped and attname <> 'id'
            """,
            [f"public.{table.name}"],
        ).fetchall()
        forbidden = FORBIDDEN_COLUMNS.get(table.name, ())
        for number in range(SIZES.get(table.name, 12)):
            values = {}
            for place, (name, type_, is_required) in enumerate(columns):
                samples = SAMPLES[type_][:-1] if is_required else SAMPLES[type_]
                values[name] = samples[(number * (place + 1) + place) % len(samples)]
                if name in forbidden and type_ in ("varchar", "text"):
                    values[name] = "SECRET-TOKEN"
                if name == "updated_at":
                    values[name] = FIRST_UPDATE + number * timedelta(minutes=10, microseconds=1)
                if name == "context":
                    values[name] = "labels"
            connection.execute(
                sql.SQL("insert into {} ({}) values ({})").format(
                    sql.Identifier(table.name),
                    sql.SQL(", ").join(map(sql.Identifier, values)),
                    sql.SQL(", ").join(map(sql.Literal, values.values())),
                )
            )
    # As long as Chatwoot lets a message be.
    connection.execute("update messages set content = repeat('é', 150000) where id = 5")


def contents(
    databases: Databases, table: str, *, of_source: bool, condition: str = "true"
) -> list[tuple[Any, ...]]:
    """Rows as text in the order of id, a column NULL that the source lacks; of raw, those alive."""
    names = next(t for t in TABLES if t.name == table).column_names
    if not of_source:
        columns = ", ".join(f"{name}::text" for name in names)
        return databases.raw(
            f"select {columns} from raw_chatwoot.{table} where _deleted_at is null "
            f"and {condition} order by id"
        )
    there = {
        name
        for (name,) in databases.source(
            "select attname from pg_attribute where attrelid = %s::regclass and not attisdropped",
            f"public.{table}",
        )
    }
    columns = ", ".join(f"{name}::text" if name in there else "null" for name in names)
    return databases.source(f"select {columns} from public.{table} where {condition} order by id")


def assert_equal_to_source(databases: Databases) -> None:
    """Every table, every row, every column, as PostgreSQL writes it."""
    for table in TABLES:
        expected = contents(databases, table.name, of_source=True)
        assert contents(databases, table.name, of_source=False) == expected, table.name


def changes(runs: dict[str, TableRun]) -> dict[str, tuple[int, int, int]]:
    """Rows inserted, updated and deleted of the tables in which any were."""
    return {
        run.table: (run.rows_inserted, run.rows_updated, run.rows_deleted)
        for run in runs.values()
        if run.rows_changed
    }
