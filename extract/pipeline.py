"""One extraction: lock, read, load, record. A run heals what an earlier one left half done.

Two passes. *Bulk* goes by ranges of ids in short transactions: first loads, and the reconcile pass
that compares every row of the tables a tick reads only the recent part of. *Tick* ends every run:
one snapshot of the source, merged in one transaction, so a message never comes without its
conversation; what a bulk brought before it may wait for it. Both are loads of one dlt pipeline.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import sql

from extract import raw
from extract.comparison import FETCH_ROWS, HIGHEST, LOWEST, Comparison, Difference, Pair
from extract.databases import (
    ExtractError,
    Session,
    as_extract_error,
    is_interrupt,
)
from extract.source import (
    changed_types,
    choose_source,
    connect_source,
    inspect_source,
    read_moment,
    snapshot,
)
from extract.tables import TABLES
from warehouse.db import describe_dsn

if TYPE_CHECKING:
    from extract.load import LoadPipeline

log = logging.getLogger(__name__)

LOCK_KEY = 0x4D495258
# How far back a tick reads what may have changed since, and what may have committed late.
RECENT = timedelta(hours=48)
# Before any mark is as old as RECENT: ids that may have committed late.
ID_OVERLAP = 10_000
# More rows than this of one table are not for one transaction.
BULK_ROWS = 100_000
# So many new rows make the planner's statistics worth gathering again, if they are also this
# share of the table.
ANALYZE_ROWS = 1_000
ANALYZE_SHARE = 0.05
# Marks are kept an hour apart; older ones than the one that is used are forgotten.
MARK_DISTANCE = timedelta(hours=1)

Progress = Callable[[str, str, int, int | None], None]


@dataclass
class TableRun:
    """What one run did to one table.

    `rows_compared` were hashed on both sides, `rows_read` travelled from the source;
    `rows_deleted` are tombstones, and rows of the erasure ledger.
    """

    table: str
    rows_compared: int = 0
    rows_read: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    seconds: float = 0.0
    watermark: str | None = None

    @property
    def rows_changed(self) -> int:
        """Rows of raw that are others than before."""
        return self.rows_inserted + self.rows_updated + self.rows_deleted

    def add(self, incoming: raw.Incoming) -> None:
        """Count what a merge did."""
        self.rows_inserted += incoming.rows_inserted
        self.rows_updated += incoming.rows_updated
        self.rows_deleted += incoming.rows_deleted

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time spent inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started


@dataclass
class State:
    """What dlt's state keeps between runs.

    `types`: columns and types of each table that is whole in raw, as the source had them.
    `marks`: per table that is read in part, when the source's last id was which.
    """

    types: dict[str, dict[str, str]] = field(default_factory=dict)
    marks: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "State":
        """From what dlt kept."""
        return cls(
            types=dict(kept.get("types", {})),
            marks={
                table: [(at, id_) for at, id_ in marks]
                for table, marks in kept.get("marks", {}).items()
            },
        )

    def as_kept(self) -> dict[str, Any]:
        """For dlt to keep."""
        return {"types": self.types, "marks": self.marks}

    def recent_above(self, table: str, moment: datetime, recent: timedelta) -> int:
        """The id above which rows may be new, or may have changed or committed since."""
        at, id_ = self.marks[table][0]
        return id_ if datetime.fromisoformat(at) <= moment - recent else id_ - ID_OVERLAP

    def mark(
        self,
        table: str,
        moment: datetime,
        last: int,
        recent: timedelta,
        before: int | None = None,
    ) -> None:
        """Remember the source's last id of a moment; the first mark is the one in use.

        `before` is the last id of as long ago as `recent`, where that is known.
        """
        marks = self.marks.setdefault(table, [])
        if not marks and before is not None:
            marks.append(((moment - recent).isoformat(), before))
        if not marks or datetime.fromisoformat(marks[-1][0]) <= moment - MARK_DISTANCE:
            marks.append((moment.isoformat(), last))
        while len(marks) > 1 and datetime.fromisoformat(marks[1][0]) <= moment - recent:
            marks.pop(0)


@dataclass
class Run:
    """One run of the process: where from, where to, and what it did so far."""

    id: int
    source_dsn: str
    warehouse_dsn: str
    holder: Session
    connection: Session
    folder: Path
    recent: timedelta
    pause: float
    progress: Progress
    tables: dict[str, TableRun]
    state: State = field(default_factory=State)
    known_types: dict[str, dict[str, str]] = field(default_factory=dict)
    drift: list[str] = field(default_factory=list)
    moment: datetime | None = None
    # As of when raw is, where a replica is read.
    since: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check_lock(self) -> None:
        """Raise ExtractError when another run may have begun: the lock's session is gone."""
        try:
            self.holder.execute("select 1")
        except ExtractError:
            raise ExtractError(
                "the database session that held the extraction's lock was ended, and another"
                " extraction may have begun: run this one again"
            ) from None

    def note_moment(self, moment: datetime) -> None:
        """Say in time as of when raw will be: no run may read an older source after this one."""
        self.moment = moment
        self.connection.execute(
            "update app.sync_runs set source_moment = %s at time zone 'utc' where id = %s",
            [moment, self.id],
        )

    def note_change(self, rows: int) -> None:
        """Say in time what is about to change, for the case that the run never finishes."""
        self.connection.execute(
            "update app.sync_runs set rows_changed = coalesce(rows_changed, 0) + %s where id = %s",
            [rows, self.id],
        )


