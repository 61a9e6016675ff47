"""A table on both sides: its values, what they hash to, and the ranges of ids that differ.

Every pass asks the same question: which ranges of ids hold other rows at the source than in
raw? The warehouse cuts its own rows into ranges and hashes them; the source hashes the same
ranges and answers with those that differ. No row travels for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from psycopg import sql

from extract import raw
from extract.databases import Session
from extract.source import SCHEMA, SourceTable
from extract.tables import Column, Table

# Rows of raw in a range: what a single difference makes the source send.
RANGE_ROWS = 64
# Rows of one statement on the source when hashing, and when reading what raw does not have.
BATCH_ROWS = 131_072
FETCH_ROWS = 100_000
RECORD_HASH_VERSION = 140000
# A literal of -(2**63) would be a numeric, which no index of integers serves.
LOWEST, HIGHEST = -(2**63) + 1, 2**63 - 1

# record: PostgreSQL's own hash of a row, 0.5 s for a million; text: where a side lacks it
# (before 14) or hashes otherwise (another byte order), 2 s.
Method = Literal["record", "text"]

# An id range: above `after`, up to and with `up_to`.
Range = tuple[int, int]
# Ranges of raw's rows, how many rows each, and the sum of their hashes.
RawRanges = tuple[list[Range], list[int], list[str | None]]


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
        ids = [id_ for id_ in self.erased if after < id_ <= up_to]
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

    Raw is read in a session and a thread of its own, ahead of the source.
    """

    def __init__(self, source: Session, warehouse_dsn: str) -> None:
        self._source = source
        self._dsn = warehouse_dsn
        self._resources = ExitStack()
        self._ahead: dict[str, Future[RawRanges]] = {}
        self.rows_compared = 0

    def __enter__(self) -> "Comparison":
        self._warehouse = self._resources.enter_context(raw.connect_raw(self._dsn))
        self._method = choose_method(self._source, self._warehouse)
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

    def _read_raw(self, pair: Pair, lower: int) -> None:
        self._ahead[pair.table.name] = self._reader.submit(self._raw_ranges, pair, lower)

    def differences(self, pair: Pair, *, up_to: int) -> Iterator[Difference]:
        """Where the source's rows up to an id are others than raw's, tombstones apart.

        Ids above raw's last row count as well: what is there at the source is a difference.
        """
        if not pair.source.is_present:
            return
        lower, is_last = LOWEST, False
        if pair.table.name not in self._ahead:
            self._read_raw(pair, lower)
        while not is_last:
            ranges, counts, hashes = self._ahead.pop(pair.table.name).result()
            is_last = sum(counts) < BATCH_ROWS
            self.rows_compared += sum(counts)
            if is_last:
                ranges.append((ranges[-1][1] if ranges else lower, up_to))
                counts.append(0)
                hashes.append(None)
            lower = ranges[-1][1]
            if not is_last:
                self._read_raw(pair, lower)
            differing = self._differing(pair, ranges, counts, hashes)
            yield from _grouped(pair.table.name, differing)

    def _raw_ranges(self, pair: Pair, lower: int) -> RawRanges:
        """Raw's next rows in ranges of some rows each: bounds, counts, sums of hashes."""
        query = sql.SQL(
            """
            select max(id), count(*), sum(hash)::text
            from (
                select
                    id, {hash} as hash,
                    (row_number() over (order by id) - 1) / {range_rows} as number
                from {table}
                where _deleted_at is null and id > {lower}
                order by id limit {batch_rows}
            ) as numbered
            group by number order by number
            """
        ).format(
            hash=pair.raw_hash(self._method),
            table=pair.raw.name,
            range_rows=RANGE_ROWS,
            lower=lower,
            batch_rows=BATCH_ROWS,
        )
        rows = self._warehouse.execute(query).fetchall()
        bounds = [lower, *(row[0] for row in rows)]
        return list(pairwise(bounds)), [row[1] for row in rows], [row[2] for row in rows]

    def _differing(
        self, pair: Pair, ranges: list[Range], counts: list[int], hashes: list[str | None]
    ) -> list[tuple[Range, int]]:
        query = sql.SQL(
            """
            select wanted.after, wanted.up_to, found.rows
            from unnest({after}::int8[], {up_to}::int8[], {rows}::int8[], {hashes}::text[])
                as wanted (after, up_to, rows, hash)
            cross join lateral (
                select count(*) as rows, sum({hash})::text as hash
                from {table}
                where id > wanted.after and id <= wanted.up_to and {not_erased}
            ) as found
            where (found.rows, found.hash) is distinct from (wanted.rows, wanted.hash)
            order by wanted.after
            """
        ).format(
            after=array(after for after, _ in ranges),
            up_to=array(up_to for _, up_to in ranges),
            rows=array(counts),
            hashes=array(hashes),
            hash=pair.source_hash(self._method),
            table=pair.source_name,
            not_erased=pair.not_erased(ranges[0][0], ranges[-1][1]),
        )
        rows = self._source.execute(query).fetchall()
        return [((after, up_to), found) for after, up_to, found in rows]

    def new_ranges(self, pair: Pair, above: int, up_to: int) -> Iterator[Difference]:
        """The source's rows above the last id that raw has had, cut into ranges of FETCH_ROWS."""
        if not pair.source.is_present:
            return
        query = sql.SQL(
            "select max(id), count(*) from "
            "(select id from {} where id > {} and id <= {} order by id limit {}) as next"
        )
        while True:
            row = self._source.execute(
                query.format(pair.source_name, above, up_to, FETCH_ROWS)
            ).fetchone()
            if row is None or row[0] is None:
                return
            yield Difference(pair.table.name, ((above, row[0]),), row[1], is_new=True)
            above = row[0]


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
