"""One extraction: lock, read, load, record. A run heals what an earlier one left half done."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import dlt
import psycopg
import pyarrow as pa
from dlt.common.pipeline import LoadInfo
from psycopg import Connection

from extract import raw
from extract.databases import (
    ExtractError,
    as_extract_error,
    connect,
    connect_arrow,
    is_interrupt,
    speaking_of,
)
from extract.source import TableReader, chatwoot, inspect_source, open_snapshot
from extract.tables import TABLES

log = logging.getLogger(__name__)

LOCK_KEY = 0x4D495258
PIPELINE = "chatwoot"

# dlt's settings; the environment (LOAD__WORKERS=2) goes before them.
DLT_CONFIG = """\
[runtime]
dlthub_telemetry = false
# Its messages may quote rows; ours do not.
log_level = "CRITICAL"

[extract]
workers = 1
# One connection reads one table after the other.
next_item_mode = "fifo"

[data_writer]
# One job turns one file into memory.
file_max_items = 50000
file_max_bytes = 33554432
buffer_max_items = 50000

[normalize]
workers = 1

[normalize.parquet_normalizer]
add_dlt_load_id = true

[load]
workers = 1
raise_on_max_retries = 1
delete_completed_jobs = true
truncate_staging_dataset = true
"""


@dataclass(frozen=True)
class TableRun:
    """What one run did to one table. `rows_deleted`: tombstones, and rows of the erasure ledger."""

    table: str
    rows_read: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    seconds: float
    watermark: str | None


def run_extract(
    source_dsn: str,
    warehouse_dsn: str,
    home: Path,
    *,
    full: bool = False,
    progress: Callable[[TableRun], None] | None = None,
) -> list[TableRun]:
    """Bring what is new in Chatwoot into raw_chatwoot; `full` compares every row of every table.

    Rows that are gone from the source become tombstones where a table is read whole: always for
    small tables, for the others with `full`. `progress` is told of each table once it has been
    read, before it is loaded. Raises ExtractError; the run is then recorded as failed.
    """
    with _lock(warehouse_dsn), connect("warehouse", warehouse_dsn) as connection:
        with speaking_of("warehouse", warehouse_dsn):
            run_id = _begin(connection, "full" if full else "tick")
        try:
            runs = _extract(
                connection, run_id, source_dsn, warehouse_dsn, home / "dlt", full, progress
            )
        except BaseException as error:
            failure = as_extract_error(error, "warehouse", warehouse_dsn)
            _fail(connection, run_id, str(failure))
            if is_interrupt(error):
                raise KeyboardInterrupt from None
            if isinstance(error, Exception):
                raise failure from None
            raise
    return runs


@contextmanager
def _lock(dsn: str) -> Iterator[None]:
    """Hold the warehouse's extraction lock on a connection that does nothing else."""
    with connect("warehouse", dsn) as connection:
        if connection.execute("select pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone() != (True,):
            holder = connection.execute(
                """
                select pg_stat_activity.pid, pg_stat_activity.backend_start
                from pg_catalog.pg_locks
                inner join pg_catalog.pg_stat_activity on pg_locks.pid = pg_stat_activity.pid
                where pg_locks.locktype = 'advisory' and pg_locks.granted
                    and pg_locks.classid = 0 and pg_locks.objid = %s
                    and pg_stat_activity.datname = current_database()
                """,
                [LOCK_KEY],
            ).fetchone()
            who = "of another role"
            if holder and holder[1]:  # of other roles' sessions the start is hidden
                who = f"pid {holder[0]} since {holder[1]:%Y-%m-%d %H:%M:%S %Z}"
            raise ExtractError(
                f"another extraction is running (database session {who}): wait for it to end"
            )
        yield


def _begin(connection: Connection[Any], pass_: str) -> int:
    """Record a run; runs still `running` are of killed processes, since we hold the lock."""
    connection.execute(
        "update app.sync_runs set status = 'failed', finished_at = now(), "
        "error = 'the process ended before the run did' where status = 'running'"
    )
    row = connection.execute(
        "insert into app.sync_runs (pass) values (%s) returning id", [pass_]
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert returns its row
    return int(row[0])


def _note_change(connection: Connection[Any], run_id: int, rows: int) -> None:
    """Say in time what a run is about to change, for the case that it never finishes."""
    connection.execute(
        "update app.sync_runs set rows_changed = coalesce(rows_changed, 0) + %s where id = %s",
        [rows, run_id],
    )


def _finish(
    connection: Connection[Any],
    run_id: int,
    readers: Sequence[TableReader],
    load_seconds: Mapping[str, float],
    erased: Mapping[str, int],
) -> list[TableRun]:
    """Record a success, in one transaction with the last deletions of the ledger.

    `rows_changed` and the data version count what unfinished runs since the last success changed:
    nobody has built from that yet.
    """
    with connection.transaction(), connection.cursor() as cursor:
        late = raw.delete_erased(connection, TABLES)
        _note_change(connection, run_id, sum(late.values()))
        runs = [
            _table_run(
                reader,
                load_seconds.get(reader.table.name, 0.0),
                erased.get(reader.table.name, 0) + late.get(reader.table.name, 0),
            )
            for reader in readers
        ]
        cursor.executemany(
            "insert into app.sync_tables (sync_run_id, source_table, rows_read, rows_inserted, "
            "rows_updated, rows_deleted, seconds, watermark) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    run_id, run.table, run.rows_read, run.rows_inserted, run.rows_updated,
                    run.rows_deleted, run.seconds, run.watermark,
                )
                for run in runs
            ],
        )  # fmt: skip
        changed = cursor.execute(
            """
            update app.sync_runs set
                status = 'succeeded', finished_at = now(), rows_read = %s,
                rows_changed = (
                    select coalesce(sum(earlier.rows_changed), 0) from app.sync_runs as earlier
                    where earlier.id > coalesce((
                        select max(id) from app.sync_runs where status = 'succeeded'
                    ), 0)
                )
            where id = %s
            returning rows_changed > 0
            """,
            [sum(run.rows_read for run in runs), run_id],
        ).fetchone()
        if changed == (True,):
            cursor.execute("select nextval('app.data_version')")
    return runs