def run_extract(
    source_dsn: str,
    warehouse_dsn: str,
    home: Path,
    *,
    full: bool = False,
    replica_dsn: str | None = None,
    recent: timedelta = RECENT,
    pause: float = 0.0,
    progress: Progress | None = None,
) -> list[TableRun]:
    """Bring what is new in Chatwoot into raw_chatwoot; `full` is the reconcile pass.

    A tick compares small tables, contacts and conversations row by row, and reads of messages,
    attachments and reporting events what is new or not older than `recent`. The reconcile pass
    compares all rows of those too. What is gone from the source becomes a tombstone. A replica is
    read instead of the source when it answers and is not behind what raw has. `pause` is the
    seconds to leave the source alone between two statements of a bulk. `progress` is told the
    phase, the table, rows done and rows in all, or None. Raises ExtractError; the run is then
    recorded as failed, and the next one goes on.
    """
    # Half a second of dlt's imports, while the databases answer.
    threading.Thread(target=import_module, args=["extract.load"], daemon=True).start()
    with _lock(warehouse_dsn) as holder, raw.connect_raw(warehouse_dsn) as connection:
        run = Run(
            id=_begin(connection, "reconcile" if full else "tick"),
            source_dsn=source_dsn,
            warehouse_dsn=warehouse_dsn,
            holder=holder,
            connection=connection,
            folder=home / "dlt",
            recent=recent,
            pause=pause,
            progress=progress or (lambda *_: None),
            tables={table.name: TableRun(table.name) for table in TABLES},
        )
        try:
            last = _last_moment(connection)
            run.source_dsn, reason = choose_source(source_dsn, replica_dsn, last)
            run.since = last if run.source_dsn == replica_dsn else None
            if reason:
                run.drift.append(reason)
            return _extract(run, full)
        except BaseException as error:
            failure = as_extract_error(error, "warehouse", warehouse_dsn)
            _fail(run, str(failure))
            if is_interrupt(error):
                raise KeyboardInterrupt from None
            if isinstance(error, Exception):
                raise failure from None
            raise


@contextmanager
def _lock(dsn: str) -> Iterator[Session]:
    """Hold the warehouse's extraction lock on a connection that does nothing else."""
    with raw.connect_raw(dsn) as connection:
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
        try:
            yield connection
        finally:
            # Given back, not left to the session's end, which a busy server tells late: the next
            # run of this process would meet it.
            with suppress(ExtractError):
                connection.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])


def _begin(connection: Session, pass_: str) -> int:
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


def _last_moment(connection: Session) -> datetime | None:
    """As of when raw is, in UTC."""
    row = connection.execute(
        "select max(source_moment) at time zone 'utc' from app.sync_runs"
    ).fetchone()
    moment: datetime | None = row[0]
    return moment


