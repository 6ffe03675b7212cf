"""The server side of sessions between members: what a peer may ask, and what it is told.

A peer sees only topics whose audience it is in; records it pushes go through the one gate.
"""

import time
from dataclasses import dataclass, field

import trio

from node import stops, wire
from node.door import Bounds, Door
from node.frontier import PROOFS, lacking, rooms_of, span
from node.inbox import Inbox
from node.leaves import fetch_leaves, leaves_name
from node.net.transport import Transport
from node.pipeline import Pipeline
from node.shown import both_hosts, for_guest, names
from node.spread import Spread
from node.store import StoreMissing
from node.store.blobs import Blobs
from node.store.records import Want
from node.talk import Answer, serve
from node.world import Room
from protocol import equivocation, limits, record, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.events import HeartbeatHeard, StopHeard
from protocol.kinds.consent import Stop, StopReceipt
from protocol.kinds.host import Heartbeat

BATCH = 512 * 1024
"""Bytes of records in one batch: each side holds one batch at a time."""


BOUNDS = Bounds(
    streams=64,
    all_streams=2048,
    requests=200.0,
    burst=2000.0,
    bytes=32 * 1024.0 * 1024,
    bytes_burst=128 * 1024.0 * 1024,
)
"""What one member may ask: far above what sync and heartbeats of hundreds of agreements need."""


