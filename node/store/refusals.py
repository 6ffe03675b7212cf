"""Proofs of equivocation, and what this node refused."""

import dataclasses
from typing import Any, Final

from node.store import EquivocationRow, Refusal, columns
from node.store.tables import Tables

REFUSALS: Final = 10_000
"""Refusals kept: peers cause them, so they must not fill the disk."""

REFUSAL_TEXT: Final = 2_000
"""Characters kept of each text of a refusal."""

_REFUSAL: Final = "SELECT code, rule, set_by, fix, subject, party, at, detail FROM refusal"


class Refusals(Tables):
    """Proofs against liars are kept for ever; refusals as many as fit."""

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


def _cut(refusal: Refusal) -> Refusal:
    """Return the refusal with each text cut to REFUSAL_TEXT characters."""
    texts: dict[str, Any] = {
        field.name: value[:REFUSAL_TEXT]
        for field in dataclasses.fields(refusal)
        if isinstance(value := getattr(refusal, field.name), str)
    }
    return dataclasses.replace(refusal, **texts)