def _last_drift(connection: Session) -> list[str]:
    row = connection.execute(
        "select drift from app.sync_runs where status = 'succeeded' order by id desc limit 1"
    ).fetchone()
    return [] if row is None else list(row[0])


@contextmanager
def _opening(run: Run) -> Iterator["Future[LoadPipeline]"]:
    """Open dlt's pipeline beside everything that can do without: its imports, and its state."""

    def open_pipeline() -> "LoadPipeline":
        from extract.load import LoadPipeline

        return opened.enter_context(LoadPipeline(run.folder, run.warehouse_dsn))

    with ExitStack() as opened, ThreadPoolExecutor(1) as pool:
        yield pool.submit(open_pipeline)


def _extract(run: Run, full: bool) -> list[TableRun]:
    with _opening(run) as opening, ExitStack() as at_source:
        source = at_source.enter_context(connect_source(run.source_dsn))
        sources, drift = inspect_source(source, run.source_dsn)
        run.drift += drift
        types = {source.table.name: source.types for source in sources}
        with run.connection.transaction():
            run.note_change(raw.widen(run.connection, types, TABLES))
        held = raw.prepare(run.connection, types, TABLES)
        with run.connection.transaction():
            erased = raw.delete_erased(run.connection, TABLES)
            run.note_change(sum(erased.values()))
        for name, rows in erased.items():
            run.tables[name].rows_deleted += rows
        never = raw.erased_ids(run.connection)
        pairs = {
            source.table.name: Pair(
                source, held[source.table.name], never.get(source.table.name, ())
            )
            for source in sources
        }

        if raw.has_state(run.connection):
            run.state = State.of(opening.result().read_state())
        run.known_types = dict(run.state.types)
        run.drift += changed_types(sources, run.known_types)
        known = _last_drift(run.connection)
        for line in run.drift:
            log.log(logging.INFO if line in known else logging.WARNING, "%s", line)
        with _Bulk(run, pairs) as bulk:
            with bulk.two:  # the source's session for planning is one of them
                planned = _plan_bulk(run, source, pairs, full, bulk)
                if bulk.rows:
                    bulk.take_over(source, at_source.pop_all())
            if bulk.rows:
                bulk.record(opening.result())
                run.known_types = dict(run.state.types)
        if bulk.rows:
            source = at_source.enter_context(connect_source(run.source_dsn))
        # What finds rows by another column can wait for the next run.
        raw.make_indexes(run.connection, TABLES, keys_only=planned)
        grown = [pairs[name].table for name in bulk.rows]
        with raw.analyzing(run.warehouse_dsn, grown):
            _tick(run, opening, pairs, source, at_source)
    raw.analyze(
        run.connection,
        [
            table
            for table in TABLES
            if table not in grown
            and (inserted := run.tables[table.name].rows_inserted) >= ANALYZE_ROWS
            and inserted >= ANALYZE_SHARE * raw.known_rows(run.connection, table)
        ],
    )
    return _finish(run)


def _plan_bulk(
    run: Run, source: Session, pairs: Mapping[str, Pair], full: bool, bulk: "_Bulk"
) -> list[str]:
    """Find what to bring over in ranges, too much for one transaction or reconcile; which tables.

    What is found of a table moves while the next one is compared.
    """
    last = raw.last_ids(run.connection, TABLES)
    wanted = _wanted_in_bulk(run, source, pairs, last, full)
    if not wanted:
        return wanted
    moment = _known(read_moment(source), run)
    run.note_moment(moment)
    # A tick compares these whole, known or not.
    run.state.types |= {
        name: dict(pair.source.types)
        for name, pair in pairs.items()
        if pair.table.read == "whole" and pair.source.is_present
    }
    with Comparison(source, run.warehouse_dsn, run.pause) as comparison:
        for name in wanted:
            started = time.perf_counter()
            last_at_source = _last_source_id(source, pairs[name])
            for difference in _bulk_differences(run, comparison, pairs[name], last[name]):
                bulk.move(difference)
            with run.lock:
                run.tables[name].seconds += time.perf_counter() - started
            run.state.types[name] = dict(pairs[name].source.types)
            # From before the first range was read: what came or changed since is recent.
            run.state.mark(
                name, moment, last_at_source or 0, run.recent,
                _id_before(source, pairs[name], moment, run.recent, last_at_source or 0),
            )  # fmt: skip
    return wanted


