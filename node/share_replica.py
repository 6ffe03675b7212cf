"""Copies of sealed shares at the standbys: so that a fail-over streams nothing again.

A standby verifies what it can without a key, order and completeness; its enclave verifies the rest
when it opens the share. A copy that does not fit is thrown away and brought again.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, TypeVar

import trio

from node import wire
from node.bulk_lane import Lanes, dialable
from node.net.transport import Stream, Transport, TransportError
from node.pipeline import Pipeline
from node.share_frames import Tally, from_chunk
from node.share_index import Kept, ShareIndex, in_thread
from node.share_intake import Pace
from node.share_message import read_message
from node.share_way import (
    Put,
    Reach,
    in_worker,
    incoming,
    next_frame,
    outgoing,
    refuse,
    send_and_hear,
    tell_resume,
)
from node.store import StoreError, StoreFault
from node.store.blobs import ShareWriter
from protocol import kinds, limits, record
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.kinds.share import Share
from protocol.machines.agreement import Collaboration
from protocol.sealing.stream import header_digest

ANSWER_TIME: Final = 60.0
"""Seconds for the next frame, or for an answer."""

STREAMS: Final = 8
"""Copies received at once."""

THREADS: Final = trio.CapacityLimiter(8)
"""Copies sent at once; others wait."""

PREFIX: Final = "host-replica/"
"""State of the journal: copies that a standby confirmed."""

WIRE: Final = wire.REPLICA_WIRE

T = TypeVar("T")

log = logging.getLogger("village.replica")


class Replicas:
    """Brings copies to the standbys of a term, and takes those that a host brings."""

    def __init__(
        self, pipeline: Pipeline, transport: Transport, index: ShareIndex, lanes: Lanes
    ) -> None:
        """Serve wire.REPLICA on `transport`."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.transport = transport
        self.index = index
        self.lanes = lanes
        self._there = set(pipeline.journal.states(PREFIX))
        self._taking = 0
        transport.serve(wire.REPLICA, self._serve)

    # --- host -----------------------------------------------------------------------------------

    def lacking(self, kept: Kept) -> list[bytes]:
        """The standbys of the current term that have not confirmed their copy: dids."""
        return [did for did in self._standbys(kept) if _place(kept, did) not in self._there]

    def forget(self, kept: Kept) -> None:
        """The share is erased here: what the standbys have of it is no debt of ours."""
        for name in self.pipeline.journal.states(f"{PREFIX}{kept.share.hex()}/"):
            self.pipeline.journal.delete_state(name)
            self._there.discard(name)

    async def bring(self, kept: Kept) -> int:
        """Bring a complete share to every standby; return how many have it. Who is away is left
        for later.
        """
        if not self.index.complete(kept.share):
            return 0
        for did in self.lacking(kept):
            for peer in self.world.peers_of(did):
                if await self._bring_to(peer, did, kept):
                    self.pipeline.journal.put_state(_place(kept, did), b"\x01")
                    self._there.add(_place(kept, did))
                    break
        return len(self._standbys(kept)) - len(self.lacking(kept))

    def _standbys(self, kept: Kept) -> dict[bytes, tuple[str, ...]]:
        """The standbys of the current term: did -> addresses of its candidacy."""
        election = self.world.collaboration(kept.agreement).election
        elected = election.elected()
        named = elected.appointment.standbys if elected is not None else ()
        found = [election.candidacies[c] for c in named if c in election.candidacies]
        return {r.author: c.addresses for r, c in found if r.author != self.world.me.did}

    async def _bring_to(self, peer: str, did: bytes, kept: Kept) -> bool:
        addresses = self._standbys(kept).get(did, ())
        try:
            stream = await self.transport.open(peer, wire.REPLICA)
            reach = Reach(dialable(addresses, stream.host), self.lanes)
            try:
                await self._send(stream, kept, reach)
            finally:
                with trio.move_on_after(1) as scope:
                    scope.shield = True
                    await stream.close()
        except (TransportError, Refused, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.info("copy of %s to %s: %s", kept.share.hex()[:8], peer, error)
            return False
        return True

    async def _send(self, stream: Stream, kept: Kept, reach: Reach) -> None:
        offer = wire.Replicate(
            agreement=kept.agreement, share=kept.share, record=kept.record, person=kept.person
        )
        await stream.send(WIRE.pack_request(offer))
        resume = await _hear(stream, wire.Resume)
        if resume.finished:
            return
        frames = from_chunk(self.index.frames(kept.share), resume.chunks)
        async with outgoing(stream, WIRE, kept.share, resume, reach) as way:
            work = partial(_put_all, frames)
            send = partial(in_worker, way, work, trio.sleep_forever, THREADS)
            WIRE.read_answer(await send_and_hear(stream, send, ANSWER_TIME), Done)
        log.info("copy of %s to %s: %s", kept.share.hex()[:8], stream.peer, way.why or way.name)

    # --- standby --------------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        self._taking += 1
        try:
            if self._taking > STREAMS:
                raise Refused("share.busy", f"{STREAMS} copies at once")
            with trio.fail_after(ANSWER_TIME):
                request = WIRE.read_request(await stream.receive())
            await self._take(stream, self._admit(request, stream.peer))
            await stream.send(WIRE.pack_answer(Done()))
        except StoreFault:
            raise
        except (Refused, StoreError, trio.TooSlowError) as error:
            refused = _as_refusal(error)
            log.info("copy from %s: %s", stream.peer, refused)
            await refuse(stream, WIRE, refused)
        except TransportError as error:
            log.info("copy from %s: %s", stream.peer, error)
            await stream.reset()
        finally:
            self._taking -= 1

    def _admit(self, request: object, peer: str) -> "_Copy":
        if not isinstance(request, wire.Replicate):
            raise Refused("session.request")
        collaboration = self.world.collaboration(request.agreement)
        elected = collaboration.election.elected()
        if elected is None or elected.appointment.host not in self.world.owners_of(peer):
            raise Refused("host.candidate", "only the elected host brings copies")
        if self.world.me.did not in collaboration.candidates:
            raise Refused("host.candidate", "this node is no standby")
        return _read_offer(collaboration, request)

    async def _take(self, stream: Stream, copy: "_Copy") -> None:
        kept = self.index.get(copy.kept.share) or copy.kept
        if self.index.complete(kept.share):
            self.index.put(replace(copy.kept, receipt=kept.receipt))
            await tell_resume(stream, WIRE, Tally(bytes(32), ended=True))
            return
        kept = self.index.put(replace(copy.kept, receipt=kept.receipt))
        try:
            with await trio.to_thread.run_sync(self.index.files.begin, kept.share) as writer:
                await self._take_frames(stream, kept, writer, copy.tally)
        except Refused as error:
            if error.code == "share.chunk":
                # What is here does not fit what the host has: the next attempt begins anew.
                self.index.erase(kept)
            raise

    async def _take_frames(
        self, stream: Stream, kept: Kept, writer: ShareWriter, tally: Tally
    ) -> None:
        async for frame in in_thread(self.index.frames(kept.share)):
            tally.take(frame)
        if tally.ended:
            await tell_resume(stream, WIRE, tally)
        else:
            reach = Reach(self._where(stream, kept), self.lanes)
            async with incoming(stream, WIRE, kept.share, tally, reach) as lane:
                await _take_all(stream, lane, writer, tally)
        await trio.to_thread.run_sync(writer.finish)

    def _where(self, stream: Stream, kept: Kept) -> list[str]:
        """Where a lane of the elected host may be dialled."""
        elected = self.world.collaboration(kept.agreement).election.elected()
        return dialable(elected.candidacy.addresses if elected is not None else (), stream.host)


async def _take_all(
    stream: Stream, lane: trio.SocketStream | None, writer: ShareWriter, tally: Tally
) -> None:
    pace = Pace(writer)
    while not tally.ended:
        with trio.fail_at(pace.deadline()):
            frame = await (_next_inside(stream) if lane is None else next_frame(lane))
        tally.take(frame)
        if writer.size + len(frame) > limits.SHARE:
            raise Refused("share.full")
        await trio.to_thread.run_sync(writer.append, frame)


async def _next_inside(stream: Stream) -> bytes:
    return read_message(WIRE, await stream.receive())


def _as_refusal(error: Refused | StoreError | trio.TooSlowError) -> Refused:
    match error:
        case Refused():
            return error
        case StoreError():
            return Refused("share.full", str(error))
        case trio.TooSlowError():
            return Refused("share.unfinished", "the stream stood still, or was too slow")


def _put_all(frames: Iterator[bytes], put: Put) -> None:
    for frame in frames:
        put(frame)


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy that may come: what to keep of it, and the empty tally of its frames."""

    kept: Kept
    tally: Tally


def _read_offer(collaboration: Collaboration, request: wire.Replicate) -> _Copy:
    """What a host offers. Raises Refused (share.binding, record.*)."""
    if (request.record is None) == (request.person is None):
        raise Refused("session.request", "a party's record or a person's message")
    if request.person is not None:
        person = request.person
        if (person.agreement, person.share) != (collaboration.id, request.share):
            raise Refused("share.binding")
        kept = Kept(
            agreement=person.agreement, share=person.share, owner=person.owner, person=person
        )
        # The header of a person's share is sealed: the chain starts anywhere.
        return _Copy(kept, Tally(person.share, anchored=False))
    found = record.parse(request.record or b"")
    if (found.topic, found.id) != (collaboration.id, request.share):
        raise Refused("share.binding")
    header = kinds.read(Share, found).header
    kept = Kept(agreement=found.topic, share=found.id, owner=found.author, record=found.raw)
    return _Copy(kept, Tally(header_digest(header)))


async def _hear(stream: Stream, answer: type[T]) -> T:
    with trio.fail_after(ANSWER_TIME):
        return WIRE.read_answer(await stream.receive(), answer)


def _place(kept: Kept, did: bytes) -> str:
    return f"{PREFIX}{kept.share.hex()}/{did.hex()}"
