"""A table on both sides: its values, what they hash to, and the ranges of ids that differ.

Every pass asks the same question: which ranges of ids hold other rows at the source than in
raw? The warehouse cuts its own rows into ranges and hashes them; the source hashes the same
ranges and answers with those that differ, which are cut and asked once more. No row travels for it.
"""

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from psycopg import sql

from extract import raw
from extract.databases import Session
from extract.source import SCHEMA, SourceTable
from extract.tables import Column, Table

# Ids of a range that is hashed; and where it differs, of those it is then cut into: what a single
# difference makes the source send.
RANGE_IDS = 256
FINE_IDS = 16
# Ids of one statement on the source when hashing, and rows when reading what raw does not have.
BATCH_IDS = 65_536
FETCH_ROWS = 100_000
RECORD_HASH_VERSION = 140000
# A literal of -(2**63) would be a numeric, which no index of integers serves.
LOWEST, HIGHEST = -(2**63) + 1, 2**63 - 1

# record: PostgreSQL's own hash of a row, 0.5 s for a million; text: where a side lacks it
# (before 14) or hashes otherwise (another byte order), 2 s.
Method = Literal["record", "text"]

# An id range: above `after`, up to and with `up_to`.
Range = tuple[int, int]


@dataclass(frozen=True)
class RawRange:
    """A range of ids (after, up_to] in raw: rows that are no tombstones, and their hash."""

    after: int
    up_to: int
    rows: int
    hash: str | None


@dataclass(frozen=True)
class Pair:
    """A table as the source and raw have it. `erased`: ids of the ledger, sorted; never read."""

    source: SourceTable
    raw: raw.RawTable
    erased: Sequence[int] = ()

    @property
    def table(self) -> Table:
        """The table of the allow-list."""
        return self.source.table

    def read(self, condition: sql.Composable) -> sql.Composed:
        """The source's rows under `condition`, each column in raw's type."""
        return sql.SQL("select {} from {} where {}").format(
            sql.SQL(", ").join(self._source_values()), self.source_name, condition
        )

    def read_ranges(self, ranges: Sequence[Range], load_id: str | None = None) -> sql.Composed:
        """The source's rows in ranges of ids, in raw's types, `load_id` last if one is given."""
        values = self._source_values()
        if load_id is not None:
            values.append(sql.SQL("{}::text").format(sql.Literal(load_id)))
        if len(ranges) == 1:
            place = sql.SQL("{} where id > {} and id <= {}").format(self.source_name, *ranges[0])
        else:
            place = sql.SQL(
                "unnest({}::int8[], {}::int8[]) as wanted (after, up_to)"
                " inner join {} on id > wanted.after and id <= wanted.up_to where true"
            ).format(
                array(after for after, _ in ranges),
                array(up_to for _, up_to in ranges),
                self.source_name,
            )
        return sql.SQL("select {} from {} and {}").format(
            sql.SQL(", ").join(values), place, self.not_erased(ranges[0][0], ranges[-1][1])
        )

    @property
    def source_name(self) -> sql.Identifier:
        """The table at the source."""
        return sql.Identifier(SCHEMA, self.table.name)

    def not_erased(self, after: int, up_to: int) -> sql.Composable:
        """A condition that leaves out ids of the ledger between two ids."""
        ids = self.erased[bisect_right(self.erased, after) : bisect_right(self.erased, up_to)]
        return sql.SQL("id <> all({}::int8[])").format(array(ids)) if ids else sql.SQL("true")

    def source_hash(self, method: Method) -> sql.Composable:
        """The hash of a row of the source; equal to raw's where all of its values are."""
        return _hash(self.table, self._source_values(), self.raw.types, method)

    def raw_hash(self, method: Method) -> sql.Composable:
        """The hash of a row of raw."""
        names = [sql.Identifier(column.name) for column in self.table.columns]
        return _hash(self.table, names, self.raw.types, method)

    def _source_values(self) -> list[sql.Composable]:
        return [self._source_value(column) for column in self.table.columns]

    def _source_value(self, column: Column) -> sql.Composable:
        name = sql.Identifier(column.name)
        wanted = self.raw.types[column.name]
        found = self.source.types.get(column.name)
        if found == wanted:
            return name
        value: sql.Composable = sql.SQL("null") if found is None else name
        return sql.SQL("{}::{}").format(value, sql.SQL(wanted))


@dataclass(frozen=True)
class Difference:
    """Ranges of one table's ids that differ, at most some FETCH_ROWS rows of the source.

    `is_new`: raw holds no row there, not even a tombstone.
    """

    table: str
    ranges: tuple[Range, ...]
    rows: int
    is_new: bool = False