def _known(moment: datetime | None, run: Run) -> datetime:
    if moment is None:
        raise ExtractError(
            f"source {describe_dsn(run.source_dsn)}: a standby that has replayed nothing yet: "
            "as of when its rows are is unknown; wait, or name the primary"
        )
    if run.since is not None and moment < run.since:
        raise ExtractError(
            f"source {describe_dsn(run.source_dsn)}: as of {moment:%Y-%m-%d %H:%M:%S} UTC, raw is"
            " later, and a moment ago it was not: name one standby, not an address of several"
        )
    return moment


def _wanted_in_bulk(
    run: Run, source: Session, pairs: Mapping[str, Pair], last: Mapping[str, int | None], full: bool
) -> list[str]:
    """Tables with too much for one transaction; with `full` all that a tick reads in part."""
    present = [pair for pair in pairs.values() if pair.source.is_present]
    unknown = {
        pair.table.name
        for pair in present
        if run.known_types.get(pair.table.name) != pair.source.types
    }
    # Of a table whose state is unknown raw may lack any rows, not only those after its last.
    query = sql.SQL(" union all ").join(
        sql.SQL("select {}, exists (select from {} where id > {} order by id offset {})").format(
            sql.Literal(pair.table.name),
            pair.source_name,
            LOWEST
            if last[pair.table.name] is None or pair.table.name in unknown
            else last[pair.table.name],
            BULK_ROWS,
        )
        for pair in present
    )
    is_large = dict(source.execute(query).fetchall())
    # In a first load all large tables go this way, and their state with them.
    is_first = not run.known_types and any(is_large.values())
    return [
        pair.table.name
        for pair in present
        if is_large[pair.table.name] or (pair.table.read == "recent" and (full or is_first))
    ]


def _bulk_differences(
    run: Run, comparison: Comparison, pair: Pair, last: int | None
) -> Iterator[Difference]:
    compared = comparison.rows_compared
    found: list[Difference] = []
    if last is not None:
        for difference in comparison.differences(pair, up_to=last):
            run.progress("compare", pair.table.name, comparison.rows_compared - compared, None)
            found.append(difference)
    yield from found  # not sooner: to move rows meanwhile would slow the source's statements
    run.tables[pair.table.name].rows_compared += comparison.rows_compared - compared
    yield from comparison.new_ranges(pair, LOWEST if last is None else last, HIGHEST)


def _last_source_id(source: Session, pair: Pair) -> int | None:
    if not pair.source.is_present:
        return None
    row = source.execute(sql.SQL("select max(id) from {}").format(pair.source_name)).fetchone()
    return None if row is None else row[0]


def _id_before(
    source: Session, pair: Pair, moment: datetime, recent: timedelta, last: int
) -> int | None:
    """An id as old as `recent`, at least as far back as the overlap; None: no index tells it.

    Of clocks that are ahead nothing follows: a first row from the year 9999 would have it all read.
    """
    if not pair.source.has_created_at_index:
        return None
    row = source.execute(
        # + 0, or the planner would go through all ids from the lowest
        sql.SQL(
            "select min(id + 0) from {} where created_at >= {}::timestamp and created_at <= {}"
        ).format(
            pair.source_name,
            sql.Literal((moment - recent).isoformat()),
            sql.Literal((moment + recent).isoformat()),
        )
    ).fetchone()
    first = last if row is None or row[0] is None else row[0] - 1
    return min(first, last - ID_OVERLAP)


