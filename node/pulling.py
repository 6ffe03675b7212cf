"""Pulls: what keeps a node complete. A burst that was lost, a partition, a month off: all heal so.

A peer that lies about its heads, sends what is refused, or sends slowly costs the time of its own
pull, which is bounded, and nothing else: every peer is pulled from by itself.
"""

import logging
from collections.abc import Callable

import trio

from node import wire
from node.frontier import LOWEST, PROOFS, page
from node.net.transport import Transport, TransportError
from node.pipeline import Pipeline
from node.talk import Conversation, conversation
from node.verify_worker import Verified
from node.world import Room
from protocol import equivocation, record
from protocol.errors import Refused

FAULTS = (TransportError, Refused, trio.TooSlowError)
"""What a peer can do to us: it ends this exchange and nothing else."""

PULL_TIME = 600.0
"""Seconds of one pull; a longer one goes on at the next round, where this one ended."""

FORKS = 8
"""Feeds of one answer in which the place of the fork is looked for: a liar can name any."""

REST = 2.0
"""Seconds for which a feed is not asked for again whose records were all refused or too early."""

RESTING = 4096
"""Feeds whose rest is remembered."""

log = logging.getLogger("village.pulling")

Feed = tuple[bytes, bytes]


class Puller:
    """Asks peers for what this node lacks. `discover` is told of topics that are not known here."""

    def __init__(
        self, pipeline: Pipeline, transport: Transport, discover: Callable[[str, bytes], None]
    ) -> None:
        """Pull into `pipeline`."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.transport = transport
        self.pulling: set[str] = set()
        self._discover = discover
        self._resting: dict[Feed, float] = {}

    async def pull(self, peer: str) -> bool:
        """Pull all that this node lacks from one peer. False if the peer is out of reach."""
        if peer in self.pulling:
            return True
        self.pulling.add(peer)
        try:
            with trio.move_on_after(PULL_TIME):
                async with conversation(
                    self.transport, peer, wire.SESSION, wire.SESSION_WIRE
                ) as talk:
                    await _Pull(self, talk, peer).run()
                    await self._fill(talk)
        except FAULTS as error:
            log.debug("pull from %s: %s", peer, error)
            return False
        else:
            return True
        finally:
            self.pulling.discard(peer)

    async def _fill(self, talk: Conversation) -> None:
        """Ask for the bodies that were kept back while this node was a guest."""
        me = frozenset({self.world.me.did})
        for room in list(self.world.rooms.values()):
            if room.bare and not self.world.is_guest(room, me):
                for key in {key for key, _ in room.bare}:
                    await self._fill_feed(talk, room, key)

    async def _fill_feed(self, talk: Conversation, room: Room, key: bytes) -> None:
        while places := [seq for one, seq in room.bare if one == key]:
            question = wire.GetFeed(topic=room.topic, key=key, seq=min(places))
            answer = await talk.ask(question, wire.FeedAnswer)
            if not await self.pipeline.fill(answer.records):
                return

    def rest(self, feed: Feed, now: float) -> None:
        """Ask nothing of a feed for a while."""
        if len(self._resting) >= RESTING:
            self._resting = {one: until for one, until in self._resting.items() if until > now}
        if len(self._resting) < RESTING:
            self._resting[feed] = now + REST

    def rests(self, feed: Feed, now: float) -> bool:
        """Whether nothing is asked of a feed now."""
        return self._resting.get(feed, 0.0) > now


class _Pull:
    """One pull, in three stages at once: ask for a batch, verify the one before, take its elder."""

    def __init__(self, puller: Puller, talk: Conversation, peer: str) -> None:
        self._puller = puller
        self._pipeline = puller.pipeline
        self._world = puller.world
        self._talk = talk
        self._peer = peer
        self._sender = puller.world.owner_of(peer)
        self._ahead: dict[Feed, int] = {}
        self._fruitless = False

    async def run(self) -> None:
        """Page after page, each until it brings nothing new. Raises one of FAULTS."""
        raw_in, raw_out = trio.open_memory_channel[wire.Batch](1)
        found_in, found_out = trio.open_memory_channel[tuple[wire.Batch, list[Verified]]](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._verify, raw_out, found_in)
            nursery.start_soon(self._take, found_out)
            async with raw_in:
                fault = await self._ask_all(raw_in)
        if fault is not None:
            raise fault

    async def _ask_all(self, batches: trio.MemorySendChannel[wire.Batch]) -> Exception | None:
        """Ask page after page; what the peer did to end it. What came before is taken."""
        low: bytes | None = LOWEST
        try:
            while low is not None:
                low = await self._page(low, batches)
        except FAULTS as error:
            return error
        return None

    async def _page(self, low: bytes, batches: trio.MemorySendChannel[wire.Batch]) -> bytes | None:
        """Ask for all of one page; where the next one begins."""
        self._fruitless = False
        while True:
            request, following = page(self._world.shared_with(self._peer), low, self._ahead)
            batch = await self._talk.ask(self._resting(request), wire.Batch)
            await self._hear(batch)
            moved = self._look_ahead(batch)
            if batch.records:
                await batches.send(batch)
            if not batch.more or not moved or self._fruitless:
                return following

    def _look_ahead(self, batch: wire.Batch) -> bool:
        """Where feeds will stand once the batch is taken, if it holds what it says."""
        moved = False
        for part in batch.parts[: len(batch.records)]:
            room = self._world.rooms.get(part.topic)
            if room is None:
                continue
            feed = part.topic, part.key
            if part.next > self._ahead.get(feed, room.feeds.place(part.key).seq):
                self._ahead[feed] = part.next
                moved = True
        return moved

    async def _verify(
        self,
        batches: trio.MemoryReceiveChannel[wire.Batch],
        found: trio.MemorySendChannel[tuple[wire.Batch, list[Verified]]],
    ) -> None:
        async with found:
            async for batch in batches:
                await found.send((batch, await self._pipeline.verify(batch.records)))

    async def _take(
        self, found: trio.MemoryReceiveChannel[tuple[wire.Batch, list[Verified]]]
    ) -> None:
        """Give batches to the gate; of feeds that did not move nothing is asked for a while."""
        async for batch, verified in found:
            taken = await self._pipeline.take_verified(verified, self._sender)
            self._fruitless = not taken.new
            now = trio.current_time()
            for part in batch.parts:
                feed = part.topic, part.key
                room = self._world.rooms.get(part.topic)
                if room is None or room.feeds.place(part.key).seq < part.next:
                    self._puller.rest(feed, now)
                    self._ahead.pop(feed, None)

    def _resting(self, request: wire.Pull) -> wire.Pull:
        """The same page without wishes of feeds that rest."""
        now = trio.current_time()
        topics = tuple(
            wire.TopicFrontier(
                topic=one.topic,
                heads=tuple(
                    wire.FeedHead(key=h.key, next=h.next, head=h.head, end=h.next, fork=h.fork)
                    if self._puller.rests((one.topic, h.key), now)
                    else h
                    for h in one.heads
                ),
            )
            for one in request.topics
        )
        return wire.Pull(low=request.low, high=request.high, topics=topics)

    async def _hear(self, batch: wire.Batch) -> None:
        for topic in batch.others:
            if topic not in self._world.rooms:
                self._puller._discover(self._peer, topic)  # noqa: SLF001 (one file, two classes)
        for raw in batch.proofs[:PROOFS]:
            await self._pipeline.accuse(raw)
        for place in batch.forks[:FORKS]:
            await self._find_fork(place[:32], place[32:])

    async def _find_fork(self, topic: bytes, key: bytes) -> None:
        """Find the lowest place at which a feed parts from the peer's; what is signed proves it."""
        room = self._world.rooms.get(topic)
        head = room.feeds.heads.get(key) if room else None
        if room is None or head is None:
            return
        low, high, proof = 0, head.seq, None
        while low <= high:
            middle = high if proof is None else (low + high) // 2
            question = wire.GetHeader(topic=topic, key=key, seq=middle)
            theirs = (await self._talk.ask(question, wire.HeaderAnswer)).header
            found = record.parse(theirs)
            if (found.topic, found.key, found.seq) != (topic, key, middle):
                raise Refused("record.proof", "another header than the one asked for")
            own = self._pipeline.journal.at(topic, key, middle)
            if own is None or found.id == room.feeds.id_at(key, middle):
                low = middle + 1
                if proof is None:
                    return  # it does not part here: a lie, or no longer so
            else:
                proof, high = equivocation.prove(own, theirs), middle - 1
        if proof is not None:
            await self._pipeline.accuse(proof.raw)
