"""The frames of one share on their way into the enclave and onto the disk.

The enclave verifies each frame before the disk keeps it. Where enclave and host share a kernel, the
enclave itself reads the socket and writes the file, whose descriptors it gets; else the host hands
on frame by frame. After any break the enclave begins anew and is shown what the disk has.
"""

import socket
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

import trio

from node import wire
from node.bulk_lane import Lanes, dialable
from node.net.transport import Stream
from node.share_frames import Tally, frames_of, segments_of
from node.share_index import Kept, ShareIndex, in_thread
from node.share_message import read_for_lane, read_message
from node.share_way import NOWHERE, Reach, incoming, tell_resume
from node.store import StoreError, StoreFull
from node.store.blobs import ShareWriter
from protocol import enclave_wire as enclave
from protocol import limits
from protocol.dialogue import Done
from protocol.errors import ProtocolError, Refused

FRAME_TIME: Final = 60.0
"""Seconds for each further frame."""

SLOWEST: Final = 16 * 1024
"""Bytes per second below which a sender, on average, gives its place to others."""

READ_AGAIN: Final = 4 * 1024 * 1024
"""Bytes per second at which a sender passes over what is here already."""

STREAM_TIME: Final = 7 * 24 * 3600.0
"""Seconds for one share; one that stands still ends long before."""

WATCH_EVERY: Final = 1.0
"""Seconds between two looks at how far a lane is."""

SETTLE_EVERY: Final = 0.25
"""Seconds between two times that what came is made to survive a power loss. Without it the kernel
keeps gigabytes in memory, and the whole of a share would wait for the disk at its end.
"""

WIRE: Final = wire.SHARE_WIRE

T = TypeVar("T")


class Asks(Protocol):
    """The enclave behind this node, as node/enclave_link.py reaches it."""

    @property
    def one_kernel(self) -> bool:
        """Whether descriptors can go along with a request."""
        ...

    async def ask(
        self,
        request: object,
        answer: type[T],
        *,
        seconds: float = ...,
        descriptors: tuple[int, ...] = ...,
    ) -> T:
        """The answer to one request. Raises Refused, EnclaveUnreachable."""
        ...


