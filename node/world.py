"""Every topic that this node follows, with its feeds and machine; rebuilt from the journal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from node.net.peer_id import peer_id_of
from protocol.errors import Refused
from protocol.identity import Participant
from protocol.kinds.agreement import Agreement, NegotiationOpening
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import Feeds, Opening

Machine = Space | Negotiation | Collaboration


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record that came too early: when it is given up, and what the gate said of it."""

    record: Record
    deadline: float
    error: Refused


@dataclass(slots=True)
class Room:
    """One topic: its opening, its feeds, its machine, and the records that came too early."""

    opening: Opening
    feeds: Feeds
    machine: Machine
    waiting: dict[bytes, Waiting] = field(default_factory=dict)

    @property
    def topic(self) -> bytes:
        """The topic's id."""
        return self.opening.topic


@dataclass(slots=True)
class World:
    """All rooms of a node, and who is who in them."""

    me: Participant
    rooms: dict[bytes, Room] = field(default_factory=dict)
    _owners: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, opening: Opening, *, invited: bool = False) -> Room:
        """Open a room for a verified opening. Raises Refused (session.audience, topic.opening).

        A guest opens a space by hand, before the invite that names it has arrived: `invited`. A
        peer cannot draw this node into a space, whose members would then be admitted here, nor
        into an agreement of strangers that names it as a host.
        """
        room = Room(opening, Feeds(opening.topic, opening.type), self._machine(opening))
        if not invited:
            self._check_named(room)
        kept = self.rooms.setdefault(opening.topic, room)
        self.refresh()
        return kept

    def _check_named(self, room: Room) -> None:
        if self.me.did not in self.audience(room):
            raise Refused("session.audience", "the topic does not name this participant")
        match room.machine:
            case Collaboration(parties=parties) if self.me.did not in parties:
                strangers = parties.keys() - self.participants().keys()
                if strangers:
                    raise Refused("session.audience", f"{len(strangers)} parties are strangers")
            case _:
                return

    def _machine(self, opening: Opening) -> Machine:
        match opening.document:
            case NegotiationOpening():
                return Negotiation(opening, self.me.did, self.participants())
            case Agreement():
                return Collaboration(opening, Self(did=self.me.did, identity=self.me.id))
            case _:
                return Space(opening)

    def room(self, topic: bytes) -> Room:
        """The room of a topic. Raises Refused (topic.unknown)."""
        room = self.rooms.get(topic)
        if room is None:
            raise Refused("topic.unknown", topic.hex()[:16])
        return room

    def spaces(self) -> Iterator[Space]:
        """Every space this node knows."""
        return (r.machine for r in self.rooms.values() if isinstance(r.machine, Space))

    def negotiations(self) -> Iterator[Negotiation]:
        """Every negotiation this node takes part in."""
        return (r.machine for r in self.rooms.values() if isinstance(r.machine, Negotiation))

    def collaborations(self) -> Iterator[Collaboration]:
        """Every agreement in force that this node is party or host of."""
        return (r.machine for r in self.rooms.values() if isinstance(r.machine, Collaboration))

    def space(self, topic: bytes) -> Space:
        """A space. Raises Refused (topic.unknown)."""
        machine = self.room(topic).machine
        if not isinstance(machine, Space):
            raise Refused("topic.unknown", "not a space")
        return machine

    def negotiation(self, topic: bytes) -> Negotiation:
        """A negotiation. Raises Refused (topic.unknown)."""
        machine = self.room(topic).machine
        if not isinstance(machine, Negotiation):
            raise Refused("topic.unknown", "not a negotiation")
        return machine

    def collaboration(self, topic: bytes) -> Collaboration:
        """An agreement in force. Raises Refused (topic.unknown)."""
        machine = self.room(topic).machine
        if not isinstance(machine, Collaboration):
            raise Refused("topic.unknown", "not an agreement in force")
        return machine

    def participants(self) -> dict[bytes, Participant]:
        """Everybody whose identity is known in any room, the newest of each: did -> participant."""
        known: dict[bytes, Participant] = {self.me.did: self.me}
        for space in self.spaces():
            _learn(known, space.participants())
        for collaboration in self.collaborations():
            _learn(known, collaboration.audience())
        return known

    def audience(self, room: Room) -> dict[bytes, Participant]:
        """Who may see and hear a room."""
        match room.machine:
            case Space() as space:
                return space.participants()
            case Collaboration() as collaboration:
                return collaboration.audience()
            case Negotiation() as negotiation:
                everybody = self.participants()
                return {d: everybody[d] for d in negotiation.document.members if d in everybody}

    def refresh(self) -> None:
        """After new identities became known: who has which PeerId, and who negotiates."""
        everybody = self.participants()
        self._owners = {}
        for did, found in everybody.items():
            for key in found.nodes:
                self._owners.setdefault(peer_id_of(key), set()).add(did)
        for negotiation in self.negotiations():
            negotiation.participants.update(everybody)

    def name(self, did: bytes) -> str:
        """The petname of a participant, or a short form of its key."""
        found = self.participants().get(did)
        return found.name if found else did.hex()[:12]

    def peers_of(self, did: bytes) -> list[str]:
        """The PeerIds of a participant's nodes."""
        found = self.participants().get(did)
        return [peer_id_of(key) for key in found.nodes] if found else []

    def owner_of(self, peer: str) -> bytes | None:
        """The participant whose node has this PeerId; a look-up, asked for every stream.

        An identity can name a node that is another's too. For rights ask `owners_of`.
        """
        return min(self._owners.get(peer, ()), default=None)

    def owners_of(self, peer: str) -> frozenset[bytes]:
        """All participants that name the node with this PeerId as theirs: whoever names a node of
        another gives rights to it, and takes none away.
        """
        return frozenset(self._owners.get(peer, ()))


def _learn(known: dict[bytes, Participant], others: Mapping[bytes, Participant]) -> None:
    """Add participants; of two identities of one the newer revision counts."""
    for did, found in others.items():
        have = known.setdefault(did, found)
        if (found.revision, found.id) > (have.revision, have.id):
            known[did] = found
