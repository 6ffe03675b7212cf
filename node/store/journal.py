"""The journal: all that a node must not forget, in one SQLite file with one writer.

What a method returns from is on disk (WAL, synchronous=FULL): own records may be sent then.
Synchronous and thread-safe; the daemon calls it through `trio.to_thread`. Methods that touch the
database raise StoreFault ("journal.fault") if it fails, and the daemon ends.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final, Self

from node.store import disk_faults
from node.store.keepings import Keepings
from node.store.mail import Mail
from node.store.migrations import migrate
from node.store.peers import Peers
from node.store.records import Records
from node.store.refusals import Refusals
from node.store.tables import database_faults

_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",  # a second daemon on one journal would equivocate
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",  # what is erased is overwritten
    "trusted_schema = OFF",
    "wal_autocheckpoint = 8192",  # pages: ids are random, so rare checkpoints write each page less
    "journal_size_limit = 67108864",
)


class Journal(Records, Refusals, Keepings, Mail, Peers):
    """The open journal of one node. Only one process can have it open."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the journal (0600) and migrate it.

        Raises StoreError ("journal.in-use", "journal.newer") or StoreFault (not a database).
        """
        with disk_faults(f"Cannot open the journal {path.name}"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with database_faults():
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
        self._count_mail()

    def close(self) -> None:
        """Close; no method may be called after."""
        with self._lock, database_faults():
            self._connection.close()

    def back_up(self, target: Path) -> None:
        """Write a consistent copy to `target` (0600), which must not exist yet."""
        with disk_faults(f"Cannot write the backup {target.name}"):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with self._lock, database_faults():
            self._connection.execute("VACUUM INTO ?", (str(target),))
