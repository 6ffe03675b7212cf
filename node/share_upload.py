"""Sealing and sending one share: the half that a party's node and a person's vault have in common.

The plain stream is cut into chunks of 1 MiB. Where a receiver has some already, the stream is read
again from its start and those are passed over; a new segment begins, so no key and nonce repeat.
Reading, sealing and sending is one thread with two buffers for each upload: whoever is slowest sets
the pace, and memory does not grow.
"""

import hashlib
import logging
import os
import secrets
import select
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from node import bulk_lane, wire
from node.bulk_lane import NOWHERE, Reach
from node.connectors.process import Reading, Source, reading
from node.net.transport import Stream
from node.share_frames import end_frame
from protocol import limits
from protocol.errors import ProtocolError, Refused
from protocol.sealing.stream import AROUND, SALT_BYTES, Bytes, Sealer

READY_TIME: Final = 1800.0
"""Seconds for a host to show its enclave again what it stored of a large share."""

TAKEN_TIME: Final = 1800.0
"""Seconds for the contract check and the standbys, after the last frame."""

TELL_EVERY: Final = 1.0
"""Seconds between two reports of progress."""

STILL: Final = 120.0
"""Seconds after which a lane that takes nothing is given up."""

THREADS: Final = trio.CapacityLimiter(32)
"""Uploads that run at once; others wait."""

LAST_WORD: Final = 0.5
"""Seconds to wait for the reason after a stream broke."""

log = logging.getLogger("village.shares")

FAULTS: Final = (ProtocolError, trio.TooSlowError, OSError, trio.BrokenResourceError)

Pieces = Iterator[tuple[Bytes, bool]]
"""Plain bytes, limits.CHUNK each but the last, and whether they are the last. Drawn in a thread."""

OpenPlain = Callable[[], AbstractAsyncContextManager[Pieces]]
"""Opens a plain stream from its start; the same bytes each time, or Refused (share.changed)."""

Offer = wire.OfferShare | wire.OfferPersonShare


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """A plain stream as it was first read: digest, bytes, rows, people left out."""

    digest: bytes
    size: int
    rows: int
    excluded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A share to send: its id and key, the exact bytes of its ShareHeader, the message that offers
    it, and its plain stream of `size` bytes.
    """

    share: bytes
    key: bytes
    header: bytes
    offer: Offer
    size: int
    open_plain: OpenPlain


@dataclass(slots=True)
class Progress:
    """How far an upload is: plain bytes sent of `total`, and bytes per second since it went on;
    `lane` says whether it goes by the bulk lane or inside the stream.
    """

    total: int
    lane: bool
    sent: int = 0
    started: float = 0.0
    passed_over: int = 0

    @property
    def rate(self) -> float:
        """Bytes per second."""
        seconds = time.monotonic() - self.started
        return (self.sent - self.passed_over) / seconds if seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until all is sent at this rate; None before anything was."""
        return (self.total - self.sent) / self.rate if self.rate > 0 else None


Report = Callable[[Progress], None]

Put = Callable[[Bytes], None]
"""Sends one frame and waits until it left; for a worker thread. What it raises, `upload` raises."""


async def measure(source: Source) -> Plain:
    """Read a source once. Raises SourceError, and nothing leaves this machine."""
    async with reading(source) as found:
        digest, size = await trio.to_thread.run_sync(_measure, found)
    summary = found.summary
    if summary is None:
        raise Refused("share.unfinished", "the source ended early")
    return Plain(digest=digest, size=size, rows=summary.rows, excluded=summary.excluded)


def _measure(found: Reading) -> tuple[bytes, int]:
    state, size = hashlib.sha256(), 0
    for piece, _ in found.pieces():
        state.update(piece)
        size += len(piece)
    return state.digest(), size


def plain_of(source: Source, digest: bytes) -> OpenPlain:
    """Reads `source` and holds back its last piece unless all of it has `digest`."""

    @asynccontextmanager
    async def open_plain() -> AsyncIterator[Pieces]:
        async with reading(source) as found:
            yield _same(found.pieces(), digest)

    return open_plain


def plain_bytes(data: bytes) -> OpenPlain:
    """A plain stream that is in memory already."""

    def cut() -> Pieces:
        starts = range(0, max(len(data), 1), limits.CHUNK)
        for start in starts:
            yield data[start : start + limits.CHUNK], start == starts[-1]

    @asynccontextmanager
    async def open_plain() -> AsyncIterator[Pieces]:
        yield cut()

    return open_plain


async def upload(
    stream: Stream, parcel: Parcel, report: Report, reach: Reach = NOWHERE
) -> wire.ShareTaken:
    """Offer a share on an open stream, send what the host lacks, wait for its word. The frames go
    by the bulk lane if the receiver offers one that answers within `reach`.

    Raises Refused (the host's, or share.changed), TransportError, trio.TooSlowError, SourceError.
    The stream is closed at the end; after any error the same call on a new stream goes on.
    """
    try:
        await stream.send(wire.SHARE_WIRE.pack_request(parcel.offer))
        with trio.fail_after(READY_TIME):
            resume = wire.SHARE_WIRE.read_answer(await stream.receive(), wire.Resume)
        async with _way(stream, parcel, resume, reach) as way:
            return await _send_and_hear(stream, parcel, resume, report, way)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await stream.close()