class _Bulk:
    """Loads ranges in short transactions, each read and committed by itself, a session a thread.

    They move while the next table is compared and dlt is still being opened; its jobs, one a table,
    wait for them.
    """

    def __init__(self, run: Run, pairs: Mapping[str, Pair]) -> None:
        self._run = run
        self._pairs = pairs
        self._load_id = str(time.time())  # as dlt makes them
        # Rows to move, by table.
        self.rows: dict[str, int] = {}
        self._ranges: dict[str, list[tuple[int, int]]] = {}
        self._moving: dict[str, list[Future[None]]] = {}
        self._sessions = ExitStack()
        self.two = threading.BoundedSemaphore(2)  # sessions on the source at a time
        self._free: list[tuple[Session, Session]] = []
        self._spare: list[Session] = []

    def __enter__(self) -> "_Bulk":
        self._pool = ThreadPoolExecutor(2)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._sessions.close()

    def take_over(self, source: Session, opened: ExitStack) -> None:
        """Read in this session of the source as well; `opened` closes it."""
        with self._run.lock:
            self._sessions.enter_context(opened)
            self._spare.append(source)

    def move(self, difference: Difference) -> None:
        """Begin to move what differs; a failure leaves raw as it was, and shows in `record`."""
        self._run.note_change(difference.rows)
        name = difference.table
        self.rows[name] = self.rows.get(name, 0) + difference.rows
        self._ranges.setdefault(name, []).extend(difference.ranges)
        moving = self._pool.submit(self._move, difference)
        self._moving.setdefault(name, []).append(moving)

    def record(self, pipeline: "LoadPipeline") -> None:
        """Have dlt record it, once everything has moved."""
        pipeline.load(
            [
                ({"table": name, "ranges": self._ranges[name]}, rows)
                for name, rows in self.rows.items()
            ],
            {name: pair.raw for name, pair in self._pairs.items()},
            self._run.state.as_kept(),
            self,
            self._load_id,
        )

    def load(self, reference: dict[str, Any], load_id: str) -> None:
        """Wait for the rows of one table."""
        assert load_id == self._load_id  # noqa: S101 - the rows bear it
        for moving in self._moving[reference["table"]]:
            moving.result()

    def _move(self, difference: Difference) -> None:
        with self.two:
            self._move_now(difference)

    def _move_now(self, difference: Difference) -> None:
        pair = self._pairs[difference.table]
        run = self._run.tables[pair.table.name]
        started = time.perf_counter()
        source, warehouse = self._take_sessions()
        ranges = difference.ranges
        if difference.is_new:
            query = pair.read_ranges(ranges, self._load_id)
            rows = raw.append(source, query, warehouse, pair.raw)
            with self._run.lock:
                run.rows_read += rows
                run.rows_inserted += rows
        else:
            with warehouse.transaction():
                incoming = raw.Incoming(warehouse, pair.raw)
                incoming.receive(source, pair.read_ranges(ranges))
                incoming.find_gone(*zip(*ranges, strict=True))
                incoming.drop_equal()
                incoming.apply(self._load_id)
            with self._run.lock:
                run.rows_read += incoming.rows_read
                run.add(incoming)
        # One that failed is not handed on: it may be in the middle of a COPY.
        self._free.append((source, warehouse))
        with self._run.lock:
            run.seconds += time.perf_counter() - started
            self._run.progress("load", pair.table.name, run.rows_read, self.rows[pair.table.name])
        if self._run.pause:
            time.sleep(self._run.pause)

    def complete(self) -> None:
        """Every range is committed already."""

    def _take_sessions(self) -> tuple[Session, Session]:
        with self._run.lock:
            if self._free:
                return self._free.pop()
            source = (
                self._spare.pop()
                if self._spare
                else self._sessions.enter_context(connect_source(self._run.source_dsn))
            )
            warehouse = self._sessions.enter_context(raw.connect_raw(self._run.warehouse_dsn))
            # What commits after these ranges is flushed, and they with it: until then a range
            # that a crash takes back is one that the next run finds missing.
            warehouse.execute("set synchronous_commit = off")
            return source, warehouse


