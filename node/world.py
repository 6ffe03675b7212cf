"""Every topic that this node follows, with its feeds and machine; rebuilt from the journal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from node.net.peer_id import peer_id_of
from protocol.equivocation import Fork
from protocol.errors import Refused
from protocol.identity import History, Participant
from protocol.kinds.agreement import Agreement, NegotiationOpening
from protocol.machines.advisories import Ground
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import Feeds, Opening

Machine = Space | Negotiation | Collaboration


IDENTIFYING = frozenset({"invite", "keys", "recovery", "change", "vote"})
"""Kinds of records after which other identities, or others' node keys, may count."""


@dataclass(slots=True)
class Room:
    """One topic: its opening, its feeds, its machine, and the proofs against who equivocated.

    `bare` are places of records that came without body, while this node was a guest. `said` is the
    date of the last own word here, and the key that signed it.
    """

    opening: Opening
    feeds: Feeds
    machine: Machine
    forks: dict[bytes, Fork] = field(default_factory=dict)
    bare: set[tuple[bytes, int]] = field(default_factory=set)
    said: tuple[int, bytes] = (0, b"")
    silent: bool = False

    @property
    def topic(self) -> bytes:
        """The topic's id."""
        return self.opening.topic


@dataclass(slots=True)
class World:
    """All rooms of a node, and who is who in them. `fallen` are agreements without a room: their
    signatures turned out to be void.
    """

    me: Participant
    rooms: dict[bytes, Room] = field(default_factory=dict)
    fallen: dict[bytes, Refused] = field(default_factory=dict)
    floor: Callable[[Opening], int | None] = lambda _opening: 0
    held: Callable[[bytes, bytes, int], bytes | None] = lambda _topic, _key, _seq: None
    _owners: dict[str, set[bytes]] = field(default_factory=dict)
    _everybody: dict[bytes, Participant] = field(default_factory=dict)
    _stale: bool = True

    def add(self, opening: Opening, *, invited: bool = False) -> Room:
        """Open a room for a verified opening. Raises Refused (session.audience, topic.opening).

        A guest opens a space by hand, before the invite that names it has arrived: `invited`. A
        peer cannot draw this node into a space, whose members would then be admitted here, nor
        into an agreement of strangers that names it as a host.
        """
        feeds = Feeds(opening.topic, opening.type, partial(self.held, opening.topic))
        room = Room(opening, feeds, self.machine(opening))
        room.silent = opening.type == "space" and self.floor(opening) is None
        if not invited:
            self._check_named(room)
        kept = self.rooms.setdefault(opening.topic, room)
        self.refresh()
        return kept

    def fell(self, room: Room, error: Refused) -> None:
        """Close the room of an agreement whose signatures are void by now."""
        del self.rooms[room.topic]
        self.fallen[room.topic] = error

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

    def machine(self, opening: Opening) -> Machine:
        """A machine for a topic that has taken no record yet."""
        match opening.document:
            case NegotiationOpening():
                return Negotiation(opening, self.me.did, self.histories())
            case Agreement():
                floor = self.floor(opening)
                return Collaboration(
                    opening, Self(did=self.me.did, identity=self.me.id, from_term=floor)
                )
            case _:
                room = self.rooms.get(opening.topic)
                return Space(opening, {} if room is None else dict(room.feeds.barred))

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

    def ground(self, space: bytes) -> Ground:
        """What a space asks of its agreements. Raises Refused (topic.unknown) where this node does
        not follow it: without its floors and advisories no evidence is judged, and no key sealed.
        """
        return self.space(space).ground

    def participants(self) -> dict[bytes, Participant]:
        """Everybody whose identity is known in any room, the newest of each: did -> participant."""
        if self._stale:
            self.refresh()
        return self._everybody

    def histories(self) -> dict[bytes, History]:
        """All identities of everybody that are known in any room; not to be changed."""
        known: dict[bytes, History] = {self.me.did: History.of(self.me)}
        for room in self.rooms.values():
            for did, history in room.machine.histories.items():
                have = known.setdefault(did, history)
                if not have.covers(history):
                    known[did] = have.copy()
                    known[did].merge(history)
        return known

    def audience(self, room: Room) -> dict[bytes, Participant]:
        """Who may see and hear a room."""
        match room.machine:
            case Space() as space:
                return space.audience()
            case Collaboration() as collaboration:
                return collaboration.audience()
            case Negotiation() as negotiation:
                everybody = self.participants()
                return {d: everybody[d] for d in negotiation.document.members if d in everybody}

    def refresh(self) -> None:
        """After new identities became known: who has which PeerId, and who negotiates."""
        self._stale = False
        histories = self.histories()
        self._everybody = {did: history.participant for did, history in histories.items()}
        self._owners = {}
        for did, history in histories.items():
            for key in history.nodes:
                self._owners.setdefault(peer_id_of(key), set()).add(did)
        for negotiation in self.negotiations():
            negotiation.introduce(histories)

    def become(self, me: Participant) -> None:
        """Take a newer identity of one's own."""
        self.me = me
        for collaboration in self.collaborations():
            collaboration.me = replace(collaboration.me, identity=me.id)
        self.refresh()

    def heard(self, room: Room, found: Record) -> None:
        """A record was taken: it may bring identities, or change which of them count."""
        if found.kind in IDENTIFYING and (found.kind != "vote" or isinstance(room.machine, Space)):
            self._stale = True

    def is_guest(self, room: Room, who: frozenset[bytes]) -> bool:
        """Whether a room is a space, and nobody of these belongs to it yet."""
        return isinstance(room.machine, Space) and who.isdisjoint(self.insiders(room))

    def may_see(self, room: Room, peer: str) -> bool:
        """Whether a node is of somebody in the audience of a room."""
        return not self.owners_of(peer).isdisjoint(self.audience(room))

    def shared_with(self, peer: str) -> dict[bytes, Room]:
        """The rooms that a peer may see, by topic."""
        return {room.topic: room for room in self.rooms.values() if self.may_see(room, peer)}

    def insiders(self, room: Room) -> frozenset[bytes]:
        """Who may read all of a room: of a space its founders and members, else its audience."""
        match room.machine:
            case Space() as space:
                return frozenset(space.members() or space.founders)
            case _:
                return frozenset(self.audience(room))

    def settle(self) -> None:
        """Let everybody who is known by now count, in negotiations too."""
        if self._stale:
            self.refresh()

    def signer(self, room: Room, key: bytes) -> bytes | None:
        """Whose key it is, or was, of those who are known in a room."""
        histories = room.machine.histories.items()
        return next((did for did, one in histories if key in one.all_keys()), None)

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
        self.settle()
        return min(self._owners.get(peer, ()), default=None)

    def owners_of(self, peer: str) -> frozenset[bytes]:
        """All participants that name the node with this PeerId as theirs: whoever names a node of
        another gives rights to it, and takes none away.
        """
        self.settle()
        return frozenset(self._owners.get(peer, ()))