@dataclass(slots=True)
class _Answer:
    """A batch on its way."""

    records: list[bytes] = field(default_factory=list)
    parts: list[wire.FeedPart] = field(default_factory=list)
    proofs: list[bytes] = field(default_factory=list)
    forks: list[bytes] = field(default_factory=list)
    more: bool = False


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
            wire.GetHeader: self._header,
            wire.GetFeed: self._feed,
            wire.GetOpening: self._opening,
            wire.GetBlob: self._blob,
            wire.GetPeers: self._peers,
            wire.Keep: self._keep,
            wire.Beat: self._beat,
            wire.TellStop: self._stop,
            wire.GetStops: self._stops,
            wire.AskRewrap: self._rewrap,
            wire.Deliver: self._deliver,
        }
        transport.serve(wire.SESSION, serve(wire.SESSION_WIRE, self.answer, Door(BOUNDS)))

    async def answer(self, request: object, peer: str) -> object:
        """Answer one request of a peer. Raises Refused."""
        return await self._answers[type(request)](request, peer)

    async def _push(self, request: wire.Push, peer: str) -> wire.Took:
        for proof in request.proofs:
            if self._may_accuse(proof, peer):
                await self.pipeline.accuse(proof)
        taken = await self.pipeline.take(request.records, self.world.owner_of(peer))
        for topic in taken.unknown:
            self.spread.discover(peer, topic)
        if taken.gaps:
            self.spread.pull_soon(peer)
        return wire.Took(new=taken.new, unknown=tuple(taken.unknown), gaps=tuple(taken.gaps))

    async def _poke(self, request: wire.Poke, peer: str) -> wire.Took:
        if request.topic in self.world.rooms:
            self.spread.pull_soon(peer)
        else:
            self.spread.discover(peer, request.topic)
        return wire.Took(new=0, unknown=(), gaps=())

    async def _pull(self, request: wire.Pull, peer: str) -> wire.Batch:
        """What the asker lacks between two places, one batch of it."""
        asked = {frontier.topic: frontier for frontier in request.topics}
        seen = [room for room in self.world.rooms.values() if self._may_see(room, peer)]
        others: list[bytes] = []
        answer = _Answer()
        for room in rooms_of(seen, request):
            if room.topic not in asked:
                others.append(room.topic)
                continue
            lack = lacking(room, asked[room.topic], *span(request, room.topic))
            await self._collect(room, lack.wants, answer, peer)
            answer.proofs += lack.proofs
            answer.forks += lack.forks
        return wire.Batch(
            records=tuple(answer.records),
            parts=tuple(answer.parts),
            proofs=tuple(answer.proofs[:PROOFS]),
            forks=tuple(answer.forks[:PROOFS]),
            more=answer.more,
            others=tuple(others[: limits.PUSH]),
        )

    async def _collect(self, room: Room, wants: list[Want], answer: "_Answer", peer: str) -> None:
        """Add what a peer lacks of a room, as far as it fits into the batch."""
        if not wants:
            return
        parts = await trio.to_thread.run_sync(
            self.pipeline.journal.parts,
            room.topic,
            wants,
            BATCH - sum(map(len, answer.records)),
            limits.PUSH - len(answer.records),
        )
        whole = sum(end - start for _, start, end in wants)
        answer.more |= sum(map(len, parts)) < whole
        if not self._is_inside(room, peer):
            owners = self.world.owners_of(peer)
            parts = [[for_guest(raw, owners) for raw in part] for part in parts]
        for part, (key, start, _) in zip(parts, wants, strict=False):
            answer.records += part
            next_ = start + len(part)
            answer.parts.append(wire.FeedPart(topic=room.topic, key=key, next=next_))

    async def _header(self, request: wire.GetHeader, peer: str) -> wire.HeaderAnswer:
        """A record without its body, to somebody who may see all of it."""
        room = self.world.room(request.topic)
        if not self._may_see(room, peer):
            raise Refused("session.audience")
        raw = self.pipeline.journal.at(request.topic, request.key, request.seq)
        if raw is None:
            raise Refused("topic.unknown", "no such record here")
        return wire.HeaderAnswer(header=record.redact(raw))

    async def _feed(self, request: wire.GetFeed, peer: str) -> wire.FeedAnswer:
        """Whole records, to members."""
        room = self.world.room(request.topic)
        if not self._is_inside(room, peer):
            raise Refused("session.audience")
        after = self.pipeline.journal.after
        records = await trio.to_thread.run_sync(
            after, request.topic, request.key, request.seq - 1, BATCH
        )
        return wire.FeedAnswer(records=tuple(records))

    async def _opening(self, request: wire.GetOpening, peer: str) -> wire.OpeningAnswer:
        room = self.world.room(request.topic)
        if not self._may_see(room, peer):
            raise Refused("session.audience")
        return wire.OpeningAnswer(opening=room.opening.raw)

    async def _peers(self, request: wire.GetPeers, peer: str) -> wire.Peers:
        return self.spread.exchange_addresses(peer, request.addresses)

    async def _deliver(self, request: wire.Deliver, peer: str) -> wire.Delivered:
        lacking = await self.inbox.receive_all(request.agreement, request.deliveries, peer)
        return wire.Delivered(lacking=lacking)

    async def _stops(self, request: wire.GetStops, peer: str) -> wire.StopTokens:
        if not self._may_see(self.world.room(request.agreement), peer):
            raise Refused("session.audience")
        if len(request.stops) > limits.PUSH:
            raise Refused("session.request", f"more than {limits.PUSH} at once")
        known = self.world.collaboration(request.agreement).runs.stops
        return wire.StopTokens(tokens=tuple(known[id_] for id_ in request.stops if id_ in known))

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

    def _may_accuse(self, proof: bytes, peer: str) -> bool:
        """Proofs count from those who may see the topic; others have no business with it."""
        room = self.world.rooms.get(equivocation.topic_of(proof))
        return room is not None and self._may_see(room, peer)

    def _is_inside(self, room: Room, peer: str) -> bool:
        """Whether a peer may see all of a room: it is no guest."""
        owners = self.world.owners_of(peer)
        return self._may_see(room, peer) and not self.world.is_guest(room, owners)

    def _may_see(self, room: Room, peer: str) -> bool:
        return self.world.may_see(room, peer)

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
            or (self._is_inside(room, peer) and names(room, blob))
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
        topic = token.open_(raw, "stop", Stop).body.agreement
        collaboration = self.world.collaboration(topic)
        if self.world.me.did not in collaboration.parties:
            raise Refused("agreement.party", "only parties give receipts for stops")
        if collaboration.me.from_term is None:
            raise Refused("session.unable", "restored: what it voted for is not known yet")
        stop = stops.check(raw, collaboration)
        stops.keep(self.pipeline.journal, stop)
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
