"""After a restore from a backup: no word in what was open when the node was lost.

What the lost node said after the backup is at its peers, or nowhere. So the restored node first
pulls all that a quorum of the others hold, and then speaks in an agreement from the next term on:
in no exclusive slot can it contradict itself, however much it forgot.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import trio

from node.pipeline import Pipeline
from node.spread import Spread
from node.store.journal import Journal
from node.world import Room
from protocol import decision
from protocol.kinds.agreement import Agreement
from protocol.machines.agreement import Collaboration
from protocol.machines.space import Space
from protocol.topic import Opening

MARK: Final = "restored"
"""State of the journal: there since a restore."""

FLOORS: Final = "restored/"
"""State by topic: the first term in which the restored node speaks; 0 in a space."""

EVERY: Final = 1.0
"""Seconds between two looks."""


def mark(journal: Journal) -> None:
    """Note in a restored journal that its node forgot something."""
    journal.put_state(MARK, b"1")


def floors(journal: Journal, vote_key: bytes) -> Callable[[Opening], int | None]:
    """The first term in which this node may speak in a topic, of a space just 0; None if it must
    wait.
    """
    restored = journal.state(MARK) is not None

    def floor(opening: Opening) -> int | None:
        document = opening.document
        if not restored or opening.type == "negotiation":
            return 0  # a vote in a negotiation names its version: there is no exclusive slot
        if isinstance(document, Agreement) and vote_key in {p.vote_key for p in document.parties}:
            return 0  # all parties signed it after the restore
        known = journal.state(_name(opening.topic))
        return None if known is None else int(known)

    return floor


class Restored:
    """Asks around until every room has a floor."""

    def __init__(self, pipeline: Pipeline, spread: Spread) -> None:
        """For the rooms of `pipeline`."""
        self.pipeline = pipeline
        self.spread = spread
        self._asked: dict[bytes, set[bytes]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled: a peer may bring an agreement later."""
        while self.pipeline.journal.state(MARK) is not None:
            for room in list(self.pipeline.world.rooms.values()):
                match room.machine:
                    case Collaboration(me=me, parties=parties) if me.from_term is None:
                        await self._ask_around(room, set(parties))
                    case Space() as space if room.silent:
                        await self._ask_around(room, set(space.members()))
                    case _:
                        pass
            await trio.sleep(EVERY)

    async def _ask_around(self, room: Room, voters: set[bytes]) -> None:
        """Pull from the other voters; with a quorum of them, what was open is known."""
        others = voters - {self.pipeline.world.me.did}
        asked = self._asked.setdefault(room.topic, set())
        for did in others - asked:
            for peer in self.pipeline.world.peers_of(did):
                if await self.spread.pull(peer):
                    asked.add(did)
        if voters and len(asked) >= min(len(others), decision.quorum(len(voters))):
            self._speak(room)

    def _speak(self, room: Room) -> None:
        machine, floor = room.machine, 0
        if isinstance(machine, Collaboration):
            floor = machine.election.term + 1
            machine.me = replace(machine.me, from_term=floor)
        room.silent = False
        self.pipeline.journal.put_state(_name(room.topic), str(floor).encode())


def _name(topic: bytes) -> str:
    return f"{FLOORS}{topic.hex()}"
