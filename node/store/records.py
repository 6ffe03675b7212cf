"""Topics, records and the heads of their feeds."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from node.store import Entry, Equivocation, TopicRow, columns
from node.store.tables import PUT_STATE, Tables, database_faults
from protocol import limits
from protocol.errors import Misuse

_PAGE: Final = 500
"""Records read at a time, so that a reader never holds the lock for long."""

_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})

_INSERT_RECORD: Final = """
INSERT INTO record (id, topic, key, seq, prev, author, kind, at, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""

_MOVE_HEAD: Final = """
INSERT INTO feed (topic, key, seq, head, bytes) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (topic, key) DO UPDATE
SET seq = excluded.seq, head = excluded.head, bytes = bytes + excluded.bytes
WHERE excluded.seq > seq
"""

_OF_KINDS: Final = "SELECT arrival, raw FROM record WHERE topic = ? AND arrival > ?"

_REMEMBERED: Final = """
SELECT arrival, raw FROM record
WHERE topic = ? AND kind NOT IN ('commitment', 'refusal') AND arrival > ?
ORDER BY arrival LIMIT ?
"""
"""In the words of the partial index: else SQLite would walk over all records."""

Want = tuple[bytes, int, int]
"""A part of a feed: its key, the first place wanted, the first that is not."""


class Records(Tables):
    """What peers and this node signed, exact bytes."""

    def add_topic(self, topic: bytes, kind: str, opening: bytes, parent: bytes | None) -> bool:
        """Follow a topic. False if it is followed already."""
        return self._change(
            "INSERT INTO topic (topic, kind, opening, parent) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (topic) DO NOTHING",
            (topic, kind, opening, parent),
        )

    def topics(self) -> list[TopicRow]:
        """Every topic followed, in order of arrival."""
        rows = self._query("SELECT topic, kind, opening, parent FROM topic ORDER BY number")
        return [TopicRow(**row) for row in rows]

    def commit(self, entries: Sequence[Entry], state: Mapping[str, bytes] = _NOTHING) -> int:
        """Keep all records and state values in one transaction; return how many records are new.

        Records known by id are skipped. Raises Equivocation, and keeps nothing of the batch, if
        a record claims a place (topic, key, seq) that another has.
        """
        with self._writing() as connection:
            before = connection.total_changes
            try:
                connection.executemany(_INSERT_RECORD, map(columns, entries))
            except sqlite3.IntegrityError as error:
                raise self._contradiction(entries, error) from error
            new = connection.total_changes - before
            if new:
                connection.executemany(_MOVE_HEAD, _heads(entries))
            connection.executemany(PUT_STATE, state.items())
        return new

    def fill(self, entry: Entry, mark: str) -> None:
        """Put the whole bytes where a record without body stood, and take its mark away."""
        with self._writing() as connection:
            connection.execute("UPDATE record SET raw = ? WHERE id = ?", (entry.raw, entry.id))
            connection.execute("DELETE FROM state WHERE name = ?", (mark,))

    def _contradiction(self, entries: Sequence[Entry], error: sqlite3.Error) -> Exception:
        """Name the first entry whose place in its feed is taken."""
        for entry in entries:
            held = self._bytes(
                "SELECT raw FROM record WHERE topic = ? AND key = ? AND seq = ? AND id != ?",
                (entry.topic, entry.key, entry.seq, entry.id),
            )
            if held is not None:
                return Equivocation(held, entry)
        return Misuse(f"an entry does not fit the record table: {error}")

    def records(self, topic: bytes) -> Iterator[bytes]:
        """Exact bytes of a topic's records, in order of arrival, with those that come meanwhile."""
        return self._paged(
            "SELECT arrival, raw FROM record WHERE topic = ? AND arrival > ?"
            " ORDER BY arrival LIMIT ?",
            topic,
        )

    def of_kinds(self, topic: bytes, kinds: Collection[str]) -> Iterator[bytes]:
        """As `records`, of these kinds alone: what is not asked for is not even read."""
        wanted = ", ".join("?" * len(kinds))
        sql = f"{_OF_KINDS} AND kind IN ({wanted}) ORDER BY arrival LIMIT ?"
        arrival = 0
        while page := self._rows(sql, (topic, arrival, *sorted(kinds), _PAGE)):
            yield from (raw for _, raw in page)
            arrival = page[-1][0]

    def remembered(self, topic: bytes) -> Iterator[bytes]:
        """As `records`, without those that no machine keeps (`kinds.JOURNAL_ONLY`)."""
        return self._paged(_REMEMBERED, topic)

    def _paged(self, sql: str, topic: bytes) -> Iterator[bytes]:
        arrival = 0
        while page := self._rows(sql, (topic, arrival, _PAGE)):
            yield from (raw for _, raw in page)
            arrival = page[-1][0]

    def get(self, id: bytes) -> bytes | None:  # noqa: A002 (the word of the protocol)
        """Exact bytes of one record, or None."""
        return self._bytes("SELECT raw FROM record WHERE id = ?", (id,))

    def resolve(self, prefix: str) -> list[bytes]:
        """Ids of records that begin with these hex digits, at most MATCHES, ascending.

        Raises StoreError ("journal.short-id") for fewer than SHORT_ID digits or other characters.
        """
        return self._resolve("record", prefix)

    def frontier(self, topic: bytes) -> dict[bytes, tuple[int, bytes, int]]:
        """Head of each feed of a topic: key -> (seq, id of the record, bytes of the feed)."""
        rows = self._rows("SELECT key, seq, head, bytes FROM feed WHERE topic = ?", (topic,))
        return {key: (seq, head, size) for key, seq, head, size in rows}

    def id_at(self, topic: bytes, key: bytes, seq: int) -> bytes | None:
        """Id of the record at a place of a feed, or None."""
        return self._bytes(
            "SELECT id FROM record WHERE topic = ? AND key = ? AND seq = ?", (topic, key, seq)
        )

    def at(self, topic: bytes, key: bytes, seq: int) -> bytes | None:
        """Exact bytes of the record at a place of a feed, or None."""
        return self._bytes(
            "SELECT raw FROM record WHERE topic = ? AND key = ? AND seq = ?", (topic, key, seq)
        )

    def parts(
        self, topic: bytes, wants: Sequence[Want], size: int, count: int
    ) -> list[list[bytes]]:
        """The beginning of each part wanted, together at most `size` bytes and `count` records.

        No part takes more than its share of what is left: of one whose records are refused there
        is no end, and the others must come too. Parts for which nothing is left are not in the
        answer. `size` must hold the largest record.
        """
        found: list[list[bytes]] = []
        for place, (key, start, end) in enumerate(wants):
            left = len(wants) - place
            if count <= 0 or size < limits.RECORD:
                break
            most = min(max(1, count // left), end - start)
            part = self.after(topic, key, start - 1, max(limits.RECORD, size // left), most)
            size -= sum(map(len, part))
            count -= len(part)
            found.append(part)
        return found

    def after(
        self, topic: bytes, key: bytes, seq: int, limit: int, most: int = limits.PUSH
    ) -> list[bytes]:
        """The records seq+1, seq+2, … of a feed: at most `most`, together at most `limit` bytes.

        Empty also if the first is larger than `limit`: a limit must hold the largest record.
        """
        found: list[bytes] = []
        with self._lock, database_faults():
            rows = self._connection.execute(
                "SELECT raw FROM record WHERE topic = ? AND key = ? AND seq > ?"
                " ORDER BY seq LIMIT ?",
                (topic, key, seq, most),
            )
            for (raw,) in rows:
                limit -= len(raw)
                if limit < 0:
                    break
                found.append(raw)
            rows.close()
        return found


def _heads(entries: Sequence[Entry]) -> list[tuple[bytes, bytes, int, bytes, int]]:
    """The newest entry of each feed, with the bytes that all of them add."""
    newest: dict[tuple[bytes, bytes], Entry] = {}
    added: dict[tuple[bytes, bytes], int] = {}
    for entry in entries:
        feed = entry.topic, entry.key
        if feed not in newest or entry.seq > newest[feed].seq:
            newest[feed] = entry
        added[feed] = added.get(feed, 0) + len(entry.raw)
    return [(*feed, one.seq, one.id, added[feed]) for feed, one in newest.items()]
