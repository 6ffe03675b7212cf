"""Sealing and sending one share: the half that a party's node and a person's vault have in common.

The plain stream is cut into chunks of 1 MiB. Where a receiver has some already, the stream is read
again from its start and those are passed over; a new segment begins, so no key and nonce repeat.
"""

import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from node import wire
from node.connectors.process import Source, reading
from node.net.transport import Stream
from node.share_frames import end_frame
from protocol import limits
from protocol.errors import ProtocolError, Refused
from protocol.sealing.stream import SALT_BYTES, Sealer

READY_TIME: Final = 1800.0
"""Seconds for a host to show its enclave again what it stored of a large share."""

TAKEN_TIME: Final = 1800.0
"""Seconds for the contract check and the standbys, after the last frame."""

LAST_WORD: Final = 0.5
"""Seconds to wait for the reason after a stream broke."""

FAULTS: Final = (ProtocolError, trio.TooSlowError, OSError)

Pieces = AsyncGenerator[tuple[bytes, bool], None]
"""Plain bytes, limits.CHUNK each but the last, and whether they are the last."""

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
    """A share to send: its key, the exact bytes of its ShareHeader, the message that offers it, and
    its plain stream of `size` bytes.
    """

    key: bytes
    header: bytes
    offer: Offer
    size: int
    open_plain: OpenPlain


@dataclass(slots=True)
class Progress:
    """How far an upload is: plain bytes sent of `total`, and bytes per second since it went on."""

    total: int
    sent: int = 0
    started: float = 0.0
    passed_over: int = 0

    @property
    def rate(self) -> float:
        """Bytes per second."""
        seconds = time.monotonic() - self.started
        return (self.sent - self.passed_over) / seconds if seconds > 0 else 0.0


Report = Callable[[Progress], None]


async def measure(source: Source) -> Plain:
    """Read a source once. Raises SourceError, and nothing leaves this machine."""
    state, size = hashlib.sha256(), 0
    async with reading(source) as found, aclosing(found.pieces()) as pieces:
        async for piece, _ in pieces:
            state.update(piece)
            size += len(piece)
    summary = found.summary
    if summary is None:
        raise Refused("share.unfinished", "the source ended early")
    return Plain(digest=state.digest(), size=size, rows=summary.rows, excluded=summary.excluded)


def plain_of(source: Source, digest: bytes) -> OpenPlain:
    """Reads `source` and holds back its last piece unless all of it has `digest`."""

    @asynccontextmanager
    async def open_plain() -> AsyncIterator[Pieces]:
        async with (
            reading(source) as found,
            aclosing(found.pieces()) as pieces,
            aclosing(_same(pieces, digest)) as same,
        ):
            yield same

    return open_plain


def plain_bytes(data: bytes) -> OpenPlain:
    """A plain stream that is in memory already."""

    async def cut() -> Pieces:
        starts = range(0, max(len(data), 1), limits.CHUNK)
        for start in starts:
            yield data[start : start + limits.CHUNK], start == starts[-1]

    @asynccontextmanager
    async def open_plain() -> AsyncIterator[Pieces]:
        async with aclosing(cut()) as pieces:
            yield pieces

    return open_plain


async def upload(stream: Stream, parcel: Parcel, report: Report) -> wire.ShareTaken:
    """Offer a share on an open stream, send what the host lacks, wait for its word.

    Raises Refused (the host's, or share.changed), TransportError, trio.TooSlowError, SourceError.
    The stream is closed at the end; after any error the same call on a new stream goes on.
    """
    try:
        await stream.send(wire.SHARE_WIRE.pack_request(parcel.offer))
        with trio.fail_after(READY_TIME):
            resume = wire.SHARE_WIRE.read_answer(await stream.receive(), wire.Resume)
        return await _send_and_hear(stream, parcel, resume, report)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await stream.close()


async def _send_and_hear(
    stream: Stream, parcel: Parcel, resume: wire.Resume, report: Report
) -> wire.ShareTaken:
    """Send and listen at once: a refusal in the middle must be heard, not waited for."""
    hearing = _Hearing(stream)
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hearing.listen)
        with hearing.sending:
            try:
                if not resume.finished:
                    await _send(stream, parcel, resume, report)
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


async def _send(stream: Stream, parcel: Parcel, resume: wire.Resume, report: Report) -> None:
    begun = resume.chunks > 0
    sealer = Sealer(parcel.key, parcel.header, resume.chunks, resume.chain if begun else None)
    progress = Progress(parcel.size, started=time.monotonic())
    index, left = 0, 0
    async with parcel.open_plain() as pieces:
        async for piece, last in pieces:
            progress.sent += len(piece)
            index += 1
            if index <= resume.chunks:
                progress.passed_over = progress.sent
                continue
            if left == 0:
                await _send_frame(stream, sealer.segment(secrets.token_bytes(SALT_BYTES)))
                left = limits.SEGMENT_CHUNKS
            await _send_frame(stream, sealer.chunk(piece, last=last))
            left -= 1
            report(progress)
    if index < resume.chunks:
        raise Refused("share.chunk", f"the host claims {resume.chunks} chunks of {index}")
    if index == resume.chunks:
        await _send_frame(stream, end_frame(resume.chain, resume.chunks), last=True)
    else:
        await _send_frame(stream, sealer.end(), last=True)


async def _send_frame(stream: Stream, frame: bytes, *, last: bool = False) -> None:
    await stream.send(wire.SHARE_WIRE.pack_request(wire.ShareFrame(frame=frame, last=last)))


async def _same(pieces: Pieces, digest: bytes) -> Pieces:
    state = hashlib.sha256()
    async for piece, last in pieces:
        state.update(piece)
        if last and state.digest() != digest:
            raise Refused("share.changed")
        yield piece, last