@dataclass(frozen=True, slots=True)
class Intake:
    """Brings a share's frames to the enclave and keeps those that it verified."""

    link: Asks
    index: ShareIndex
    lanes: Lanes

    async def receive(self, stream: Stream, kept: Kept, ready: enclave.ShareReady) -> None:
        """Take all frames that are not here yet; `ready` is what the enclave said to the offer.

        Raises Refused (share.*), StoreFull, TransportError, trio.TooSlowError.
        """
        if self.index.complete(kept.share):
            await self.show_again(kept, ready)
            await tell_resume(stream, WIRE, Tally(ready.chain, ended=True))
            return
        with await trio.to_thread.run_sync(self.index.files.begin, kept.share) as writer:
            await trio.to_thread.run_sync(_cut_back, writer)
            tally = await self._replay(kept, ready, writer)
            tally.segments, _ = await trio.to_thread.run_sync(segments_of, writer.heads())
            await self._take_rest(stream, kept, writer, tally)
            await trio.to_thread.run_sync(writer.finish)

    async def show_again(self, kept: Kept, ready: enclave.ShareReady) -> None:
        """Bring the enclave to the end of a complete share, unless it knows that end already."""
        if await self._knows(kept, ready):
            return
        if not (await self._replay(kept, ready, None)).ended:
            self.index.erase(kept)
            raise Refused("share.chunk", "what was stored is damaged")

    async def _knows(self, kept: Kept, ready: enclave.ShareReady) -> bool:
        last = b""
        async for frame in in_thread(self.index.frames(kept.share)):
            last = frame
        return ready.chain in (last[1:33], bytes(32))

    # --- what is stored -------------------------------------------------------------------------

    async def _replay(
        self, kept: Kept, ready: enclave.ShareReady, writer: ShareWriter | None
    ) -> Tally:
        """Show the enclave what the disk has. What it refuses is cut off, and comes again."""
        how = self._replay_file if self.link.one_kernel else self._replay_frames
        tally, whole = await how(kept, Tally(ready.chain, ready.chunks))
        if writer is not None and not whole:
            count = await trio.to_thread.run_sync(
                frames_of, self.index.frames(kept.share), tally.chunks
            )
            await trio.to_thread.run_sync(writer.keep_first, count)
        return tally

    async def _replay_file(self, kept: Kept, tally: Tally) -> tuple[Tally, bool]:
        with await trio.to_thread.run_sync(self.index.files.open, kept.share) as file:
            seen = await self._stream(kept, 0, (file.fileno(),))
        found = replace(tally, chunks=seen.chunks, chain=seen.chain, ended=seen.finished)
        return found, seen.fault is None

    async def _replay_frames(self, kept: Kept, tally: Tally) -> tuple[Tally, bool]:
        async for frame in in_thread(self.index.frames(kept.share)):
            try:
                await self._verify(kept, tally, frame)
            except Refused:
                return tally, False
        return tally, True

    async def _stream(
        self, kept: Kept, room: int, descriptors: tuple[int, ...]
    ) -> enclave.ShareSeen:
        question = enclave.ShareStream(agreement=kept.agreement, share=kept.share, room=room)
        return await self.link.ask(
            question, enclave.ShareSeen, seconds=STREAM_TIME, descriptors=descriptors
        )

    # --- what comes -----------------------------------------------------------------------------

    async def _take_rest(
        self, stream: Stream, kept: Kept, writer: ShareWriter, tally: Tally
    ) -> None:
        if tally.ended:
            await tell_resume(stream, WIRE, tally)
            return
        async with self._lane(stream, kept, tally) as lane:
            if lane is not None:
                await self._take_lane(lane, kept, writer)
            elif self.link.one_kernel:
                await self._hand_on(stream, kept, writer)
            else:
                await self._take_frames(stream, kept, writer, tally)

    def _lane(
        self, stream: Stream, kept: Kept, tally: Tally
    ) -> AbstractAsyncContextManager[trio.SocketStream | None]:
        """How the frames come. A person's share comes by a gateway: without a bulk lane."""
        beside = kept.record is not None and self.link.one_kernel
        reach = Reach(dialable((), stream.host), self.lanes) if beside else NOWHERE
        return incoming(stream, WIRE, kept.share, tally, reach)

    async def _take_lane(self, lane: trio.SocketStream, kept: Kept, writer: ShareWriter) -> None:
        room = min(self.index.files.room(), limits.SHARE - writer.size)
        seen: enclave.ShareSeen | None = None
        fault: Exception | None = None
        settling = _Settling(lane, writer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, lane, writer)
            nursery.start_soon(settling.run)
            try:
                seen = await self._stream(kept, room, (lane.socket.fileno(), writer.descriptor))
            except ProtocolError as error:  # a nursery would hand it on in a group
                fault = error
            nursery.cancel_scope.cancel()
        await trio.to_thread.run_sync(writer.adopt)
        if settling.fault is not None:
            raise settling.fault
        if seen is None:
            raise fault or Refused("share.unfinished", "the enclave saw nothing")
        if seen.fault == "share.full":
            raise StoreFull("shares.full", "The disk took no more of it.", "Make room.")
        if seen.fault is not None:
            raise Refused(seen.fault, f"after chunk {seen.chunks}")
        if not seen.finished:
            raise Refused("share.unfinished", "the bulk lane broke off")

    async def _hand_on(self, stream: Stream, kept: Kept, writer: ShareWriter) -> None:
        """Frames of the stream, into a socket that the enclave reads like a lane."""
        ours, theirs = (trio.SocketStream(end) for end in trio.socket.socketpair())
        copying = _Copying(stream, ours)
        fault: Exception | None = None
        async with ours, theirs, trio.open_nursery() as nursery:
            nursery.start_soon(copying.run)
            try:
                await self._take_lane(theirs, kept, writer)
            except (ProtocolError, OSError) as error:
                fault = error
            nursery.cancel_scope.cancel()
        if fault is not None:
            unfinished = isinstance(fault, Refused) and fault.code == "share.unfinished"
            raise copying.fault if unfinished and copying.fault is not None else fault

    async def _take_frames(
        self, stream: Stream, kept: Kept, writer: ShareWriter, tally: Tally
    ) -> None:
        pace = Pace(writer)
        while not tally.ended:
            with trio.fail_at(pace.deadline()):
                message = await stream.receive()
            await self._take_frame(kept, writer, tally, read_message(WIRE, message))

    async def _take_frame(
        self, kept: Kept, writer: ShareWriter, tally: Tally, frame: bytes
    ) -> None:
        if writer.size + len(frame) > limits.SHARE:
            raise Refused("share.full", f"more than {limits.SHARE} bytes")
        await self._verify(kept, tally, frame)
        await trio.to_thread.run_sync(writer.append, frame)

    async def _verify(self, kept: Kept, tally: Tally, frame: bytes) -> None:
        """Count a frame once the enclave verified it. Raises Refused, and counts nothing."""
        counted = replace(tally)
        counted.take(frame)
        question = enclave.ShareFrame(agreement=kept.agreement, share=kept.share, frame=frame)
        await self.link.ask(question, Done)
        tally.chain, tally.chunks, tally.ended = counted.chain, counted.chunks, counted.ended


