"""Who belongs to a space, and which of its records count after somebody left or was removed.

A departure cuts each feed of a participant at a pin: what stands before the pin stays, all else is
void, also where a node took it before it knew. So the state is a function of the set of records.
Who comes back does so by a later decision, with a key that was never pinned.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from protocol.identity import History
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Grant:
    """A decision that makes somebody a member: in which epoch, on which revision of its identity.

    `order` orders the grants of one participant; `by` is the space, the change or the join.
    """

    did: bytes
    epoch: int
    revision: int
    roles: tuple[str, ...]
    by: bytes
    order: tuple[int, int, int, bytes]


@dataclass(frozen=True, slots=True)
class Departure:
    """Somebody left, or was removed: `epoch` is that of the removal, `revision` that of the leave.

    `pins`: key -> place and id of its last record that stands.
    """

    did: bytes
    pins: Mapping[bytes, tuple[int, bytes]]
    reason: str
    by: bytes
    at: int
    epoch: int | None = None
    revision: int | None = None

    def outlived(self, grant: Grant) -> bool:
        """Whether a grant is of a later decision than this departure."""
        if self.epoch is not None:
            return grant.epoch > self.epoch
        return self.revision is not None and grant.revision > self.revision

    def lets(self, record: Record, history: History, grants: Iterable[Grant]) -> bool:
        """Whether a record of this participant counts in spite of the departure."""
        pin = self.pins.get(record.key)
        if pin is not None:
            place, head = pin
            return record.seq < place or (record.seq == place and record.id == head)
        since = min((one.revision for one in grants if self.outlived(one)), default=None)
        return since is not None and any(
            record.key in one.record_keys and one.revision >= since for one in history.revisions()
        )


def in_force(grants: Iterable[Grant], departures: Iterable[Departure]) -> Grant | None:
    """The newest grant that no departure took back."""
    ended = list(departures)
    alive = (one for one in grants if all(each.outlived(one) for each in ended))
    return max(alive, key=lambda one: one.order, default=None)


def keys_after_bar(
    history: History, barred: Mapping[bytes, int], revision: int
) -> frozenset[bytes]:
    """The keys that may sign once some are barred for equivocation.

    A barred key is in it: what it signed before stands. A key that its owner delegates after a
    barred one counts only if a decision names that newer identity: `revision` is the newest that
    a decision names. Else an equivocator would need nothing but a new key.
    """
    known = list(history.revisions())
    allowed = set(history.record_keys)
    for liar in history.record_keys & barred.keys():
        last = max(one.revision for one in known if liar in one.record_keys)
        if revision <= last:
            before = {k for one in known if one.revision <= last for k in one.record_keys}
            allowed &= before
    return frozenset(allowed)
