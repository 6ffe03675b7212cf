"""Complete small shares in one SQLite file: of people there are thousands, of a few KiB each.

Up to some ten KiB a row costs less than a file of its own, which has to be synced, renamed and its
folder synced too; above, SQLite copies more than it saves (docs/performance.md).
"""

import os
import sqlite3
import threading
from pathlib import Path
from typing import Final

from node.store import disk_faults
from node.store.tables import database_faults

SMALL: Final = 32 * 1024
"""Bytes of a share's file up to which it becomes a row."""

BUSY: Final = 5.0
"""Seconds to wait for who else reads the file, such as a tool of the operator."""

_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",  # what is erased is overwritten
    "trusted_schema = OFF",
)

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS share (id BLOB PRIMARY KEY NOT NULL, content BLOB NOT NULL) STRICT
"""


class SmallShares:
    """Shares by id, each as the bytes of the file that it would be. Thread-safe.

    What `put` returned from survives a power loss. Raises StoreFault ("journal.fault") if the
    database fails. That no other process writes here, the node's journal sees to.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, if there is one, and learn what is in it."""
        self._path = path
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._sizes: dict[bytes, int] = {}
        if path.exists():
            with database_faults():
                rows = self._connection().execute("SELECT id, length(content) FROM share")
                self._sizes |= dict(rows.fetchall())

    def sizes(self) -> dict[bytes, int]:
        """The bytes of every share here, by id."""
        return dict(self._sizes)

    def has(self, share: bytes) -> bool:
        """Whether the share is here."""
        return share in self._sizes

    def put(self, share: bytes, content: bytes) -> None:
        """Keep a share; on disk when this returns."""
        with self._lock, database_faults():
            self._connection().execute(
                "INSERT OR REPLACE INTO share (id, content) VALUES (?, ?)", (share, content)
            )
            self._sizes[share] = len(content)

    def get(self, share: bytes) -> bytes | None:
        """The bytes of a share, or None."""
        if share not in self._sizes:
            return None
        with self._lock, database_faults():
            row = self._connection().execute("SELECT content FROM share WHERE id = ?", (share,))
            found: tuple[bytes] | None = row.fetchone()
        return None if found is None else found[0]

    def delete(self, share: bytes) -> int:
        """Erase a share, overwritten in the file too; how many bytes it had."""
        if share not in self._sizes:
            return 0
        with self._lock, database_faults():
            self._connection().execute("DELETE FROM share WHERE id = ?", (share,))
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return self._sizes.pop(share, 0)

    def _connection(self) -> sqlite3.Connection:
        """The open database, made (0600) with the first share: most nodes keep none for anybody."""
        if self._opened is None:
            with disk_faults("Cannot open the shares"):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._opened = sqlite3.connect(
                self._path, timeout=BUSY, isolation_level=None, check_same_thread=False
            )
            for pragma in _PRAGMAS:
                self._opened.execute(f"PRAGMA {pragma}").fetchall()
            self._opened.execute(_TABLE)
        return self._opened