def _cut_back(writer: ShareWriter) -> None:
    """Forget what came after so many breaks that a sender could not be told of them all."""
    _, frames = segments_of(writer.heads())
    if frames < writer.frames:
        writer.keep_first(frames)


class Pace:
    """When the next frame must be here: soon, but for the first, before which the sender passes
    over what is here; and on average not too slowly.
    """

    def __init__(self, writer: ShareWriter) -> None:
        """Begin now."""
        self._writer, self._before = writer, writer.size
        self._first = FRAME_TIME + writer.size / READ_AGAIN
        self._slowest = trio.current_time() + FRAME_TIME + self._first

    def deadline(self) -> float:
        """Of the next frame, by trio's clock."""
        come = self._writer.size - self._before
        patience = FRAME_TIME if come else self._first
        return min(trio.current_time() + patience, self._slowest + come / SLOWEST)


@dataclass(slots=True)
class _Copying:
    """Frames on their way from a stream into a socket; `fault` is what broke, if something did."""

    stream: Stream
    into: trio.SocketStream
    fault: Exception | None = None

    async def run(self) -> None:
        """Copy until the final frame, or until the stream or its reader ends."""
        last = False
        try:
            while not last:
                frame = read_for_lane(WIRE, await self.stream.receive())
                last = frame[4:5] == b"\x03"
                await self.into.send_all(frame)
        except ProtocolError as error:
            self.fault = error
        except trio.BrokenResourceError:
            return  # its reader has ended, and says why
        with suppress(OSError, trio.BrokenResourceError):
            await self.into.send_eof()


@dataclass(slots=True)
class _Settling:
    """Brings to the disk what comes by a lane, while it comes; `fault` is why that failed."""

    lane: trio.SocketStream
    writer: ShareWriter
    fault: StoreError | None = None

    async def run(self) -> None:
        """Until cancelled. A disk that fails ends the lane: the kernel says it only once."""
        try:
            while True:
                await trio.sleep(SETTLE_EVERY)
                await trio.to_thread.run_sync(self.writer.sync)
        except StoreError as error:
            self.fault = error
            with suppress(OSError):
                self.lane.socket.shutdown(socket.SHUT_RDWR)


async def _watch(lane: trio.SocketStream, writer: ShareWriter) -> None:
    """Hang up on a sender that stands still: the enclave then sees the end of its source."""
    begun = size = writer.written()
    since, patience = trio.current_time(), FRAME_TIME + begun / READ_AGAIN
    while trio.current_time() - since < patience:
        await trio.sleep(WATCH_EVERY)
        now = writer.written()
        if now > begun:
            patience = FRAME_TIME  # it has passed over what is here
        if now - size >= SLOWEST * (trio.current_time() - since):
            size, since = now, trio.current_time()
    with suppress(OSError):
        lane.socket.shutdown(socket.SHUT_RDWR)
