"""The journal: all that a node must not forget, in one SQLite file with one writer.

What a method returns from is on disk (WAL, synchronous=FULL): own records may be sent then.
Synchronous and thread-safe; the daemon calls it through `trio.to_thread`. Methods that touch the
database raise StoreFault ("journal.fault") if it fails, and the daemon ends.
"""

import dataclasses
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from sqlite_utils import Database

from node.store import (
    BlobRow,
    Entry,
    Equivocation,
    EquivocationRow,
    PeerRow,
    Refusal,
    ResultRow,
    StoreError,
    StoreFault,
    StoreFull,
    TopicRow,
    columns,
    disk_faults,
)
from node.store.migrations import migrate
from protocol import limits
from protocol.errors import Misuse

__all__ = [
    "BlobRow",
    "Entry",
    "Equivocation",
    "EquivocationRow",
    "Journal",
    "PeerRow",
    "Refusal",
    "ResultRow",
    "TopicRow",
]

SHORT_ID: Final = 4
"""Fewest hex digits of a short id; fewer are ambiguous too soon."""

MATCHES: Final = 16
"""Most ids that one short id resolves to; a person cannot choose among more."""

REFUSALS: Final = 10_000
"""Refusals kept: peers cause them, so they must not fill the disk."""

REFUSAL_TEXT: Final = 2_000
"""Characters kept of each text of a refusal."""

MAIL_ITEM: Final = limits.FRAME
"""Bytes of one mailbox item: one frame."""

MAIL_BOX: Final = 16 * 1024 * 1024
"""Bytes that wait in one mailbox."""

MAIL_BOX_ITEMS: Final = 1_000
"""Items that wait in one mailbox."""

MAIL_TOTAL: Final = 1024 * 1024 * 1024
"""Bytes that wait in all mailboxes of a gateway."""

PEERS: Final = 10_000
"""Peers remembered, besides banned ones; those not seen for longest go first."""

PEER_ADDRESSES: Final = 16
"""Addresses remembered of one peer."""

_PAGE: Final = 500
"""Records read at a time, so that a reader never holds the lock for long."""

_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",  # a second daemon on one journal would equivocate
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",  # what is erased is overwritten
    "trusted_schema = OFF",
    "wal_autocheckpoint = 8192",  # pages: ids are random, so rare checkpoints write each page less
    "journal_size_limit = 67108864",
)

_NOTHING: Final[Mapping[str, bytes]] = MappingProxyType({})

_INSERT_RECORD: Final = """
INSERT INTO record (id, topic, key, seq, prev, author, kind, at, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""

# Jumps from feed to feed along the unique index: its cost grows with feeds, not with records.
_FRONTIER: Final = """
WITH RECURSIVE feed (key) AS (
    SELECT min(key) FROM record WHERE topic = :topic
    UNION ALL
    SELECT (SELECT min(key) FROM record WHERE topic = :topic AND key > feed.key)
    FROM feed WHERE feed.key IS NOT NULL
)
SELECT record.key, record.seq, record.id FROM feed JOIN record
ON record.topic = :topic AND record.key = feed.key AND record.seq =
    (SELECT max(seq) FROM record WHERE topic = :topic AND key = feed.key)
