"""Small values, results, keys of own shares, and what blobs are kept for."""

from node.store import BlobRow, ResultRow, columns
from node.store.tables import PUT_STATE, Tables, database_faults


class Keepings(Tables):
    """What a node keeps for itself; secrets come sealed by the caller."""

    def put_state(self, name: str, value: bytes) -> None:
        """Keep a small value under a path-like name, as in "petname/hospital-b"."""
        with self._writing() as connection:
            connection.execute(PUT_STATE, (name, value))

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
        with self._lock, database_faults():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return erased

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
