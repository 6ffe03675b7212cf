"""How the frames of a share go from one node to another: by a bulk lane, or inside the stream.

Both ends agree on it over the stream, the same way for a share on its way to a host and for a copy
on its way to a standby. The receiver listens if it has a port; else it comes to a port of the
sender; where neither leads anywhere the frames go inside the stream, and the sender says why.
"""

import logging
import os
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from node import wire
from node.bulk_lane import Lanes, Terms, read_exactly
from node.net.transport import Stream, TransportError
from node.share_frames import Tally
from node.share_message import pack_message
from protocol import limits
from protocol.dialogue import Dialogue
from protocol.errors import ProtocolError, Refused
from protocol.sealing.stream import Bytes

WAY_TIME: Final = 30.0
"""Seconds for the other side to try a bulk lane and say whether it took it."""

STILL: Final = 120.0
"""Seconds that one frame may take to leave by a lane."""

LAST_WORD: Final = 0.5
"""Seconds to wait for the reason after a stream broke."""

LINGER: Final = 3.0
"""Seconds in which a refused sender can hear why."""

FAULTS: Final = (ProtocolError, trio.TooSlowError, OSError, trio.BrokenResourceError)
"""What may end the sending of a share."""

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True)
class Reach:
    """Own lanes, and the hosts at which the other side may be dialled (bulk_lane.dialable); `off`
    says why no lane is to be taken, if so.
    """

    hosts: Sequence[str]
    lanes: Lanes
    off: str | None = None


NOWHERE: Final = Reach((), Lanes())
"""No lane, whoever offers one."""


Put = Callable[[Bytes], None]
"""Sends one frame and waits until it left; for a worker thread."""


class Way(Protocol):
    """How frames go."""

    @property
    def name(self) -> str:
        """One of "lane", "reverse lane" (the receiver dialled) and "inside"."""
        ...

    @property
    def why(self) -> str | None:
        """Why the frames go inside; None by a lane."""
        ...

    def put(self, frame: Bytes) -> None:
        """Send one frame; for a worker thread. Raises TransportError, trio.BrokenResourceError,
        trio.TooSlowError.
        """
        ...

    def cut(self) -> None:
        """End a `put` that waits."""
        ...


@dataclass(frozen=True, slots=True)
class Inside:
    """In the stream itself."""

    stream: Stream
    dialogue: Dialogue
    why: str | None
    name: str = "inside"

    def put(self, frame: Bytes) -> None:
        """Send one frame; for a worker thread. Raises TransportError."""
        trio.from_thread.run(self.stream.send, *pack_message(self.dialogue, frame))

    def cut(self) -> None:
        """The stream ends its own waiting when it is cancelled."""


@dataclass(frozen=True, slots=True)
class Beside:
    """By a bulk lane."""

    lane: trio.SocketStream
    name: str = "lane"
    why: str | None = None

    def put(self, frame: Bytes) -> None:
        """Send one frame; for a worker thread. Raises trio.BrokenResourceError, TooSlowError."""
        until = time.monotonic() + STILL
        try:
            self._write(memoryview(len(frame).to_bytes(4, "big")), until)
            self._write(memoryview(frame), until)
        except OSError as error:
            raise trio.BrokenResourceError("the bulk lane broke") from error

    def cut(self) -> None:
        """End a `put` that waits."""
        with suppress(OSError):
            self.lane.socket.shutdown(socket.SHUT_RDWR)

    def _write(self, rest: memoryview, until: float) -> None:
        descriptor = self.lane.socket.fileno()
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    raise trio.TooSlowError("the bulk lane stands still") from None


# --- the sender's half ----------------------------------------------------------------------------