class Way(Protocol):
    """How frames go."""

    def put(self, frame: Bytes) -> None:
        """Send one frame; for a worker thread. Raises TransportError, trio.BrokenResourceError."""
        ...

    def cut(self) -> None:
        """End a `put` that waits."""
        ...


@dataclass(frozen=True, slots=True)
class _Inside:
    """In the stream itself."""

    stream: Stream

    def put(self, frame: Bytes) -> None:
        message = wire.ShareFrame(frame=bytes(frame), last=frame[:1] == b"\x03")
        trio.from_thread.run(self.stream.send, wire.SHARE_WIRE.pack_request(message))

    def cut(self) -> None:
        """The stream ends its own waiting when it is cancelled."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """By a bulk lane."""

    lane: trio.SocketStream

    def put(self, frame: Bytes) -> None:
        try:
            self._write(memoryview(len(frame).to_bytes(4, "big")))
            self._write(memoryview(frame))
        except OSError as error:
            raise trio.BrokenResourceError("the bulk lane broke") from error

    def cut(self) -> None:
        with suppress(OSError):
            self.lane.socket.shutdown(socket.SHUT_RDWR)

    def _write(self, rest: memoryview) -> None:
        descriptor = self.lane.socket.fileno()
        while rest:
            try:
                rest = rest[os.write(descriptor, rest) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(descriptor, select.POLLOUT)
                if not poll.poll(STILL * 1000):
                    raise trio.TooSlowError("the bulk lane stands still") from None


@asynccontextmanager
async def _way(
    stream: Stream, parcel: Parcel, resume: wire.Resume, reach: Reach
) -> AsyncIterator[Way]:
    """How frames go: by the lane, or inside the stream."""
    if resume.lane is None or resume.finished:
        yield _Inside(stream)
        return
    terms = bulk_lane.Terms(
        ticket=resume.lane.ticket,
        key=resume.lane.key,
        share=parcel.share,
        chunks=resume.chunks,
    )
    lane = await bulk_lane.dial(reach, resume.lane.port, terms)
    await stream.send(wire.SHARE_WIRE.pack_request(wire.ChooseWay(lane=lane is not None)))
    if lane is None:
        port = resume.lane.port
        log.info("no bulk lane to %s port %s: frames go inside the stream", reach.hosts, port)
        yield _Inside(stream)
        return
    try:
        yield _Beside(lane)
    finally:
        await trio.aclose_forcefully(lane)


async def _send_and_hear(
    stream: Stream, parcel: Parcel, resume: wire.Resume, report: Report, way: Way
) -> wire.ShareTaken:
    """Send and listen at once: a refusal in the middle must be heard, not waited for."""
    hearing = _Hearing(stream)
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hearing.listen)
        with hearing.sending:
            try:
                if not resume.finished:
                    await _send(way, parcel, resume, report)
            except FAULTS as error:
                fault = error
        # The host's own word, if it is under way, says more than a broken stream.
        with trio.move_on_after(TAKEN_TIME if fault is None else LAST_WORD):
            await hearing.done.wait()
        nursery.cancel_scope.cancel()
    if hearing.answer is None:
        raise fault or hearing.fault or trio.TooSlowError("the host does not confirm the share")
    return wire.SHARE_WIRE.read_answer(hearing.answer, wire.ShareTaken)


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


async def _send(way: Way, parcel: Parcel, resume: wire.Resume, report: Report) -> None:
    """Send what the host lacks, in a thread that a cancellation frees."""
    progress = Progress(parcel.size, isinstance(way, _Beside), started=time.monotonic())
    fault: Exception | None = None
    async with parcel.open_plain() as pieces, trio.open_nursery() as nursery:
        nursery.start_soon(_attend, way, progress, report)
        try:
            await trio.to_thread.run_sync(
                _send_all, way.put, parcel, resume, pieces, progress, limiter=THREADS
            )
        except FAULTS as error:  # a nursery would hand it on in a group
            fault = error
        nursery.cancel_scope.cancel()
    if fault is not None:
        raise fault
    report(progress)


async def _attend(way: Way, progress: Progress, report: Report) -> None:
    """Tell of progress until the thread is done; when cancelled, free it."""
    try:
        while True:
            await trio.sleep(TELL_EVERY)
            report(progress)
    finally:
        way.cut()


def _send_all(
    put: Put, parcel: Parcel, resume: wire.Resume, pieces: Pieces, progress: Progress
) -> None:
    begun = resume.chunks > 0
    sealer = Sealer(parcel.key, parcel.header, resume.chunks, resume.chain if begun else None)
    buffer = memoryview(bytearray(limits.CHUNK + AROUND))
    index, left = 0, 0
    for piece, last in pieces:
        progress.sent += len(piece)
        index += 1
        if index <= resume.chunks:
            progress.passed_over = progress.sent
            continue
        if left == 0:
            put(sealer.segment(secrets.token_bytes(SALT_BYTES)))
            left = limits.SEGMENT_CHUNKS
        put(sealer.chunk_into(buffer, piece, last=last))
        left -= 1
    if index < resume.chunks:
        raise Refused("share.chunk", f"the host claims {resume.chunks} chunks of {index}")
    if index == resume.chunks:
        put(end_frame(resume.chain, resume.chunks))
    else:
        put(sealer.end())


def _same(pieces: Pieces, digest: bytes) -> Pieces:
    state = hashlib.sha256()
    for piece, last in pieces:
        state.update(piece)
        if last and state.digest() != digest:
            raise Refused("share.changed")
        yield piece, last
