"""The queue of one agreement's run orders: who is next, and which order waits no more and why
(docs/protocol.md section 8). Parties take turns: a thousand orders of one delay its own alone.
"""

from bisect import insort
from dataclasses import dataclass, field
from typing import Final, Literal

from protocol import kinds, limits, schedule
from protocol.kinds.agreement import Agreement
from protocol.kinds.run import Cancel, Order
from protocol.parameters import trigger_of
from protocol.record import Record

Standing = Literal["waiting", "early", "answered", "cancelled", "expired", "double", "refused"]
"""Where an order stands. Early: its due time is to come. Refused: the own enclave would not take it
a moment ago. Of several for one due time one counts, the one with the lowest id; the others are
doubles."""

AGAIN: Final = frozenset({"void", "failed"})
"""Outcomes after which a due time may be ordered again, by an order that says so."""

Due = tuple[str, int]
"""A trigger and one of its times."""


@dataclass(slots=True)
class Queue:
    """All orders of one agreement. `answered` has the run number of each order that has one."""

    document: Agreement
    orders: dict[bytes, tuple[Record, Order]] = field(default_factory=dict)
    answered: dict[bytes, int] = field(default_factory=dict)
    _refused: dict[bytes, int] = field(default_factory=dict, init=False)
    _cancels: dict[bytes, set[bytes]] = field(default_factory=dict, init=False)
    _twins: dict[Due, set[bytes]] = field(default_factory=dict, init=False)
    _final: set[bytes] = field(default_factory=set, init=False)
    _lines: dict[bytes, list[tuple[int, bytes]]] = field(default_factory=dict, init=False)

    def order(self, record: Record) -> None:
        """Take an order."""
        if record.id in self.orders:
            return
        order = kinds.read(Order, record)
        self.orders[record.id] = record, order
        insort(self._lines.setdefault(record.author, []), (record.at, record.id))
        if order.trigger is not None and order.due is not None:
            self._twins.setdefault((order.trigger, order.due), set()).add(record.id)

    def cancel(self, record: Record) -> None:
        """Take the word that an order is taken back; it counts by who gave the order."""
        order = kinds.read(Cancel, record).order
        self._cancels.setdefault(order, set()).add(record.author)

    def answer(self, order: bytes, number: int, outcome: str) -> None:
        """An order has its run record: it is used."""
        self.answered[order] = min(number, self.answered.get(order, number))
        if outcome not in AGAIN:
            self._final.add(order)

    def refuse(self, order: bytes, until: int) -> None:
        """The enclave behind this node refused an order: others come first, until then."""
        self._refused[order] = until

    def deadline(self, id_: bytes) -> int | None:
        """Until when an order must start (unix seconds)."""
        record, order = self.orders[id_]
        return deadline_of(self.document, record.at, order)

    def standing(self, id_: bytes, now: int | None = None) -> Standing:
        """Where an order stands at `now` (unix seconds; None: nothing expires)."""
        if id_ in self.answered:
            return "answered"
        if self._is_cancelled(id_):
            return "cancelled"
        if self._is_expired(id_, now):
            return "expired"
        if self._is_double(id_, now):
            return "double"
        due = self.orders[id_][1].due
        if due is not None and now is not None and now < due:
            return "early"
        return "refused" if now is not None and now < self._refused.get(id_, 0) else "waiting"

    def line(self, now: int | None = None) -> list[Record]:
        """The orders that wait, in the order in which they run: each next one is of the party that
        was served least lately, and its oldest. Of one party at most limits.ORDERS wait.
        """
        waiting = {author: self._waiting(author, now) for author in self._lines}
        lines = {author: one for author, one in waiting.items() if one}
        last = self._served()
        turn, found = max(self.answered.values(), default=0), []
        while lines:
            first = min(lines, key=lambda one: (last.get(one, 0), lines[one][0].at, one))
            turn += 1
            last[first] = turn
            found.append(lines[first].pop(0))
            if not lines[first]:
                del lines[first]
        return found

    def waiting_of(self, author: bytes, now: int | None = None) -> int:
        """How many orders of a party wait."""
        return len(self._waiting(author, now))

    def _waiting(self, author: bytes, now: int | None) -> list[Record]:
        found: list[Record] = []
        for _, id_ in self._lines.get(author, ()):
            if self.standing(id_, now) == "waiting":
                found.append(self.orders[id_][0])
            if len(found) == limits.ORDERS:
                break
        return found

    def _served(self) -> dict[bytes, int]:
        """The number of the last run of each party."""
        last: dict[bytes, int] = {}
        for id_, number in self.answered.items():
            if id_ in self.orders:
                author = self.orders[id_][0].author
                last[author] = max(number, last.get(author, 0))
        return last

    def _is_cancelled(self, id_: bytes) -> bool:
        return self.orders[id_][0].author in self._cancels.get(id_, ())

    def _is_expired(self, id_: bytes, now: int | None) -> bool:
        deadline = self.deadline(id_)
        return now is not None and deadline is not None and now > deadline

    def _is_double(self, id_: bytes, now: int | None) -> bool:
        order = self.orders[id_][1]
        if order.trigger is None or order.due is None:
            return False
        twins = self._twins[order.trigger, order.due] - {id_}
        return any(self._is_before(one, id_, now) for one in twins)

    def _is_before(self, one: bytes, id_: bytes, now: int | None) -> bool:
        """Whether the due time of both is for the other order, or was."""
        if one in self._final:
            return True
        if self.orders[one][1].again != self.orders[id_][1].again:
            return False
        alive = not self._is_cancelled(one) and not self._is_expired(one, now)
        return one in self.answered or (alive and one < id_)


def deadline_of(document: Agreement, at: int, order: Order) -> int | None:
    """Until when an order that is dated `at` must start (unix seconds): by its own word, by the
    agreement, and where its trigger skips what was missed, by the next due time.
    """
    ends = [] if order.deadline is None else [order.deadline]
    if document.runs.deadline is not None:
        ends.append(at + document.runs.deadline)
    trigger = trigger_of(document, order.trigger)
    if trigger is not None and trigger.missed == "skip" and order.due is not None:
        ends += schedule.after(trigger.cron or "", order.due)
    return min(ends, default=None)
