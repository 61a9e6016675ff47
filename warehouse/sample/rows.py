"""Rows on their way into the database: numbered in the order of time, sent in blocks by COPY."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import datetime
from heapq import heappop, heappush

import psycopg
from psycopg import sql

from warehouse.sample.world import TAG_IDS, Row

BLOCK = 4000  # rows of one COPY


class Message:
    """A message under way: it gets its id, and its attributes their final form, when it is due."""

    __slots__ = ("attachments", "attributes", "is_plain", "reply_to", "row", "sender_kind")

    def __init__(self, row: Row, sender_kind: str | None, is_plain: bool) -> None:
        self.row = row
        self.sender_kind = sender_kind
        self.is_plain = is_plain  # a tool's own SQL; Rails encodes the attributes twice
        self.attributes: Row = {}
        self.reply_to: Message | None = None
        self.attachments: list[Row] = []


class Tables:
    """Blocks of rows for COPY, and a queue that numbers rows in the order of time."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._blocks: dict[str, list[Row]] = defaultdict(list)
        self._last_ids: dict[str, int] = defaultdict(int)
        self._queue: list[tuple[datetime, int, str, Row | Message]] = []
        self._queued = 0
        self.events_seen = 0
        self.tag_uses: Counter[str] = Counter()

    def count(self, table: str) -> int:
        """Rows numbered so far."""
        return self._last_ids[table]

    def next_id(self, table: str) -> int:
        """The next id of a table."""
        self._last_ids[table] += 1
        return self._last_ids[table]

    def add(self, table: str, row: Row) -> None:
        """Send a row; rows of a table may differ in their columns, the rest takes its default."""
        block = self._blocks[table]
        if block and list(block[0]) != list(row):
            self._copy(table)
            block = self._blocks[table]
        block.append(row)
        if len(block) >= BLOCK:
            self._copy(table)

    def later(self, at: datetime, table: str, row: Row | Message) -> None:
        """Number and send a row when `flush` passes `at`; a Message in a row stands for its id."""
        self._queued += 1
        heappush(self._queue, (at, self._queued, table, row))

    def flush(self, before: datetime) -> None:
        """Send what was queued for a moment before."""
        while self._queue and self._queue[0][0] < before:
            _, _, table, row = heappop(self._queue)
            if isinstance(row, Message):
                self._add_message(row)
            else:
                values = {k: v.row["id"] if isinstance(v, Message) else v for k, v in row.items()}
                self.add(table, {"id": self.next_id(table), **values})

    def write_tags(self) -> None:
        """Send the tags, whose counters rose until the end."""
        for title, tag_id in TAG_IDS.items():
            self.add("tags", {"id": tag_id, "name": title, "taggings_count": self.tag_uses[title]})

    def copy_all(self) -> None:
        """Send every block that is not empty."""
        for table in [table for table, block in self._blocks.items() if block]:
            self._copy(table)

    def set_sequences(self) -> None:
        """Every id sequence goes on after the highest id."""
        self._connection.execute(
            """do $$
            declare found record;
            begin
                for found in
                    select table_name, pg_get_serial_sequence(table_name, 'id') as sequence_name
                    from information_schema.columns
                    where table_schema = 'public' and column_name = 'id'
                loop
                    execute format('select setval(%L, max(id)) from %I having max(id) is not null',
                        found.sequence_name, found.table_name);
                end loop;
            end $$"""
        )

    def _add_message(self, message: Message) -> None:
        row = message.row
        row["id"] = self.next_id("messages")
        attributes = message.attributes
        if message.reply_to:
            attributes = {"in_reply_to": message.reply_to.row["id"], **attributes}
        encoded = json.dumps(attributes, ensure_ascii=False) if attributes else "{}"
        row["content_attributes"] = (
            encoded if message.is_plain else json.dumps(encoded, ensure_ascii=False)
        )
        row["external_source_ids"] = "{}" if message.is_plain else '"{}"'
        row["processed_message_content"] = row["content"]
        self.add("messages", row)
        self.add(
            "sample_truth.messages",
            {"message_id": row["id"], "sender_kind": message.sender_kind},
        )
        for attachment in message.attachments:
            number = self.next_id("attachments")
            self.add("attachments", {"id": number, "message_id": row["id"], **attachment})

    def _copy(self, table: str) -> None:
        block = self._blocks.pop(table)
        statement = sql.SQL("copy {} ({}) from stdin").format(
            sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, block[0]))
        )
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            for row in block:
                copy.write_row(tuple(row.values()))
