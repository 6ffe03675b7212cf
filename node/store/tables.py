"""The one SQLite connection of a journal: transactions, queries, and errors in our words."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlite_utils import Database

from node.store import StoreError, StoreFault

SHORT_ID: Final = 4
"""Fewest hex digits of a short id; fewer are ambiguous too soon."""

MATCHES: Final = 16
"""Most ids that one short id resolves to; a person cannot choose among more."""

PUT_STATE: Final = """
INSERT INTO state (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class Tables:
    """Base of everything that reads and writes the journal's tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `Journal.open`."""
        self._connection = connection
        self._database = Database(connection, execute_plugins=False, strict=True)
        self._lock = threading.RLock()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on disk when the block ends, or none of it is kept."""
        with self._lock, database_faults():
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
        with self._lock, database_faults():
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
        with self._lock, database_faults():
            return list(self._database.query(sql, values))

    def _resolve(self, table: str, prefix: str) -> list[bytes]:
        low, high = _range(prefix)
        rows = self._rows(
            f"SELECT id FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",  # noqa: S608
            (low, high, MATCHES),
        )
        return [found for (found,) in rows]


@contextmanager
def database_faults() -> Iterator[None]:
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