def _fail(connection: Connection[Any], run_id: int, error: str) -> None:
    try:
        connection.execute(
            "update app.sync_runs set status = 'failed', finished_at = now(), error = %s "
            "where id = %s",
            [error, run_id],
        )
    except psycopg.Error:  # the warehouse itself is gone: the next run marks it
        log.warning("run %s could not be recorded as failed", run_id)


def _extract(
    connection: Connection[Any],
    run_id: int,
    source_dsn: str,
    warehouse_dsn: str,
    folder: Path,
    full: bool,
    progress: Callable[[TableRun], None] | None,
) -> list[TableRun]:
    sources = inspect_source(source_dsn)
    types = {source.table.name: source.types for source in sources}
    connection.execute("set lock_timeout = '1min'")
    with connection.transaction():
        _note_change(connection, run_id, raw.widen(connection, types, TABLES))
    held = raw.prepare(connection, types, TABLES)
    with connection.transaction():
        deleted = raw.delete_erased(connection, TABLES)
        _note_change(connection, run_id, sum(deleted.values()))
    erased = raw.erased_ids(connection)
    with _pipeline(folder, warehouse_dsn) as pipeline:
        states = _states(pipeline)
        readers = [
            TableReader(
                source,
                held[source.table.name],
                before=states.get(source.table.name, {}),
                erased=erased.get(source.table.name),
                is_full=full,
            )
            for source in sources
        ]
        seconds: Mapping[str, float] = {}
        if _read(pipeline, readers, source_dsn, warehouse_dsn, progress):
            merged = sum(r.rows_inserted + r.rows_updated + r.rows_deleted for r in readers)
            _note_change(connection, run_id, merged)
            seconds = _load(pipeline)
    raw.make_indexes(connection, TABLES)
    return _finish(connection, run_id, readers, seconds, deleted)