def _tick(
    run: Run,
    opening: "Future[LoadPipeline]",
    pairs: Mapping[str, Pair],
    source: Session,
    at_source: ExitStack,
) -> None:
    """Bring over what is new or has changed as of one moment, in one transaction.

    The source is let go once all is read. Where nothing differs, dlt is not asked.
    """
    with raw.connect_raw(run.warehouse_dsn) as warehouse:
        warehouse.execute("begin")
        loading = _Tick(run, warehouse, pairs)
        with snapshot(source) as moment, Comparison(source, run.warehouse_dsn) as comparison:
            moment = _known(moment, run)
            run.note_moment(moment)
            comparison.look_ahead([pair for pair in pairs.values() if pair.table.read == "whole"])
            for name, pair in pairs.items():
                table_run = run.tables[name]
                with table_run.timed():
                    loading.stage(pair, source, comparison)
                table_run.watermark = moment.isoformat()
                run.progress("tick", name, table_run.rows_read, None)
        at_source.close()
        changed = loading.changed
        if changed or run.state.types != run.known_types:
            run.note_change(sum(incoming.rows_changed for incoming in changed.values()))
            opening.result().load(
                [({"table": name}, incoming.rows_read) for name, incoming in changed.items()],
                {name: pair.raw for name, pair in pairs.items()},
                run.state.as_kept(),
                loading,
            )


class _Tick:
    """Stages what came from one snapshot, merges it at load, commits once all tables are merged."""

    def __init__(self, run: Run, warehouse: Session, pairs: Mapping[str, Pair]) -> None:
        self._run = run
        self._warehouse = warehouse
        self._pairs = pairs
        # Their children may go later than they did: in jobs of their own.
        self._lost = raw.parents_with_tombstones(warehouse, run.recent)
        self._incoming: dict[str, raw.Incoming] = {}
        self._failure: ExtractError | None = None
        self._lock = threading.Lock()

    @property
    def changed(self) -> dict[str, raw.Incoming]:
        """What there is to merge, by table."""
        return {name: rows for name, rows in self._incoming.items() if rows.rows_changed}

    def stage(self, pair: Pair, source: Session, comparison: Comparison) -> None:
        """Read what may differ of one table; nothing of raw changes yet."""
        name, state = pair.table.name, self._run.state
        if pair.source.is_present and pair.table.read == "recent":
            last = _last_source_id(source, pair) or 0
            # Raw may have been emptied by hand: then nothing of it is taken for granted.
            is_lost = raw.last_id(self._warehouse, pair.table) is None
            if is_lost or name not in state.marks or state.types.get(name) != pair.source.types:
                self._stage_differences(pair, source, comparison)
            else:
                self._stage_recent(pair, source, comparison, last)
            moment, recent = self._run.moment, self._run.recent
            assert moment is not None  # noqa: S101 - set with the snapshot
            before = None
            if name not in state.marks:
                before = _id_before(source, pair, moment, recent, last)
            state.mark(name, moment, last, recent, before)
        elif pair.source.is_present:
            self._stage_differences(pair, source, comparison)
        elif state.types.get(name) != {}:  # the table was there: its rows went with it
            self._incoming_of(pair).find_gone([LOWEST], [HIGHEST])
        state.types[name] = dict(pair.source.types)
        if incoming := self._incoming.get(name):
            incoming.drop_equal()
            self._run.tables[name].rows_read += incoming.rows_read

    def _stage_differences(
        self, pair: Pair, source: Session, comparison: Comparison, above: int = LOWEST
    ) -> None:
        before = comparison.rows_compared
        for difference in comparison.differences(pair, above=above, up_to=HIGHEST):
            incoming = self._incoming_of(pair)
            incoming.receive(source, pair.read_ranges(difference.ranges))
            incoming.find_gone(*zip(*difference.ranges, strict=True))
        self._run.tables[pair.table.name].rows_compared += comparison.rows_compared - before

    def _stage_recent(self, pair: Pair, source: Session, comparison: Comparison, last: int) -> None:
        assert self._run.moment is not None  # noqa: S101 - set with the snapshot
        since = self._run.moment - self._run.recent
        above = self._run.state.recent_above(pair.table.name, self._run.moment, self._run.recent)
        incoming = self._incoming_of(pair)
        # By the ids alone: to count the rows would be to visit them.
        is_large = last - above > FETCH_ROWS
        if is_large:  # too many to read again where most are equal
            self._stage_differences(pair, source, comparison, above)
        window = [] if is_large else ["id > {above}"]
        if pair.source.has_created_at_index:
            recent = "created_at >= {since}::timestamp"
            window.append(f"{recent} and id <= {{above}}" if is_large else recent)
        if window:
            condition = sql.SQL("(" + " or ".join(window) + ") and {not_erased}").format(
                above=above,
                since=sql.Literal(since.isoformat()),
                not_erased=pair.not_erased(LOWEST, HIGHEST),
            )
            incoming.receive(source, pair.read(condition))
        if not is_large:
            incoming.find_gone([above], [HIGHEST])
        if pair.table.parent and self._has_lost(pair.table.parent[0]):
            # Their parents went, and they are going: no need to wait for the reconcile pass.
            name, column = pair.table.parent
            parent = self._incoming_of(self._pairs[name])
            ids = incoming.ids_below(parent, column, self._run.recent, BULK_ROWS)
            for start in range(0, len(ids), FETCH_ROWS):
                ranges = [(id_ - 1, id_) for id_ in ids[start : start + FETCH_ROWS]]
                incoming.receive(source, pair.read_ranges(ranges))
                incoming.find_gone(*zip(*ranges, strict=True))

    def _has_lost(self, parent: str) -> bool:
        incoming = self._incoming.get(parent)
        return parent in self._lost or (incoming is not None and incoming.rows_deleted > 0)

    def _incoming_of(self, pair: Pair) -> raw.Incoming:
        name = pair.table.name
        if name not in self._incoming:
            self._incoming[name] = raw.Incoming(self._warehouse, pair.raw)
        return self._incoming[name]

    def load(self, reference: dict[str, Any], load_id: str) -> None:
        """Merge one table; to be seen when all of them are."""
        with self._lock, self._run.tables[reference["table"]].timed():
            if self._failure:  # the transaction is void: say why, not that it is
                raise self._failure
            incoming = self._incoming[reference["table"]]
            try:
                incoming.apply(load_id)
            except ExtractError as error:
                self._failure = error
                raise
            self._run.tables[reference["table"]].add(incoming)

    def complete(self) -> None:
        """All tables of the moment at once."""
        self._run.check_lock()
        self._warehouse.execute("commit")