"""

_PUT_STATE: Final = """
INSERT INTO state (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""

_REFUSAL: Final = "SELECT code, rule, set_by, fix, subject, party, at, detail FROM refusal"

_MAIL_BYTES: Final = """
SELECT coalesce(sum(length(item)), 0) FROM mail WHERE box = ? AND number <= ?
"""

_LARGEST: Final = 2**63 - 1

_SEE_PEER: Final = """
INSERT INTO peer (peer, addresses, seen, banned) VALUES (?, ?, ?, 0)
ON CONFLICT (peer) DO UPDATE SET addresses = excluded.addresses, seen = excluded.seen
"""

_FORGET_PEERS: Final = """
DELETE FROM peer WHERE NOT banned AND number NOT IN
    (SELECT number FROM peer WHERE NOT banned ORDER BY seen DESC LIMIT ?)
"""

_BAN_PEER: Final = """
INSERT INTO peer (peer, addresses, seen, banned) VALUES (?, '[]', 0, ?)
ON CONFLICT (peer) DO UPDATE SET banned = excluded.banned
"""


class Journal:
    """The open journal of one node. Only one process can have it open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `open`."""
        self._connection = connection
        self._database = Database(connection, execute_plugins=False, strict=True)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the journal (0600) and migrate it.

        Raises StoreError ("journal.in-use", "journal.newer") or StoreFault (not a database).
        """
        with disk_faults(f"Cannot open the journal {path.name}"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with _database_faults():
            connection = sqlite3.connect(
                path, timeout=0, isolation_level=None, check_same_thread=False
            )
            journal = cls(connection)
            try:
                journal._prepare()
            except BaseException:
                connection.close()
                raise
        return journal

    def _prepare(self) -> None:
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}").fetchall()
        migrate(self._database)
        self._mail_bytes = self._one("SELECT coalesce(sum(length(item)), 0) FROM mail")

    def close(self) -> None:
        """Close; no method may be called after."""
        with self._lock, _database_faults():
            self._connection.close()

    def back_up(self, target: Path) -> None:
        """Write a consistent copy to `target` (0600), which must not exist yet."""
        with disk_faults(f"Cannot write the backup {target.name}"):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with self._lock, _database_faults():
            self._connection.execute("VACUUM INTO ?", (str(target),))

    # --- topics and records ------------------------------------------------------------------

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
            connection.executemany(_PUT_STATE, state.items())
        return new

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
        arrival = 0
        while page := self._rows(
            "SELECT arrival, raw FROM record WHERE topic = ? AND arrival > ?"
            " ORDER BY arrival LIMIT ?",
            (topic, arrival, _PAGE),
        ):
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

    def _resolve(self, table: str, prefix: str) -> list[bytes]:
        low, high = _range(prefix)
        rows = self._rows(
            f"SELECT id FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",  # noqa: S608
            (low, high, MATCHES),
        )
        return [found for (found,) in rows]

    def frontier(self, topic: bytes) -> dict[bytes, tuple[int, bytes]]:
        """Head of each feed of a topic: key -> (seq, id of the record)."""
        rows = self._rows(_FRONTIER, {"topic": topic})
        return {key: (seq, head) for key, seq, head in rows}

    def after(self, topic: bytes, key: bytes, seq: int, limit: int) -> list[bytes]:
        """Exact bytes of the records seq+1, seq+2, … of a feed, together at most `limit` bytes.

        Empty also if the first is larger than `limit`: a limit must hold the largest record.
        """
        found: list[bytes] = []
        with self._lock, _database_faults():
            rows = self._connection.execute(
                "SELECT raw FROM record WHERE topic = ? AND key = ? AND seq > ? ORDER BY seq",
                (topic, key, seq),
            )
            for (raw,) in rows:
                limit -= len(raw)
                if limit < 0:
                    break
                found.append(raw)
            rows.close()
        return found

    # --- equivocations and refusals ----------------------------------------------------------

    def add_equivocation(self, proof: EquivocationRow) -> bool:
        """Keep a proof. False if one is kept for that place."""
        return self._change(
            "INSERT INTO equivocation (topic, key, seq, first, second, at)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            columns(proof),
        )

    def equivocations(self, topic: bytes) -> list[EquivocationRow]:
        """Return the proofs of a topic, in order of arrival."""
        rows = self._query(
            "SELECT topic, key, seq, first, second, at FROM equivocation"
            " WHERE topic = ? ORDER BY number",
            (topic,),
        )
        return [EquivocationRow(**row) for row in rows]

    def add_refusal(self, refusal: Refusal) -> bytes:
        """Note a refusal, long texts cut, and return its id; the oldest beyond REFUSALS go."""
        kept = _cut(refusal)
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO refusal (id, code, rule, set_by, fix, subject, party, at, detail)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (kept.id, *columns(kept)),
            )
            connection.execute(
                "DELETE FROM refusal WHERE number <= (SELECT max(number) FROM refusal) - ?",
                (REFUSALS,),
            )
        return kept.id

    def refusals(self, limit: int = 100) -> list[Refusal]:
        """Return the newest refusals, newest first."""
        rows = self._query(f"{_REFUSAL} ORDER BY number DESC LIMIT ?", (limit,))
        return [Refusal(**row) for row in rows]

    def refusal(self, id: bytes) -> Refusal | None:  # noqa: A002 (the word of the protocol)
        """One refusal, or None."""
        rows = self._query(f"{_REFUSAL} WHERE id = ?", (id,))
        return Refusal(**rows[0]) if rows else None

    def resolve_refusal(self, prefix: str) -> list[bytes]:
        """Ids of refusals that begin with these hex digits, as `resolve` does for records."""
        return self._resolve("refusal", prefix)

    # --- state -------------------------------------------------------------------------------

    def put_state(self, name: str, value: bytes) -> None:
        """Keep a small value under a path-like name, as in "petname/hospital-b"."""
        with self._writing() as connection:
            connection.execute(_PUT_STATE, (name, value))

    def state(self, name: str) -> bytes | None:
        """Return the value under a name, or None."""
        return self._bytes("SELECT value FROM state WHERE name = ?", (name,))

    def states(self, prefix: str) -> dict[str, bytes]:
        """All values whose name begins with `prefix`, by name."""
        return dict(
            self._rows(
                "SELECT name, value FROM state WHERE substr(name, 1, ?) = ? ORDER BY name",
                (len(prefix), prefix),
            )
        )

    def delete_state(self, name: str) -> bool:
        """Forget a value. False if there was none."""
        return self._change("DELETE FROM state WHERE name = ?", (name,))

    # --- mailbox -----------------------------------------------------------------------------

    def mail_put(self, box: bytes, item: bytes) -> int:
        """Keep an item for a mailbox key and return its number.

        Raises StoreFull ("mail.full") beyond MAIL_ITEM, MAIL_BOX, MAIL_BOX_ITEMS or MAIL_TOTAL.
        """
        with self._writing() as connection:
            items = self._one("SELECT count(*) FROM mail WHERE box = ?", (box,))
            waiting = self._one(_MAIL_BYTES, (box, _LARGEST))
            _check_mail(len(item), items, waiting, self._mail_bytes)
            cursor = connection.execute("INSERT INTO mail (box, item) VALUES (?, ?)", (box, item))
            self._mail_bytes += len(item)
        return cursor.lastrowid or 0

    def mail_list(self, box: bytes, after: int, limit: int) -> list[tuple[int, bytes]]:
        """At most `limit` items of a mailbox with a number above `after`, oldest first."""
        return self._rows(
            "SELECT number, item FROM mail WHERE box = ? AND number > ? ORDER BY number LIMIT ?",
            (box, after, limit),
        )

    def mail_delete(self, box: bytes, upto: int) -> int:
        """Delete the acknowledged items, up to and with number `upto`; return how many."""
        with self._writing() as connection:
            self._mail_bytes -= self._one(_MAIL_BYTES, (box, upto))
            cursor = connection.execute(
                "DELETE FROM mail WHERE box = ? AND number <= ?", (box, upto)
            )
        return cursor.rowcount

    # --- results and share keys, sealed by the caller ----------------------------------------

    def add_result(self, run: bytes, name: str, sealed: bytes, at: int) -> bool:
        """Keep a result. False if this one is kept already."""
        return self._change(
            "INSERT INTO result (run, name, sealed, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (run, name, sealed, at),
        )

    def result(self, run: bytes, name: str) -> bytes | None:
        """Return the sealed bytes of a result, or None."""
        return self._bytes("SELECT sealed FROM result WHERE run = ? AND name = ?", (run, name))

    def results(self) -> list[ResultRow]:
        """All results, in order of arrival, without their bytes."""
        rows = self._query(
            "SELECT run, name, length(sealed) AS size, at FROM result ORDER BY number"
        )
        return [ResultRow(**row) for row in rows]

    def add_share_key(self, share: bytes, sealed: bytes) -> bool:
        """Keep the key of an own share. False if it is kept already: a share has one key."""
        return self._change(
            "INSERT INTO share_key (share, sealed) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (share, sealed),
        )

    def share_key(self, share: bytes) -> bytes | None:
        """Return the sealed key of an own share, or None."""
        return self._bytes("SELECT sealed FROM share_key WHERE share = ?", (share,))

    def share_keys(self) -> dict[bytes, bytes]:
        """All own shares, in order of arrival: id -> sealed key."""
        return dict(self._rows("SELECT share, sealed FROM share_key ORDER BY number"))

    def delete_share_key(self, share: bytes) -> bool:
        """Erase a key, overwritten in the file too. False if there was none."""
        erased = self._change("DELETE FROM share_key WHERE share = ?", (share,))
        with self._lock, _database_faults():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return erased

    # --- blobs and peers ---------------------------------------------------------------------

    def add_blob(self, blob: BlobRow) -> bool:
        """Note what a blob is kept for. False if that is noted already."""
        return self._change(
            "INSERT INTO blob (digest, size, kind, subject, at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            columns(blob),
        )

    def blobs(self, subject: bytes | None = None) -> list[BlobRow]:
        """Return the blobs kept for a topic or record, or all, in order of arrival."""
        rows = self._query(
            "SELECT digest, size, kind, subject, at FROM blob"
            " WHERE ?1 IS NULL OR subject = ?1 ORDER BY number",
            (subject,),
        )
        return [BlobRow(**row) for row in rows]

    def delete_blobs(self, subject: bytes) -> list[bytes]:
        """Forget the blobs of a subject; return the digests that nothing else needs."""
        with self._writing() as connection:
            digests = self._rows("SELECT digest FROM blob WHERE subject = ?", (subject,))
            connection.execute("DELETE FROM blob WHERE subject = ?", (subject,))
            return [
                digest
                for (digest,) in digests
                if self._one("SELECT 1 FROM blob WHERE digest = ?", (digest,)) is None
            ]

    def see_peer(self, peer: str, addresses: Sequence[str], at: int) -> None:
        """Remember a peer with its newest addresses; a ban stays."""
        known = json.dumps(list(addresses)[:PEER_ADDRESSES])
        with self._writing() as connection:
            connection.execute(_SEE_PEER, (peer, known, at))
            connection.execute(_FORGET_PEERS, (PEERS,))

    def ban_peer(self, peer: str, banned: bool) -> None:
        """Ban a peer, known or not, or lift the ban."""
        with self._writing() as connection:
            connection.execute(_BAN_PEER, (peer, banned))

    def peers(self) -> list[PeerRow]:
        """All peers, the last seen first."""
        rows = self._rows("SELECT peer, addresses, seen, banned FROM peer ORDER BY seen DESC, peer")
        return [
            PeerRow(peer=peer, addresses=tuple(json.loads(known)), seen=seen, banned=bool(banned))
            for peer, known, seen, banned in rows
        ]

    # --- the one connection ------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk when the block ends, or none of it is kept."""
        with self._lock, _database_faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()
                raise

    def _change(self, sql: str, values: Sequence[object]) -> bool:
        """Run one statement in its transaction; whether it changed a row."""
        with self._writing() as connection:
            return connection.execute(sql, values).rowcount > 0

    def _rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        with self._lock, _database_faults():
            return self._connection.execute(sql, values).fetchall()

    def _one(self, sql: str, values: Sequence[object] = ()) -> Any:  # noqa: ANN401 (a column)
        """Return the first column of the first row, or None if there is no row."""
        rows = self._rows(sql, values)
        return rows[0][0] if rows else None

    def _bytes(self, sql: str, values: Sequence[object]) -> bytes | None:
        """Return the one value that the query finds, or None."""
        value: bytes | None = self._one(sql, values)
        return value

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[dict[str, Any]]:
        with self._lock, _database_faults():
            return list(self._database.query(sql, values))


@contextmanager
def _database_faults() -> Iterator[None]:
    """Map every error of SQLite to one of ours."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise StoreError(
                "journal.in-use",
                "Another process has this journal open.",
                "Stop the other daemon first: two on one journal would contradict each other.",
            ) from error
        raise StoreFault(
            "journal.fault",
            f"The database failed: {error}.",
            "Check space and health of the disk; restore from a backup if the file is damaged.",
        ) from error


def _range(prefix: str) -> tuple[bytes, bytes]:
    """Lowest and highest id that begin with these hex digits."""
    digits = prefix.lower()
    if not SHORT_ID <= len(digits) <= 64 or not set(digits) <= set("0123456789abcdef"):
        raise StoreError(
            "journal.short-id",
            f"An id has {SHORT_ID} to 64 hex digits.",
            "Copy more of the id, as the list shows it.",
        )
    return bytes.fromhex(digits.ljust(64, "0")), bytes.fromhex(digits.ljust(64, "f"))


def _cut(refusal: Refusal) -> Refusal:
    """Return the refusal with each text cut to REFUSAL_TEXT characters."""
    texts: dict[str, Any] = {
        field.name: value[:REFUSAL_TEXT]
        for field in dataclasses.fields(refusal)
        if isinstance(value := getattr(refusal, field.name), str)
    }
    return dataclasses.replace(refusal, **texts)


def _check_mail(size: int, items: int, waiting: int, total: int) -> None:
    """Refuse an item of `size` bytes that passes a bound of the mailbox or of all mailboxes."""
    if size > MAIL_ITEM:
        detail = f"An item of {size} bytes is larger than {MAIL_ITEM}."
    elif items >= MAIL_BOX_ITEMS or waiting + size > MAIL_BOX:
        detail = f"The mailbox holds {items} items, {waiting} bytes."
    elif total + size > MAIL_TOTAL:
        detail = "This gateway's mailboxes are full."
    else:
        return
    raise StoreFull("mail.full", detail, "The person fetches the mail, or uses another gateway.")