@asynccontextmanager
async def outgoing(
    stream: Stream, dialogue: Dialogue, share: bytes, resume: wire.Resume, reach: Reach
) -> AsyncIterator[Way]:
    """How frames go, once the receiver has said where to go on.

    Raises Refused, TransportError, trio.TooSlowError.
    """
    if resume.finished or (resume.lane is None and not resume.dials):
        yield Inside(stream, dialogue, "the other side takes no bulk lane")
        return
    lane, theirs = await _dial(share, resume, reach)
    if lane is not None:
        await stream.send(dialogue.pack_request(wire.ChooseWay(lane=True)))
        async with _closing(lane):
            yield Beside(lane)
        return
    async with _reverse(stream, dialogue, share, resume, reach) as (came, ours):
        if came is not None:
            yield Beside(came, "reverse lane")
            return
        way = Inside(stream, dialogue, reach.off or _why(reach, theirs, ours))
        log.info("no bulk lane to %s: %s", stream.peer, way.why)
        yield way


async def _dial(
    share: bytes, resume: wire.Resume, reach: Reach
) -> tuple[trio.SocketStream | None, str]:
    """The receiver's lane, or why there is none."""
    if resume.lane is None:
        return None, "the other side has no port for it"
    offer = resume.lane
    if not reach.lanes.dials:
        return None, "this node takes none (network.bulk)"
    terms = Terms(ticket=offer.ticket, key=offer.key, share=share, chunks=resume.chunks)
    lane = await reach.lanes.dial(reach.hosts, offer.port, terms)
    where = ", ".join(reach.hosts) or "no known host"
    return lane, f"port {offer.port} does not answer at {where}"


@asynccontextmanager
async def _reverse(
    stream: Stream, dialogue: Dialogue, share: bytes, resume: wire.Resume, reach: Reach
) -> AsyncIterator[tuple[trio.SocketStream | None, str]]:
    """A lane of this node, to which the receiver comes, or why it does not."""
    if not resume.dials:
        await stream.send(dialogue.pack_request(wire.ChooseWay(lane=False)))
        yield None, "it dials none itself"
        return
    expecting = reach.lanes.expect(share, resume.chunks, stream.peer, reverse=True)
    async with expecting as expected:
        offer = None if expected is None else expected.offer
        await stream.send(dialogue.pack_request(wire.ChooseWay(lane=False, offer=offer)))
        if expected is None:
            yield None, "this node has no port for it either (network.bulk)"
            return
        with trio.fail_after(WAY_TIME):
            dialled = dialogue.read_answer(await stream.receive(), wire.Dialled)
        if dialled.lane:
            yield await expected.wait(), ""
        else:
            yield None, f"it does not come to port {expected.offer.port} of this node"


def _why(reach: Reach, theirs: str, ours: str) -> str:
    return f"{theirs}; {ours}" if reach.lanes.dials else "this node takes none (network.bulk)"


@asynccontextmanager
async def _closing(lane: trio.SocketStream) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await trio.aclose_forcefully(lane)


# --- the receiver's half --------------------------------------------------------------------------


async def tell_resume(
    stream: Stream,
    dialogue: Dialogue,
    tally: Tally,
    lane: wire.LaneOffer | None = None,
    *,
    dials: bool = False,
) -> None:
    """Say to the sender where to go on, and how a lane may come about."""
    resume = wire.Resume(
        chunks=tally.chunks,
        chain=tally.chain,
        finished=tally.ended,
        lane=lane,
        dials=dials,
        segments=tally.segments,
    )
    await stream.send(dialogue.pack_answer(resume))


@asynccontextmanager
async def incoming(
    stream: Stream, dialogue: Dialogue, share: bytes, tally: Tally, reach: Reach
) -> AsyncIterator[trio.SocketStream | None]:
    """Say where to go on; then the lane on which frames come, or None: inside the stream.

    Raises Refused (session.request, share.unfinished), TransportError, trio.TooSlowError.
    """
    lanes = reach.lanes
    async with lanes.expect(share, tally.chunks, stream.peer) as expected:
        offer = None if expected is None else expected.offer
        await tell_resume(stream, dialogue, tally, offer, dials=lanes.dials)
        if expected is None and not lanes.dials:
            yield None
            return
        chosen = await _hear_way(stream, dialogue)
        if chosen.lane and expected is not None:
            yield await expected.wait()
            return
        if chosen.lane or (chosen.offer is not None and not lanes.dials):
            raise Refused("session.request", "no such lane was offered")
        if expected is not None:
            lanes.forget(expected)
        async with _come(stream, dialogue, share, tally, reach, chosen.offer) as lane:
            yield lane


