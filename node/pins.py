"""Up to where a record key stands that is taken back: the pins that one identity can hold.

What stands in no pinned topic is void, the signatures under agreements too. So what lasts comes
first: spaces, then agreements in force with the negotiations in which they were signed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from node.store.journal import Journal
from node.world import Room, World
from protocol import limits, record
from protocol.kinds.identity import Pin
from protocol.machines.agreement import Collaboration
from protocol.machines.space import Space
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Vouched:
    """The pins of one key, ordered by topic, and the topics in which it wrote and that found none
    of the places that an identity has.
    """

    pins: tuple[Pin, ...]
    left: tuple[bytes, ...]


def vouch(journal: Journal, world: World, key: bytes, before: int | None) -> Vouched:
    """What the owner of `key` vouches for: its last record of each topic, dated before a time."""
    lasting = set(_lasting(world))
    found = [
        ((room.topic in lasting, last.at), Pin(topic=room.topic, seq=last.seq, head=last.id))
        for room in world.rooms.values()
        if (last := _last(journal, room, key, before)) is not None
    ]
    ordered = [pin for _, pin in sorted(found, key=lambda pair: pair[0], reverse=True)]
    # An identity repeats every pin of keys that were taken back before.
    free = limits.PINS - sum(len(one.pins or ()) for one in world.me.retired)
    pins, left = ordered[:free], ordered[free:]
    return Vouched(tuple(sorted(pins, key=lambda pin: pin.topic)), tuple(pin.topic for pin in left))


def _lasting(world: World) -> Iterator[bytes]:
    now = int(time.time())
    for room in world.rooms.values():
        match room.machine:
            case Space():
                yield room.topic
            case Collaboration() as agreement if not agreement.ended(now):
                yield room.topic
                yield agreement.document.negotiation
            case _:
                continue


def _last(journal: Journal, room: Room, key: bytes, before: int | None) -> Record | None:
    head = room.feeds.heads.get(key)
    for seq in range(head.seq if head else -1, -1, -1):
        raw = journal.at(room.topic, key, seq)
        found = record.parse(raw) if raw is not None else None
        if found is not None and (before is None or found.at < before):
            return found
    return None
