"""The mailboxes of a gateway: opaque items that wait for their person."""

import sqlite3
from collections.abc import Sequence
from typing import Final

from node.store import StoreFull
from node.store.tables import Tables
from protocol import limits

MAIL_ITEM: Final = limits.FRAME
"""Bytes of one mailbox item: one frame."""

MAIL_BOX: Final = 16 * 1024 * 1024
"""Bytes that wait in one mailbox."""

MAIL_BOX_ITEMS: Final = 1_000
"""Items that wait in one mailbox."""

MAIL_TOTAL: Final = 1024 * 1024 * 1024
"""Bytes that wait in all mailboxes of a gateway."""

_MAIL_BYTES: Final = """
SELECT coalesce(sum(length(item)), 0) FROM mail WHERE box = ? AND number <= ?
"""

_LARGEST: Final = 2**63 - 1


class Mail(Tables):
    """Bounded in items and bytes, of one mailbox and of all."""

    _mail_bytes: int

    def _count_mail(self) -> None:
        """Learn at start how much waits."""
        self._mail_bytes = self._one("SELECT coalesce(sum(length(item)), 0) FROM mail")

    def mail_put(self, box: bytes, item: bytes) -> int:
        """Keep an item for a mailbox key and return its number.

        Raises StoreFull ("mail.full") beyond MAIL_ITEM, MAIL_BOX, MAIL_BOX_ITEMS or MAIL_TOTAL.
        """
        with self._writing() as connection:
            return self._put_mail(connection, box, item)

    def mail_put_all(self, items: Sequence[tuple[bytes, bytes]]) -> list[int]:
        """Keep (mailbox, item) each, in one transaction; what waits there already is not kept
        twice. The places of those for which there is no room.
        """
        full: list[int] = []
        with self._writing() as connection:
            for place, (box, item) in enumerate(items):
                if self._one("SELECT 1 FROM mail WHERE box = ? AND item = ?", (box, item)):
                    continue
                try:
                    self._put_mail(connection, box, item)
                except StoreFull:
                    full.append(place)
        return full

    def _put_mail(self, connection: sqlite3.Connection, box: bytes, item: bytes) -> int:
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