async def _hear_way(stream: Stream, dialogue: Dialogue) -> wire.ChooseWay:
    with trio.fail_after(WAY_TIME):
        request = dialogue.read_request(await stream.receive())
    if not isinstance(request, wire.ChooseWay):
        raise Refused("session.request", "the sender must say which way it takes")
    return request


@asynccontextmanager
async def _come(
    stream: Stream,
    dialogue: Dialogue,
    share: bytes,
    tally: Tally,
    reach: Reach,
    offer: wire.LaneOffer | None,
) -> AsyncIterator[trio.SocketStream | None]:
    """Dial the sender's lane, and say whether that worked."""
    if offer is None:
        yield None
        return
    terms = Terms(
        ticket=offer.ticket, key=offer.key, share=share, chunks=tally.chunks, reverse=True
    )
    lane = await reach.lanes.dial(reach.hosts, offer.port, terms)
    try:
        await stream.send(dialogue.pack_answer(wire.Dialled(lane=lane is not None)))
        yield lane
    finally:
        if lane is not None:
            await trio.aclose_forcefully(lane)


async def next_frame(lane: trio.SocketStream) -> bytes:
    """The next frame of a lane. Raises Refused (share.chunk, share.unfinished)."""
    try:
        size = int.from_bytes(await read_exactly(lane, 4), "big")
        if not 0 < size <= limits.FRAME:
            raise Refused("share.chunk", f"a frame of {size} bytes")
        return await read_exactly(lane, size)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise Refused("share.unfinished", "the bulk lane broke off") from error


async def refuse(stream: Stream, dialogue: Dialogue, error: Refused) -> None:
    """Say why, and wait until it was heard: what is in flight would drown it."""
    with suppress(TransportError), trio.move_on_after(LINGER):
        await stream.send(dialogue.pack_refusal(error))
        while True:
            await stream.receive()


# --- sending and hearing --------------------------------------------------------------------------


async def send_and_hear(
    stream: Stream, send: Callable[[], Awaitable[None]], patience: float
) -> bytes:
    """Send, and hear the answer meanwhile: a refusal in the middle must be heard, not waited for.

    Raises what `send` raised of FAULTS, unless the other side said something; trio.TooSlowError if
    no answer comes within `patience` seconds of the last frame.
    """
    hearing = _Hearing(stream)
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hearing.listen)
        with hearing.sending:
            try:
                await send()
            except FAULTS as error:
                fault = error
        # The other side's own word, if it is under way, says more than a broken stream.
        with trio.move_on_after(patience if fault is None else LAST_WORD):
            await hearing.done.wait()
        nursery.cancel_scope.cancel()
    if hearing.answer is None:
        raise fault or hearing.fault or trio.TooSlowError("the other side does not confirm it")
    return hearing.answer


@dataclass(slots=True)
class _Hearing:
    """What the other side says while we send; its first word ends the sending."""

    stream: Stream
    answer: bytes | None = None
    fault: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)
    sending: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def listen(self) -> None:
        try:
            self.answer = await self.stream.receive()
        except FAULTS as error:
            self.fault = error
        self.done.set()
        self.sending.cancel()


async def in_worker(
    way: Way,
    work: Callable[[Put], None],
    attend: Callable[[], Awaitable[None]],
    limiter: trio.CapacityLimiter,
) -> None:
    """Run `work` in a thread that sends by `way.put`, and that a cancellation frees; `attend` runs
    beside it. Raises what `work` raised of FAULTS.
    """
    fault: Exception | None = None

    async def watch() -> None:
        try:
            await attend()
        finally:
            way.cut()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            await trio.to_thread.run_sync(work, way.put, limiter=limiter)
        except FAULTS as error:  # a nursery would hand it on in a group
            fault = error
        nursery.cancel_scope.cancel()
    if fault is not None:
        raise fault
