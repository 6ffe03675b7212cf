"""A machine from the set of its records: at a start, and when records turn out to be void.

What is void depends on the set alone: on proofs of equivocation (Feeds.barred) and on keys that
were taken back (Machine.ends). What rested on void records falls with them, so records that were
taken once must be entitled again.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from protocol.effects import Effect
from protocol.errors import Refused
from protocol.events import Event, Received
from protocol.record import Record
from protocol.topic import Authority, Feeds, Head


class Machine(Authority, Protocol):
    """What every machine of a topic answers."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event into the state; what is to be done now."""

    def ends(self, id_at: Callable[[bytes, int], bytes | None]) -> Mapping[bytes, int]:
        """Key -> first void place of its feed, by the identities that are known here."""


M = TypeVar("M", bound=Machine)


def replay(
    feeds: Feeds,
    heads: Mapping[bytes, Head],
    make: Callable[[], M],
    records: Iterable[Record],
    now: float,
) -> M:
    """The machine that the kept records of a topic make, in order of arrival; sets `feeds.heads`.

    `heads` are those of all kept records, void ones too. Records may reveal that keys were taken
    back, and then the rest is read again without what they signed after.
    """
    kept = list(records)
    while True:
        machine = make()
        feeds.heads = dict(heads)
        _take(feeds, machine, kept, now)
        if not learn_ends(feeds, machine):
            return machine


def learn_ends(feeds: Feeds, machine: Machine) -> bool:
    """Take over what the machine knows of keys that were taken back. True if taken records fall."""
    fallen = False
    for key, end in machine.ends(feeds.id_at).items():
        fallen |= feeds.void(key, end)
    return fallen


def _take(feeds: Feeds, machine: Machine, records: list[Record], now: float) -> None:
    if not feeds.barred and not feeds.ends:
        for found in records:
            machine.handle(Received(found), now)
        return
    for key in list(feeds.heads):
        feeds.cut(key, feeds.end(key))
    left = [found for found in records if feeds.stands(found)]
    before = len(left) + 1
    while len(left) < before:
        before, left = len(left), _pass(machine, left, now)
    for found in left:
        feeds.cut(found.key, found.seq)


def _pass(machine: Machine, records: list[Record], now: float) -> list[Record]:
    """Take what is entitled by now; return the rest, no feed with a gap."""
    left: list[Record] = []
    stuck: set[bytes] = set()
    for found in records:
        try:
            if found.key in stuck:
                left.append(found)
                continue
            machine.authorise(found)
        except Refused:
            stuck.add(found.key)
            left.append(found)
        else:
            machine.handle(Received(found), now)
    return left
