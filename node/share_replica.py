"""Copies of sealed shares at the standbys: so that a fail-over streams nothing again.

A standby verifies what it can without a key, order and completeness; its enclave verifies the rest
when it opens the share. A copy that does not fit is thrown away and brought again.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import trio

from node import wire
from node.net.transport import Stream, Transport, TransportError
from node.pipeline import Pipeline
from node.share_frames import Tally, from_chunk
from node.share_index import Kept, ShareIndex, in_thread
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

WIRE: Final = wire.REPLICA_WIRE

T = TypeVar("T")

log = logging.getLogger("village.replica")


class Replicas:
    """Brings copies to the standbys of a term, and takes those that a host brings."""

    def __init__(self, pipeline: Pipeline, transport: Transport, index: ShareIndex) -> None:
        """Serve wire.REPLICA on `transport`."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.transport = transport
        self.index = index
        self._taking = 0
        transport.serve(wire.REPLICA, self._serve)

    # --- host -----------------------------------------------------------------------------------

    def lacking(self, kept: Kept) -> list[bytes]:
        """The standbys of the current term that have not confirmed their copy: dids."""
        return [d for d in self._standbys(kept) if not self.pipeline.journal.state(_place(kept, d))]

    def forget(self, kept: Kept) -> None:
        """The share is erased here: what the standbys have of it is no debt of ours."""
        for name in self.pipeline.journal.states(f"host-replica/{kept.share.hex()}/"):
            self.pipeline.journal.delete_state(name)

    async def bring(self, kept: Kept) -> int:
        """Bring a complete share to every standby; return how many have it. Who is away is left
        for later.
        """
        if not self.index.complete(kept.share):
            return 0
        for did in self.lacking(kept):
            for peer in self.world.peers_of(did):
                if await self._bring_to(peer, kept):
                    self.pipeline.journal.put_state(_place(kept, did), b"\x01")
                    break
        return len(self._standbys(kept)) - len(self.lacking(kept))

    def _standbys(self, kept: Kept) -> list[bytes]:
        election = self.world.collaboration(kept.agreement).election
        elected = election.elected()
        named = elected.appointment.standbys if elected is not None else ()
        hosts = [election.candidacies[c][0].author for c in named if c in election.candidacies]
        return [did for did in hosts if did != self.world.me.did]

    async def _bring_to(self, peer: str, kept: Kept) -> bool:
        try:
            stream = await self.transport.open(peer, wire.REPLICA)
            try:
                await self._send(stream, kept)
            finally:
                with trio.move_on_after(1) as scope:
                    scope.shield = True
                    await stream.close()
        except (TransportError, Refused, trio.TooSlowError) as error:
            log.info("copy of %s to %s: %s", kept.share.hex()[:8], peer, error)
            return False
        return True

    async def _send(self, stream: Stream, kept: Kept) -> None:
        offer = wire.Replicate(
            agreement=kept.agreement, share=kept.share, record=kept.record, person=kept.person
        )
        await stream.send(WIRE.pack_request(offer))
        resume = await _hear(stream, wire.Resume)
        if resume.finished:
            return
        frames = from_chunk(self.index.frames(kept.share), resume.chunks)
        async for frame in in_thread(frames):
            last = frame[:1] == b"\x03"
            await stream.send(WIRE.pack_request(wire.ShareFrame(frame=frame, last=last)))
        await _hear(stream, Done)

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
        except (Refused, StoreError) as error:
            refused = error if isinstance(error, Refused) else Refused("share.full", str(error))
            log.info("copy from %s: %s", stream.peer, refused)
            with suppress(TransportError):
                await stream.send(WIRE.pack_refusal(refused))
        except (TransportError, trio.TooSlowError) as error:
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
            await stream.send(
                WIRE.pack_answer(wire.Resume(chunks=0, chain=bytes(32), finished=True))
            )
            return
        kept = self.index.put(replace(copy.kept, receipt=kept.receipt))
        try:
            with await trio.to_thread.run_sync(self.index.files.begin, kept.share) as writer:
                await self._take_frames(stream, kept, writer, copy.tally)
        except Refused:
            # What is here does not fit what the host has: the next attempt begins anew.
            self.index.erase(kept)
            raise

    async def _take_frames(
        self, stream: Stream, kept: Kept, writer: ShareWriter, tally: Tally
    ) -> None:
        async for frame in in_thread(self.index.frames(kept.share)):
            tally.take(frame)
        resume = wire.Resume(chunks=tally.chunks, chain=tally.chain, finished=tally.ended)
        await stream.send(WIRE.pack_answer(resume))
        while not tally.ended:
            with trio.fail_after(ANSWER_TIME):
                request = WIRE.read_request(await stream.receive())
            if not isinstance(request, wire.ShareFrame):
                raise Refused("session.request")
            tally.take(request.frame)
            if writer.size + len(request.frame) > limits.SHARE:
                raise Refused("share.full")
            await trio.to_thread.run_sync(writer.append, request.frame)
        await trio.to_thread.run_sync(writer.finish)


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
    return f"host-replica/{kept.share.hex()}/{did.hex()}"