def _finish(run: Run) -> list[TableRun]:
    """Record a success, in one transaction with the last deletions of the ledger.

    `rows_changed` and the data version count what unfinished runs since the last success changed:
    nobody has built from that yet.
    """
    run.check_lock()
    connection = run.connection
    runs = list(run.tables.values())
    with connection.transaction():
        for name, rows in raw.delete_erased(connection, TABLES).items():
            run.tables[name].rows_deleted += rows
        connection.cursor().executemany(
            "insert into app.sync_tables (sync_run_id, source_table, rows_compared, rows_read, "
            "rows_inserted, rows_updated, rows_deleted, seconds, watermark) "
            "values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    run.id, table.table, table.rows_compared, table.rows_read, table.rows_inserted,
                    table.rows_updated, table.rows_deleted, table.seconds, table.watermark,
                )
                for table in runs
            ],
        )  # fmt: skip
        changed = connection.execute(
            """
            update app.sync_runs set
                status = 'succeeded', finished_at = now(), rows_read = %s, drift = %s,
                lag_seconds = extract(epoch from now() - source_moment),
                rows_changed = %s + (
                    select coalesce(sum(earlier.rows_changed), 0) from app.sync_runs as earlier
                    where earlier.id < sync_runs.id and earlier.id > coalesce((
                        select max(id) from app.sync_runs where status = 'succeeded'
                    ), 0)
                )
            where id = %s
            returning rows_changed > 0
            """,
            [
                sum(table.rows_read for table in runs), run.drift,
                sum(table.rows_changed for table in runs), run.id,
            ],
        ).fetchone()  # fmt: skip
        if changed == (True,):
            connection.execute("select nextval('app.data_version')")
    return runs


def _fail(run: Run, error: str) -> None:
    try:
        run.connection.execute(
            "update app.sync_runs set status = 'failed', finished_at = now(), error = %s "
            "where id = %s",
            [error, run.id],
        )
    except ExtractError:  # the warehouse itself is gone: the next run marks it
        log.warning("run %s could not be recorded as failed", run.id)
