"""Rooms from the journal: all of them at a start, one of them when records turn out to be void.

What machines are made of is verified again: nobody who could write to the disk, but does not know
the passphrase, gets a forged vote past a restart.
"""

from collections.abc import Iterable, Iterator

from node.store.journal import Journal
from node.world import Room, World
from protocol import equivocation, record, token, topic
from protocol.events import StopHeard
from protocol.kinds.consent import Stop
from protocol.record import Record
from protocol.replay import replay
from protocol.topic import Head


def restore(journal: Journal, world: World, now: float) -> None:
    """Every room that the journal has, with its feeds, proofs and machine."""
    for row in journal.topics():
        # What was in force before a key was taken back stays so: it was accepted by then.
        room = world.add(topic.read_opening(row.opening), invited=True)
        for proof in journal.equivocations(row.topic):
            room.forks[proof.key] = equivocation.prove(proof.first, proof.second)
            room.feeds.bar(proof.key, proof.seq)
        for name in journal.states(f"bare/{row.topic.hex()}/"):
            key, _, seq = name.rpartition("/")
            room.bare.add((bytes.fromhex(key.rpartition("/")[2]), int(seq)))
        make_again(journal, world, room, kept(journal, room), now)
    world.refresh()


def kept(journal: Journal, room: Room) -> Iterator[Record]:
    """What the machine of a room is made of, in order of arrival."""
    found = map(record.parse, journal.remembered(room.topic))
    return (one for one in found if one.body is not None)


def make_again(
    journal: Journal, world: World, room: Room, records: Iterable[Record], now: float
) -> None:
    """Build the machine of a room from the records that are kept and not void."""
    records = list(records)
    mine = [(one.at, one.key) for one in records if one.author == world.me.did]
    room.said = max(mine, default=room.said)
    heads = {key: Head(*row) for key, row in journal.frontier(room.topic).items()}
    room.machine = replay(room.feeds, heads, lambda: world.machine(room.opening), records, now)
    for raw in journal.states(f"stop/{room.topic.hex()}/").values():
        stop = token.open_(raw, "stop", Stop)
        room.machine.handle(StopHeard(stop.id, stop.body.consent, raw), 0)
    world.refresh()
