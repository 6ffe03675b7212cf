"""Records that came too early: they wait for what they rest on, bounded per sender and overall.

The oldest goes first when there are too many: nothing is lost, a pull brings it again.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol.errors import Refused
from protocol.record import Record

PER_SENDER = 256
"""Records that wait of one sender: more than a clumsy neighbour needs."""

OVERALL = 4096
"""Records that wait of all senders together."""

WAIT = 10.0
"""Seconds that a record may wait before it is refused for good."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that came too early: who sent it, when it is given up, what the gate said of it."""

    record: Record
    sender: bytes | None
    deadline: float
    error: Refused


@dataclass(slots=True)
class Quarantine:
    """All that waits, oldest first; `dropped` counts what had to go for want of room."""

    dropped: int = 0
    _waiting: dict[bytes, Waiting] = field(default_factory=dict)
    _senders: Counter[bytes | None] = field(default_factory=Counter)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def add(self, record: Record, sender: bytes | None, error: Refused, now: float) -> None:
        """Let a record wait; one that waits already waits no longer for it."""
        if record.id in self._waiting:
            return
        if self._senders[sender] >= PER_SENDER:
            self._drop(next(w for w in self._waiting.values() if w.sender == sender))
        elif len(self._waiting) >= OVERALL:
            # Whoever has most waiting makes room: many senders cannot push out a modest one.
            greedy, _ = self._senders.most_common(1)[0]
            self._drop(next(w for w in self._waiting.values() if w.sender == greedy))
        self._waiting[record.id] = Waiting(record, sender, now + WAIT, error)
        self._senders[sender] += 1

    def _drop(self, late: Waiting) -> None:
        self.dropped += 1
        self.remove(late.record.id)

    def remove(self, id_: bytes) -> None:
        """Forget a record: it was taken, or refused."""
        late = self._waiting.pop(id_, None)
        if late is not None:
            self._senders[late.sender] -= 1
            if not self._senders[late.sender]:
                del self._senders[late.sender]

    def of(self, topic: bytes) -> Iterator[Waiting]:
        """What waits in a topic, oldest first; it may be removed meanwhile."""
        return iter([late for late in self._waiting.values() if late.record.topic == topic])

    def expired(self, now: float) -> list[Waiting]:
        """Remove and return what waited too long."""
        late = [one for one in self._waiting.values() if one.deadline < now]
        for one in late:
            self.remove(one.record.id)
        return late