def _table_run(reader: TableReader, load_seconds: float = 0.0, erased: int = 0) -> TableRun:
    return TableRun(
        table=reader.table.name,
        rows_read=reader.rows_read,
        rows_inserted=reader.rows_inserted,
        rows_updated=reader.rows_updated,
        rows_deleted=reader.rows_deleted + erased,
        seconds=round(reader.seconds + load_seconds, 3),
        watermark=reader.watermark,
    )


@contextmanager
def _pipeline(folder: Path, warehouse_dsn: str) -> Iterator[dlt.Pipeline]:
    """The pipeline of dlt with the state of the last finished load.

    The warehouse is the only memory: the working folder starts empty, so a package that a killed
    process left is dropped, with whatever state it believed in, and it is gone at the end.
    """
    shutil.rmtree(folder, ignore_errors=True)
    settings = folder / ".dlt"
    folder.mkdir(mode=0o700, parents=True)
    settings.mkdir()
    (settings / "config.toml").write_text(DLT_CONFIG)
    # Without a secrets file dlt looks for secrets in Streamlit, and imports it for that.
    (settings / "secrets.toml").touch()
    os.environ["DLT_PROJECT_DIR"] = os.environ["DLT_DATA_DIR"] = str(folder)
    credentials = warehouse_dsn.replace("postgres://", "postgresql://", 1)
    credentials += ("&" if "?" in credentials else "?") + "application_name=mirante"
    try:
        pipeline = dlt.pipeline(
            PIPELINE,
            pipelines_dir=str(folder),
            destination=dlt.destinations.postgres(credentials=credentials),
            dataset_name=raw.SCHEMA,
        )
        pipeline.sync_destination()
        yield pipeline
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _states(pipeline: dlt.Pipeline) -> Mapping[str, Mapping[str, Any]]:
    sources: Mapping[str, Any] = pipeline.state.get("sources", {})
    states: Mapping[str, Mapping[str, Any]] = sources.get(PIPELINE, {}).get("resources", {})
    return states


def _read(
    pipeline: dlt.Pipeline,
    readers: Sequence[TableReader],
    source_dsn: str,
    warehouse_dsn: str,
    progress: Callable[[TableRun], None] | None,
) -> bool:
    """Read all tables at one moment of the source; False: nothing is new, dlt was not asked."""
    with (
        open_snapshot(source_dsn) as (source, moment),
        connect_arrow(warehouse_dsn, autocommit=True) as warehouse,
    ):

        def read(reader: TableReader) -> Iterator[pa.Table]:
            with speaking_of("source", source_dsn):
                held = raw.RawRows(warehouse, reader.held, warehouse_dsn)
                yield from reader.changes(source, held, moment)
            if progress:
                progress(_table_run(reader))

        # Up to the first table with news here, the rest inside dlt: whose work is per table.
        readings: list[tuple[TableReader, Iterator[pa.Table]]] = []
        waiting = iter(readers)
        for reader in waiting:
            changes = read(reader)
            first = next(changes, None)
            if first is not None:
                readings.append((reader, chain([first], changes)))
                break
            if reader.has_new_state:
                readings.append((reader, iter(())))
        readings += [(reader, read(reader)) for reader in waiting]
        if readings:
            pipeline.extract(chatwoot(readings))
    return bool(readings)


def _load(pipeline: dlt.Pipeline) -> dict[str, float]:
    """Load what was read; seconds per table."""
    pipeline.normalize()
    info: LoadInfo = pipeline.load()
    seconds: dict[str, float] = {}
    for metrics in info.metrics.values():
        for step in metrics:
            for job in step["job_metrics"].values():
                if job.finished_at:
                    spent = (job.finished_at - job.started_at).total_seconds()
                    seconds[job.table_name] = seconds.get(job.table_name, 0.0) + spent
    return seconds
