"""Rooms from the journal: all of them at a start, one of them when records turn out to be void.

What machines are made of is verified again: nobody who could write to the disk, but does not know
the passphrase, gets a forged vote past a restart.
"""

from collections.abc import Iterable, Iterator, Mapping

from node.store.journal import Journal
from node.world import Room, World
from protocol import equivocation, record, token, topic
from protocol.errors import Refused
from protocol.events import ResultKept, StopHeard
from protocol.identity import History
from protocol.kinds.consent import Stop
from protocol.machines.agreement import Collaboration
from protocol.record import Record
from protocol.replay import replay
from protocol.topic import Head


def restore(journal: Journal, world: World, now: float) -> None:
    """Every room that the journal has, with its feeds, proofs and machine; but of agreements only
    those whose signatures still stand.
    """
    for row in journal.topics():
        room = world.add(topic.read_opening(row.opening), invited=True)
        for proof in journal.equivocations(row.topic):
            room.forks[proof.key] = equivocation.prove(proof.first, proof.second)
            room.feeds.bar(proof.key, proof.seq)
        for name in journal.states(f"bare/{row.topic.hex()}/"):
            key, _, seq = name.rpartition("/")
            room.bare.add((bytes.fromhex(key.rpartition("/")[2]), int(seq)))
        make_again(journal, world, room, kept(journal, room), now)
    judge_again(world)
    world.refresh()


def judge_again(world: World) -> None:
    """Let agreements fall whose signatures are void by all that is known now: whoever opens them
    today refuses them, and what is in force may not depend on who heard of it when.
    """
    histories = world.histories()
    for room in list(world.rooms.values()):
        if isinstance(room.machine, Collaboration) and _in_doubt(room.machine, histories):
            try:
                topic.read_opening(room.opening.raw, histories)
            except Refused as error:
                world.fell(room, error)


def _in_doubt(agreement: Collaboration, histories: Mapping[bytes, History]) -> bool:
    parties = (histories[did] for did in agreement.parties)
    return any(one.taken_back or one.fork is not None for one in parties)


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
    place = f"kept/{room.topic.hex()}/"
    for name in journal.states(place):
        number, _, output = name.removeprefix(place).partition("/")
        room.machine.handle(ResultKept(int(number), output), 0)
    world.refresh()
