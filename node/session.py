"""The server side of sessions between members: what a peer may ask, and what it is told.

A peer sees only topics whose audience it is in; records it pushes go through the one gate.
"""

import time

import trio

from node import wire
from node.inbox import Inbox
from node.leaves import fetch_leaves, leaves_name
from node.net.transport import Transport
from node.pipeline import Pipeline
from node.shown import both_hosts, names
from node.spread import Spread
from node.store import StoreMissing
from node.store.blobs import Blobs
from node.talk import Answer, serve
from node.world import Room
from protocol import limits, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.events import HeartbeatHeard, StopHeard
from protocol.kinds.consent import Stop, StopReceipt
from protocol.kinds.host import Heartbeat

BATCH = 512 * 1024
"""Bytes of records in one batch: each side holds one batch at a time."""

STOPS = 128
"""Stops kept for one agreement: all of them must fit into one statement."""


class Session:
    """Answers the requests of node/wire.py that members make."""

    def __init__(
        self, pipeline: Pipeline, spread: Spread, blobs: Blobs, transport: Transport, inbox: Inbox
    ) -> None:
        """Serve sessions on `transport`."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.spread = spread
        self.blobs = blobs
        self.inbox = inbox
        self._beats: dict[tuple[bytes, bytes], int] = {}
        self._answers: dict[type, Answer] = {
            wire.Push: self._push,
            wire.Poke: self._poke,
            wire.Pull: self._pull,
            wire.GetOpening: self._opening,
            wire.GetBlob: self._blob,
            wire.GetPeers: self._peers,
            wire.Keep: self._keep,
            wire.Beat: self._beat,
            wire.TellStop: self._stop,
            wire.AskRewrap: self._rewrap,
            wire.Deliver: self._deliver,
        }
        transport.serve(wire.SESSION, serve(wire.SESSION_WIRE, self.answer))

    async def answer(self, request: object, peer: str) -> object:
        """Answer one request of a peer. Raises Refused."""
        return await self._answers[type(request)](request, peer)

    async def _push(self, request: wire.Push, peer: str) -> wire.Took:
        taken = await self.pipeline.take(request.records, self.world.owner_of(peer))
        for topic in taken.unknown:
            self.spread.discover(peer, topic)
        if taken.gaps:
            self.spread.pull_soon(peer)
        return wire.Took(new=taken.new, unknown=tuple(taken.unknown), gaps=tuple(taken.gaps))

    async def _poke(self, request: wire.Poke, peer: str) -> wire.Took:
        if request.topic not in self.world.rooms:
            self.spread.discover(peer, request.topic)
        return wire.Took(new=0, unknown=(), gaps=())

    async def _pull(self, request: wire.Pull, peer: str) -> wire.Batch:
        asked = {frontier.topic: frontier for frontier in request.topics}
        seen = [room for room in self.world.rooms.values() if self._may_see(room, peer)]
        others = tuple(room.topic for room in seen if room.topic not in asked)[: limits.PUSH]
        records: list[bytes] = []
        more = False
        for room in seen:
            if room.topic in asked:
                more |= await self._collect(room, asked[room.topic], records)
        return wire.Batch(records=tuple(records), more=more, others=others)

    async def _collect(
        self, room: Room, frontier: wire.TopicFrontier, records: list[bytes]
    ) -> bool:
        """Add what a peer lacks of a room, up to one batch. True if there is more.

        No feed takes more than its part of what is left: of one that the peer refuses, or that
        waits for another, there is no end, and the others must come too.
        """
        wanted = {head.key: head.next for head in frontier.heads}
        heads = room.feeds.heads.items()
        lacking = [key for key, head in heads if head.seq >= wanted.get(key, 0)]
        more = False
        for place, key in enumerate(lacking):
            left, feeds_left = BATCH - sum(map(len, records)), len(lacking) - place
            if left < limits.RECORD or len(records) >= limits.PUSH:
                return True
            found = await trio.to_thread.run_sync(
                self.pipeline.journal.after,
                room.topic,
                key,
                wanted.get(key, 0) - 1,
                max(limits.RECORD, left // feeds_left),
            )
            found = found[: max(1, (limits.PUSH - len(records)) // feeds_left)]
            records += found
            more |= wanted.get(key, 0) + len(found) <= room.feeds.heads[key].seq
        return more

    async def _opening(self, request: wire.GetOpening, peer: str) -> wire.OpeningAnswer:
        room = self.world.room(request.topic)
        if not self._may_see(room, peer):
            raise Refused("session.audience")
        return wire.OpeningAnswer(opening=room.opening.raw)

    async def _peers(self, request: wire.GetPeers, peer: str) -> wire.Peers:
        return self.spread.exchange_addresses(peer, request.addresses)

    async def _deliver(self, request: wire.Deliver, peer: str) -> Done:
        return await self.inbox.receive(request.agreement, request.delivery, peer)

    async def _stop(self, request: wire.TellStop, peer: str) -> wire.StopAnswer:
        del peer
        return await self.take_stop(request.token)

    async def _keep(self, request: wire.Keep, peer: str) -> Done:
        """A standby keeps what the next host would need: sealed lineage, and leaves."""
        candidates = self.world.collaboration(request.agreement).candidates
        known = self.world.me.did in candidates
        if not known or self.world.owners_of(peer).isdisjoint(candidates):
            raise Refused("host.candidate")
        if request.lineage is not None:
            await self.spread.fetch_blob(request.lineage, [peer])
        await fetch_leaves(self.pipeline.journal, self.spread, request.leaves, [peer])
        return Done()

    def _may_see(self, room: Room, peer: str) -> bool:
        return not self.world.owners_of(peer).isdisjoint(self.world.audience(room))

    async def _blob(self, request: wire.GetBlob, peer: str) -> wire.BlobPiece:
        """A piece of a blob, by its own digest or, for leaves, by their Merkle root."""
        digest, offset = request.digest, request.offset
        if not self._may_have(digest, peer):
            raise Refused("session.audience", "no topic of yours names this blob")
        known = self.pipeline.journal.state(leaves_name(digest)) or digest
        try:
            data = await trio.to_thread.run_sync(self.blobs.get, known)
        except StoreMissing as error:
            raise Refused("topic.unknown", "no such blob here") from error
        return wire.BlobPiece(data=data[offset : offset + wire.PIECE], size=len(data))

    def _may_have(self, blob: bytes, peer: str) -> bool:
        owners = self.world.owners_of(peer)
        return any(
            both_hosts(room, self.world.me.did, owners)
            or (self._may_see(room, peer) and names(room, blob))
            for room in self.world.rooms.values()
        )

    async def _beat(self, request: wire.Beat, peer: str) -> Done:
        del peer
        beat = token.open_(request.token, "heartbeat", Heartbeat)
        collaboration = self.world.collaboration(beat.body.agreement)
        elected = collaboration.election.elected(beat.body.term)
        if elected is None or elected.candidacy.enclave.signing != beat.key:
            raise Refused("election.certificate", f"no such host in term {beat.body.term}")
        # Whoever heard a beat can say it again: only a later one proves that the enclave lives.
        if beat.body.beat <= self._beats.get((beat.body.agreement, beat.key), -1):
            return Done()
        self._beats[beat.body.agreement, beat.key] = beat.body.beat
        event = HeartbeatHeard(beat.body.term, elected.appointment.enclave)
        await self.pipeline.tell(beat.body.agreement, event)
        return Done()

    async def take_stop(self, raw: bytes) -> wire.StopAnswer:
        """Keep a person's stop, durably, and sign a receipt that names the next run it can bind."""
        stop = token.open_(raw, "stop", Stop)
        collaboration = self.world.collaboration(stop.body.agreement)
        if self.world.me.did not in collaboration.parties:
            raise Refused("agreement.party", "only parties give receipts for stops")
        prefix = f"stop/{stop.body.agreement.hex()}/"
        kept = self.pipeline.journal.states(prefix)
        name = prefix + stop.id.hex()
        if name not in kept and len(kept) >= STOPS:
            raise Refused("codec.too-large", f"{STOPS} stops are waiting already")
        self.pipeline.journal.put_state(name, raw)
        event = StopHeard(stop.id, stop.body.consent, raw)
        await self.pipeline.tell(stop.body.agreement, event)
        receipt = StopReceipt(
            stop=stop.id,
            agreement=stop.body.agreement,
            not_voted=collaboration.runs.not_voted(self.world.me.did),
            at=int(time.time()),
        )
        signed = token.sign(self.pipeline.keyring.record, "stop-receipt", receipt)
        return wire.StopAnswer(receipt=signed)

    async def _rewrap(self, request: wire.AskRewrap, peer: str) -> Done:
        """Serve only the enclave that holds the newest term: an old host is fenced, and noted."""
        collaboration = self.world.collaboration(request.agreement)
        elected = collaboration.election.elected()
        try:
            if elected is None or request.term < elected.term:
                raise Refused("term.fenced", f"term {request.term} ended")
            if elected.appointment.enclave != request.enclave:
                raise Refused("election.certificate", "another enclave holds this term")
        except Refused as error:
            who = self.world.owner_of(peer)
            self.pipeline.refuse(error, request.share, who, request.agreement)
            raise
        # The machine owes the wrap (Collaboration.duties) and publishes it at its next step.
        return Done()
