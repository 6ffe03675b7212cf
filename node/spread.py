"""Spreading records: gossip and pushes for latency, periodic pulls so that nothing stays missing.

A burst that was lost, a partition, a node that was off a month: all heal by the same pull.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import trio

from node import wire
from node.batch import Taken
from node.fetching import Fetcher
from node.frontier import PROOFS
from node.net.transport import Transport, TransportError
from node.pipeline import Pipeline
from node.pulling import FAULTS, Puller
from node.shown import for_guest
from node.store.blobs import Blobs
from node.talk import ask
from node.world import Room
from protocol import kinds, limits
from protocol.equivocation import Fork
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement, NegotiationOpening
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import read_opening

PULL_EVERY = 3.0
"""Seconds between two rounds of anti-entropy; each round takes another peer."""

LOOK_EVERY = 1.0
"""Seconds between two attempts to reach members whose addresses are known."""

ASK_EVERY = 10.0
"""Seconds between two questions to a member where those are that are not reached."""

QUEUE = 2048
"""Records waiting for one peer; beyond it they are dropped, and a pull brings them."""

PUSH_BYTES = 512 * 1024
"""Bytes of records in one push."""

DISCOVERIES = 8
"""Openings asked of one peer at once; what it speaks of beyond waits for the next pull."""

DIALS = 16
"""Members dialled at once."""

GOSSIP = 1024
"""Gossip messages of one peer that wait for the gate; the oldest go, and a pull brings them."""

WARNED = 12
"""Members to whom a node sends a new proof: each does the same."""

PEERS_TOLD = 256
"""Members whose addresses one answer holds."""

ADDRESSES_KEPT = 8
"""Addresses of a member that hearsay about it cannot push out."""

T = TypeVar("T")

log = logging.getLogger("village.spread")


class Spread:
    """The client side of sessions: whom to tell what, whom to ask for what."""

    def __init__(
        self, pipeline: Pipeline, blobs: Blobs, transport: Transport, bootstrap: Sequence[str]
    ) -> None:
        """Spread what `pipeline` makes; `run` keeps at it."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.blobs = blobs
        self.transport = transport
        self.bootstrap = tuple(bootstrap)
        self._nursery: trio.Nursery | None = None
        self._queues: dict[str, deque[bytes | Fork]] = {}
        self._bells: dict[str, trio.Event] = {}
        self.puller = Puller(pipeline, transport, self.discover)
        self._fetcher = Fetcher(blobs, transport)
        self._reached: set[str] = set()
        self._subscribed: set[bytes] = set()
        self._discovering: set[tuple[str, bytes]] = set()
        self._gossip: dict[str, deque[bytes]] = {}
        self._looking: set[str] = set()
        self._random = random.Random()  # noqa: S311 (which peer comes next is no secret)

    async def run(self) -> None:
        """Dial, push and pull until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                nursery.start_soon(self._keep_looking)
                nursery.start_soon(self._keep_pulling)
                await trio.sleep_forever()
            finally:
                self._nursery = None  # told to stop: what comes now is left to the next start

    # --- out ----------------------------------------------------------------------------------

    def send(self, room: Room, made: Record) -> None:
        """Send a new record to the whole audience of its room; called by the pipeline."""
        hidden = made.kind in kinds.MEMBERS_ONLY and isinstance(room.machine, Space)
        if isinstance(room.machine, Space) and not hidden and self._nursery is not None:
            # Guests hear the gossip of a space too: what is for members goes to each of them.
            self._nursery.start_soon(self._publish, room.topic, made.raw)
        inside = self.world.insiders(room) if hidden else frozenset()
        for peer in self.audience_peers(room):
            owners = self.world.owners_of(peer)
            guest = hidden and owners.isdisjoint(inside)
            self._queue(peer, for_guest(made.raw, owners) if guest else made.raw)

    def warn(self, room: Room, fork: Fork) -> None:
        """Send a proof to some of the audience, who send it on; a pull brings it too."""
        peers = self.audience_peers(room)
        for peer in self._random.sample(peers, min(WARNED, len(peers))):
            self._queue(peer, fork)

    def audience_peers(self, room: Room) -> list[str]:
        """PeerIds of everybody else in the audience of a room."""
        audience = self.world.audience(room)
        return [
            peer
            for did in audience
            if did != self.world.me.did
            for peer in self.world.peers_of(did)
        ]

    def announce(self, peer: str, room: Room) -> None:
        """Let a peer know of a room it is in the audience of: it pulls what it lacks."""
        if self._nursery is not None:
            self._nursery.start_soon(self._poke, peer, room.topic)

    async def _poke(self, peer: str, topic: bytes) -> None:
        try:
            await self._ask(peer, wire.Poke(topic=topic), wire.Took)
        except FAULTS as error:
            log.debug("poke %s: %s", peer, error)

    def _queue(self, peer: str, what: bytes | Fork) -> None:
        if self._nursery is None:
            return
        if peer not in self._queues:
            self._queues[peer] = deque(maxlen=QUEUE)
            self._bells[peer] = trio.Event()
            self._nursery.start_soon(self._push_to, peer)
        self._queues[peer].append(what)
        self._bells[peer].set()

    async def _push_to(self, peer: str) -> None:
        """Push to one peer what waits for it, in batches; what fails is left to the pull."""
        queue = self._queues[peer]
        while True:
            await self._bells[peer].wait()
            self._bells[peer] = trio.Event()
            while queue:
                try:
                    took = await self._ask(peer, _next_push(queue), wire.Took)
                    self._reached.add(peer)
                except FAULTS as error:
                    log.debug("push to %s: %s", peer, error)
                    self._reached.discard(peer)
                    continue
                if took.gaps:
                    log.debug("%s has gaps and will pull", peer)

    async def _publish(self, topic: bytes, raw: bytes) -> None:
        try:
            await self.transport.publish(topic.hex(), raw)
        except TransportError as error:
            log.debug("gossip: %s", error)

    def listen(self, room: Room) -> None:
        """Hear the gossip of a space."""
        if room.topic in self._subscribed or not isinstance(room.machine, Space):
            return
        self._subscribed.add(room.topic)
        hears = partial(self._hears, room.topic)
        self.transport.subscribe(room.topic.hex(), self._on_gossip, hears)

    def _hears(self, topic: bytes, peer: str) -> bool:
        """Who was removed goes on listening: nothing new is said or passed on to it."""
        room = self.world.rooms.get(topic)
        return room is not None and self.world.may_see(room, peer)

    def _on_gossip(self, peer: str, data: bytes) -> None:
        if self._nursery is None:
            return
        if peer in self._gossip:
            self._gossip[peer].append(data)
            return
        self._gossip[peer] = deque([data], maxlen=GOSSIP)
        self._nursery.start_soon(self._take_gossip, peer)

    async def _take_gossip(self, peer: str) -> None:
        """Take what one peer gossips, all that waits in one batch."""
        waiting = self._gossip[peer]
        try:
            while waiting:
                batch = list(waiting)
                waiting.clear()
                taken = await self.pipeline.take(batch, self.world.owner_of(peer))
                self._follow_up(peer, taken)
        finally:
            del self._gossip[peer]

    # --- in -----------------------------------------------------------------------------------

    def pull_soon(self, peer: str) -> None:
        """Pull from a peer as soon as possible."""
        if self._nursery is not None:
            self._nursery.start_soon(self.pull, peer)

    def discover(self, peer: str, topic: bytes) -> None:
        """Ask a peer for the opening of a topic that it spoke of, then pull."""
        under_way = sum(asked == peer for asked, _ in self._discovering)
        known = (peer, topic) in self._discovering
        if self._nursery is not None and not known and under_way < DISCOVERIES:
            self._discovering.add((peer, topic))
            self._nursery.start_soon(self._discover, peer, topic)

    async def _discover(self, peer: str, topic: bytes) -> None:
        try:
            answer = await self._ask(peer, wire.GetOpening(topic=topic), wire.OpeningAnswer)
            self._check_opening(peer, topic, answer.opening)
            room = await self.pipeline.open(answer.opening)
        except FAULTS as error:
            log.debug("opening of %s from %s: %s", topic.hex()[:16], peer, error)
            return
        finally:
            self._discovering.discard((peer, topic))
        self.listen(room)
        await self.pull(peer)

    def _check_opening(self, peer: str, topic: bytes, raw: bytes) -> None:
        """A peer opens only what it spoke of, and takes part in itself. Raises Refused."""
        opening = read_opening(raw)
        if opening.topic != topic:
            raise Refused("topic.opening", "another topic than the one asked for")
        match opening.document:
            case NegotiationOpening(members=members):
                if self.world.owners_of(peer).isdisjoint(members):
                    raise Refused("session.audience", "the peer is no member of its negotiation")
                self._check_negotiations()
            case Agreement():
                return
            case _:
                raise Refused("session.audience", "a space is joined by its invitation file")

    def _check_negotiations(self) -> None:
        """To open a negotiation costs nothing: those in which nothing was proposed are bounded."""
        empty = sum(not one.proposals for one in self.world.negotiations())
        if empty >= limits.NEGOTIATIONS:
            raise Refused("session.audience", f"{empty} negotiations wait for a proposal")

    async def pull(self, peer: str) -> bool:
        """Pull everything this node lacks from one peer. False if it is out of reach."""
        there = await self.puller.pull(peer)
        (self._reached.add if there else self._reached.discard)(peer)
        return there

    async def fetch_blob(self, digest: bytes, peers: Sequence[str]) -> bytes:
        """A blob by digest, from here or from one of the peers. Raises Refused (topic.unknown)."""
        return await self._fetcher.blob(digest, peers)

    async def fetch_named(self, name: bytes, peers: Sequence[str]) -> bytes:
        """What peers give for a name that is not its digest; the caller checks it."""
        return await self._fetcher.named(name, peers)

    def _follow_up(self, peer: str, taken: Taken) -> None:
        for topic in taken.unknown:
            self.discover(peer, topic)
        if taken.gaps:
            self.pull_soon(peer)

    # --- reach --------------------------------------------------------------------------------

    def exchange_addresses(self, peer: str, addresses: tuple[str, ...]) -> wire.Peers:
        """Remember where a peer can be dialled, and tell it what we know of the others."""
        if addresses:
            self.pipeline.journal.see_peer(peer, addresses, int(time.time()))
        members = self._members()
        known = [row for row in self.pipeline.journal.peers() if row.peer in members]
        return wire.Peers(
            peers=tuple(
                wire.PeerAddresses(peer=row.peer, addresses=tuple(row.addresses))
                for row in known[:PEERS_TOLD]
                if row.addresses and not row.banned
            )
        )

    def reached(self) -> frozenset[str]:
        """PeerIds that answered last time."""
        return frozenset(self._reached)

    async def _keep_pulling(self) -> None:
        while True:
            await trio.sleep(PULL_EVERY * self._random.uniform(0.7, 1.3))
            free = sorted(self._reached - self.puller.pulling)
            if free:
                self.pull_soon(self._random.choice(free))

    async def _keep_looking(self) -> None:
        """Dial members that are not reached, several at once: some addresses lead nowhere. Who
        came back at another address may be unable to dial this node: others know where it is.
        """
        asked = trio.current_time()
        while True:
            known = [(row.peer, row.addresses) for row in self.pipeline.journal.peers()]
            members = self._members()
            known = [(peer, addresses) for peer, addresses in known if peer in members]
            self._random.shuffle(known)
            for address in self.bootstrap:
                self._look_for(_peer_of(address), (address,))
            for peer, addresses in known:
                self._look_for(peer, addresses)
            if trio.current_time() - asked >= ASK_EVERY:
                asked = trio.current_time()
                self._ask_around(members)
            await trio.sleep(LOOK_EVERY)

    def _ask_around(self, members: set[str]) -> None:
        """Ask one member where those are that are away."""
        here = sorted(self._reached & members)
        away = members - self._reached - {self.transport.peer_id}
        if here and away and self._nursery is not None:
            self._nursery.start_soon(self._ask_one, self._random.choice(here))

    async def _ask_one(self, peer: str) -> None:
        try:
            await self.introduce(peer)
        except FAULTS as error:
            log.debug("ask %s: %s", peer, error)

    def _look_for(self, peer: str, addresses: Sequence[str]) -> None:
        away = peer not in self._reached and peer != self.transport.peer_id
        free = peer not in self._looking and len(self._looking) < DIALS
        if away and free and self._nursery is not None:
            self._looking.add(peer)
            self._nursery.start_soon(self._greet_one, peer, addresses)

    async def _greet_one(self, peer: str, addresses: Sequence[str]) -> None:
        try:
            for address in addresses:
                await self._greet(address)
        finally:
            self._looking.discard(peer)

    async def _greet(self, address: str) -> None:
        peer = _peer_of(address)
        if peer in self._reached or peer == self.transport.peer_id:
            return
        try:
            await self.transport.dial(address)
            await self.introduce(peer)
        except FAULTS as error:
            log.debug("dial %s: %s", address, error)

    async def introduce(self, peer: str) -> None:
        """Exchange addresses with a connected peer, and pull from it. Raises as `ask` does."""
        question = wire.GetPeers(addresses=self.transport.addresses())
        told = (await self._ask(peer, question, wire.Peers)).peers
        own, members = self.transport.peer_id, self._members()
        have = {row.peer: row.addresses for row in self.pipeline.journal.peers()}
        for known in told:
            if known.peer != own and known.peer in members:
                # Hearsay adds, and never takes away what is known: it could cut a member off.
                kept = have.get(known.peer, ())[:ADDRESSES_KEPT]
                addresses = tuple(dict.fromkeys((*kept, *known.addresses)))
                if addresses != have.get(known.peer):
                    self.pipeline.journal.see_peer(known.peer, addresses, int(time.time()))
        await self.pull(peer)

    def _members(self) -> set[str]:
        return {peer for did in self.world.participants() for peer in self.world.peers_of(did)}

    async def _ask(self, peer: str, request: object, answer: type[T]) -> T:
        return await ask(self.transport, peer, wire.SESSION, wire.SESSION_WIRE, request, answer)


def _next_push(queue: deque[bytes | Fork]) -> wire.Push:
    """Take from a queue what fits into one push."""
    records: list[bytes] = []
    proofs: list[bytes] = []
    size = 0
    while queue and len(records) < limits.PUSH and len(proofs) < PROOFS and size < PUSH_BYTES:
        match queue.popleft():
            case bytes(raw):
                records.append(raw)
                size += len(raw)
            case Fork(raw=raw):
                proofs.append(raw)
    return wire.Push(records=tuple(records), proofs=tuple(proofs))


def _peer_of(address: str) -> str:
    return address.rpartition("/p2p/")[2]