def _hash(
    table: Table, values: Sequence[sql.Composable], types: Mapping[str, str], method: Method
) -> sql.Composable:
    row = sql.SQL("row({})").format(
        sql.SQL(", ").join(
            raw.text_form(value, types[column.name])
            for value, column in zip(values, table.columns, strict=True)
        )
    )
    if method == "record":
        return sql.SQL("hash_record_extended({}, 0)").format(row)
    return sql.SQL("('x' || left(md5({}::text), 16))::bit(64)::int8").format(row)


def choose_method(source: Session, warehouse: Session) -> Method:
    """The fast hash if both servers give the same for a row of every type, else the text's."""
    probe = (
        "select hash_record_extended(row(1::int4, 2::int8, 'ação'::varchar, '{}'::json::text,"
        " null::bool, true, timestamp '1969-12-31 23:59:59.999999', 'infinity'::timestamp), 0)"
    )
    if source.info.server_version < RECORD_HASH_VERSION:
        return "text"
    same = source.execute(probe).fetchone() == warehouse.execute(probe).fetchone()
    return "record" if same else "text"


class Comparison:
    """Compares tables of a source and a warehouse.

    Raw is read in a session and a thread of its own, ahead of the source; between two statements
    the source is left alone for `pause` seconds.
    """

    def __init__(self, source: Session, warehouse_dsn: str, pause: float = 0.0) -> None:
        self._source = source
        self._dsn = warehouse_dsn
        self._pause = pause
        self._resources = ExitStack()
        self._ahead: dict[str, Future[tuple[list[RawRange], bool]]] = {}
        self.rows_compared = 0

    def __enter__(self) -> "Comparison":
        self._warehouse = self._resources.enter_context(raw.connect_raw(self._dsn))
        self._warehouse.execute("set enable_seqscan = off")  # ranges, by the key
        self._method = choose_method(self._source, self._warehouse)
        # The only thread that uses the warehouse's session from here on.
        self._reader = self._resources.enter_context(ThreadPoolExecutor(1))
        return self

    def __exit__(self, *_: object) -> None:
        for waiting in self._ahead.values():
            waiting.cancel()
        self._resources.close()

    def look_ahead(self, pairs: Sequence[Pair]) -> None:
        """Begin to read raw's side of the tables that will be compared, in this order."""
        for pair in pairs:
            if pair.source.is_present:
                self._read_raw(pair, LOWEST)

    def _read_raw(self, pair: Pair, above: int) -> None:
        self._ahead[pair.table.name] = self._reader.submit(self._raw_ranges, pair, above)

    def differences(self, pair: Pair, *, above: int = LOWEST, up_to: int) -> Iterator[Difference]:
        """Where the source's rows above an id, up to another, are others than raw's.

        Tombstones are no rows; ids above raw's last row count as well: what is there at the source
        is a difference. Ranges that differ are compared again in smaller ones.
        """
        if not pair.source.is_present:
            return
        is_last = False
        if pair.table.name not in self._ahead:
            self._read_raw(pair, above)
        while not is_last:
            ranges, is_last = self._ahead.pop(pair.table.name).result()
            self.rows_compared += sum(range_.rows for range_ in ranges)
            if is_last:
                ranges.append(RawRange(ranges[-1].up_to if ranges else above, up_to, 0, None))
            above = ranges[-1].up_to
            differing: list[tuple[Range, int]] = []
            coarse: list[RawRange] = []
            for range_, found in self._differing(pair, ranges):
                if found > range_.rows:  # and perhaps many more: it was not counted to the end
                    differing += self._counted(pair, range_.after, range_.up_to)
                elif range_.rows > FINE_IDS:
                    coarse.append(range_)
                else:
                    differing.append(((range_.after, range_.up_to), found))
            if coarse:
                finer = self._reader.submit(self._raw_ranges_within, pair, coarse).result()
                for range_, found in self._differing(pair, finer):
                    differing.append(((range_.after, range_.up_to), found))
            if not is_last:
                # Not meanwhile: on the same machine the source would pay for it.
                self._read_raw(pair, above)
            yield from _grouped(pair.table.name, sorted(differing))

    def _raw_ranges(self, pair: Pair, above: int) -> tuple[list[RawRange], bool]:
        """Raw's next rows in ranges of RANGE_IDS, BATCH_IDS in all; and whether they are the last.

        By what the ids are, which costs less than to number the rows.
        """
        query = sql.SQL(
            """
            select
                max(id), count(*), sum({hash})::text,
                max(id) = (select max(id) from {table})
            from {table}
            where _deleted_at is null and id > {above} and id <= (
                select least(min(id), {highest} - {batch_ids})::int8 from {table}
                where _deleted_at is null and id > {above}
            ) + {batch_ids}
            group by id / {range_ids} order by 1
            """
        ).format(
            hash=pair.raw_hash(self._method),
            table=pair.raw.name,
            range_ids=RANGE_IDS,
            above=above,
            batch_ids=BATCH_IDS,
            highest=HIGHEST,
        )
        found = self._warehouse.execute(query).fetchall()
        ranges = []
        for last, rows, hash_, _ in found:
            ranges.append(RawRange(above, last, rows, hash_))
            above = last
        return ranges, not found or found[-1][-1]

    def _raw_ranges_within(self, pair: Pair, coarse: Sequence[RawRange]) -> list[RawRange]:
        """The same rows in ranges of FINE_IDS, which together reach as far as those given."""
        query = sql.SQL(
            """
            select place, max(id), count(*), sum({hash})::text
            from unnest({after}::int8[], {up_to}::int8[]) with ordinality
                as wanted (after, up_to, place)
            inner join {table} on id > wanted.after and id <= wanted.up_to
            where _deleted_at is null
            group by place, id / {fine_ids} order by 1, 2
            """
        ).format(
            hash=pair.raw_hash(self._method),
            table=pair.raw.name,
            fine_ids=FINE_IDS,
            after=array(range_.after for range_ in coarse),
            up_to=array(range_.up_to for range_ in coarse),
        )
        ranges = []
        place_before, above = 0, LOWEST
        for place, last, rows, hash_ in self._warehouse.execute(query):
            if place != place_before:
                place_before, above = place, coarse[place - 1].after
            ranges.append(RawRange(above, last, rows, hash_))
            above = last
        return ranges

    def _differing(self, pair: Pair, ranges: Sequence[RawRange]) -> list[tuple[RawRange, int]]:
        """Ranges in which the source has other rows, and how many; one more than raw: or more."""
        query = sql.SQL(
            """
            select wanted.place, found.rows
            from unnest({after}::int8[], {up_to}::int8[], {rows}::int8[], {hashes}::text[])
                with ordinality as wanted (after, up_to, rows, hash, place)
            cross join lateral (
                select count(*) as rows, sum(hash)::text as hash
                from (
                    select {hash} as hash from {table}
                    where id > wanted.after and id <= wanted.up_to and {not_erased}
                    order by id limit wanted.rows + 1
                ) as head
            ) as found
            where (found.rows, found.hash) is distinct from (wanted.rows, wanted.hash)
            order by wanted.place
            """
        ).format(
            after=array(range_.after for range_ in ranges),
            up_to=array(range_.up_to for range_ in ranges),
            rows=array(range_.rows for range_ in ranges),
            hashes=array(range_.hash for range_ in ranges),
            hash=pair.source_hash(self._method),
            table=pair.source_name,
            not_erased=pair.not_erased(ranges[0].after, ranges[-1].up_to),
        )
        found = self._ask(query)
        return [(ranges[place - 1], rows) for place, rows in found]

    def _counted(self, pair: Pair, above: int, up_to: int) -> Iterator[tuple[Range, int]]:
        """A range of ids in ranges of FETCH_ROWS rows of the source at most, which is its end."""
        query = sql.SQL(
            "select max(id), count(*) from "
            "(select id from {} where id > {} and id <= {} order by id limit {}) as next"
        )
        rows = FETCH_ROWS
        while rows == FETCH_ROWS:
            ((last, rows),) = self._ask(query.format(pair.source_name, above, up_to, FETCH_ROWS))
            end = last if rows == FETCH_ROWS else up_to
            if rows or above < end:
                yield (above, end), rows
            above = end

    def new_ranges(self, pair: Pair, above: int, up_to: int) -> Iterator[Difference]:
        """The source's rows above the last id that raw has had, cut into ranges of FETCH_ROWS."""
        if pair.source.is_present:
            for range_, rows in self._counted(pair, above, up_to):
                if rows:
                    yield Difference(pair.table.name, (range_,), rows, is_new=True)

    def _ask(self, query: sql.Composed) -> list[tuple[Any, ...]]:
        answer: list[tuple[Any, ...]] = self._source.execute(query).fetchall()
        if self._pause:
            time.sleep(self._pause)
        return answer


def _grouped(table: str, ranges: Sequence[tuple[Range, int]]) -> Iterator[Difference]:
    """Ranges that touch as one, and as many together as FETCH_ROWS rows of the source are in."""
    group: list[Range] = []
    rows = 0
    for (after, up_to), found in ranges:
        if group and rows + found > FETCH_ROWS:
            yield Difference(table, tuple(group), rows)
            group, rows = [], 0
        if group and group[-1][1] == after:
            group[-1] = (group[-1][0], up_to)
        else:
            group.append((after, up_to))
        rows += found
    if group:
        yield Difference(table, tuple(group), rows)


def array(values: Iterable[Any]) -> sql.Literal:
    """A PostgreSQL array literal of numbers (or of their text), NULL where None."""
    return sql.Literal(
        "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"
    )
