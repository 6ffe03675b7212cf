"""Sealing and sending one share: the half that a party's node and a person's vault have in common.

The plain stream is cut into chunks of 1 MiB. Where a receiver has some already, the stream is read
again from its start, and sealed again with the salts that these chunks had: if that gives another
chain, the source has changed. A new segment begins then, so no key and nonce seal two things.
Reading, sealing and sending is one thread with two buffers for each upload: whoever is slowest sets
the pace, and memory does not grow.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from node import wire
from node.net.transport import Stream
from node.share_plain import HEAD, OpenPlain, Plain
from node.share_way import NOWHERE, Put, Reach, Way, in_worker, outgoing, send_and_hear
from protocol import limits
from protocol.errors import Refused
from protocol.sealing.stream import AROUND, SALT_BYTES, Bytes, Sealer
from protocol.shape import Hash

READY_TIME: Final = 1800.0
"""Seconds for a host to show its enclave again what it stored of a large share."""

TAKEN_TIME: Final = 1800.0
"""Seconds for the contract check and the standbys, after the last frame."""

TELL_EVERY: Final = 1.0
"""Seconds between two reports of progress."""

THREADS: Final = trio.CapacityLimiter(32)
"""Uploads that run at once; others wait."""

Offer = wire.OfferShare | wire.OfferPersonShare


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A stream that was sealed to its end: by its segments the same plain bytes can be told from
    others. `chain` is the one of all chunks, `head` the one of the first share_plain.HEAD.
    """

    segments: tuple[wire.Begun, ...]
    chain: Hash
    head: Hash


def _nothing(_sealed: Sealed) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A share to send: its id and key, the exact bytes of its ShareHeader, the message that offers
    it, and its plain stream. `before` is what was once sealed to its end for this share: there must
    be no second. `ending` hears of the end before anybody else, in a worker thread.
    """

    share: bytes
    key: bytes
    header: bytes
    offer: Offer
    open_plain: OpenPlain
    before: Sealed | None = None
    ending: Callable[[Sealed], None] = _nothing


@dataclass(slots=True)
class Progress:
    """How far an upload is: plain bytes sent of about `total`, if anybody knows, and bytes per
    second since it went on; `way` says how it goes (share_way.Way.name), `why` why not by a lane.
    """

    total: int | None
    way: str
    why: str | None = None
    sent: int = 0
    started: float = 0.0
    passed_over: int = 0

    @property
    def by_lane(self) -> bool:
        """Whether the frames go beside the stream."""
        return self.why is None

    @property
    def rate(self) -> float:
        """Bytes per second."""
        seconds = time.monotonic() - self.started
        return (self.sent - self.passed_over) / seconds if seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds until all is sent at this rate; None before anything was, or if nobody knows."""
        if self.total is None or self.rate <= 0:
            return None
        return max(self.total - self.sent, 0) / self.rate


Report = Callable[[Progress], None]


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
        going = outgoing(stream, wire.SHARE_WIRE, parcel.share, resume, reach)
        async with going as way:
            send = partial(_send, way, parcel, resume, report)
            answer = await send_and_hear(stream, send, TAKEN_TIME)
        return wire.SHARE_WIRE.read_answer(answer, wire.ShareTaken)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await stream.close()


async def _send(way: Way, parcel: Parcel, resume: wire.Resume, report: Report) -> None:
    """Send what the host lacks, in a thread that a cancellation frees."""
    if resume.finished:
        return
    progress = Progress(None, way.name, way.why, started=time.monotonic())

    async def attend() -> None:
        while True:
            report(progress)
            await trio.sleep(TELL_EVERY)

    async with parcel.open_plain() as plain:
        await in_worker(way, partial(_send_all, parcel, resume, plain, progress), attend, THREADS)
    report(progress)


def _send_all(
    parcel: Parcel, resume: wire.Resume, plain: Plain, progress: Progress, put: Put
) -> None:
    again = Again(parcel.key, parcel.header, resume.segments)
    witness = _Witness(parcel)
    sealer, sending = again.sealer, _Sending(resume, put)
    for piece, last in plain.pieces():
        progress.total = plain.whole
        progress.sent += len(piece)
        witness.see(piece, last=last)
        if sealer.chunks < resume.chunks:
            again.take(piece, last=last)
            progress.passed_over = progress.sent
            sending.require_same(sealer, last=last)
        else:
            sending.send(sealer, piece, last=last)
        if sealer.chunks <= HEAD:
            sending.head = sealer.chain
    parcel.ending(sending.sealed(sealer))
    put(sealer.end(0 if plain.summary is None else plain.summary.excluded))


class Again:
    """Seals plain bytes again with salts that were used, to compare: what it seals goes nowhere."""

    def __init__(self, key: bytes, header: bytes, segments: Iterable[wire.Begun]) -> None:
        """Nothing was seen yet. Raises Refused (share.commitment)."""
        self.sealer = Sealer(key, header)
        self._salts = {one.chunk: one.salt for one in segments}
        self._scratch: memoryview | None = None

    def take(self, piece: Bytes, *, last: bool) -> None:
        """The next plain bytes. Raises Refused (share.chunk) if no salt is known for them."""
        salt = self._salts.get(self.sealer.chunks)
        if salt is not None:
            self.sealer.segment(salt)
        if not self.sealer.open:
            raise Refused("share.chunk", f"chunk {self.sealer.chunks} is in no segment")
        if self._scratch is None:
            self._scratch = memoryview(bytearray(limits.CHUNK + AROUND))
        self.sealer.chunk_into(self._scratch, piece, last)


async def same(
    begin: Callable[[], Again], known: Sealed, head: Sequence[bytes], open_plain: OpenPlain
) -> bool:
    """Whether a plain stream is the one that was sealed. Where it goes on behind `head`, most
    others differ in that, and are not read to the end. Raises SourceError.
    """
    again = begin()
    for piece in head:
        again.take(piece, last=False)
    if head and again.sealer.chain != known.head:
        return False
    async with open_plain() as plain:
        return await trio.to_thread.run_sync(_all_same, begin(), known, plain)


def _all_same(again: Again, known: Sealed, plain: Plain) -> bool:
    for piece, last in plain.pieces():
        again.take(piece, last=last)
    return again.sealer.chain == known.chain


class _Witness:
    """Holds a stream against one that was sealed to its end before, for the same share: who got
    that one says that it did not, and only we know.
    """

    def __init__(self, parcel: Parcel) -> None:
        self._before = parcel.before
        segments = () if parcel.before is None else parcel.before.segments
        self._again = Again(parcel.key, parcel.header, segments)

    def see(self, piece: Bytes, *, last: bool) -> None:
        """Raises Refused (share.changed) at the last piece."""
        if self._before is None:
            return
        self._again.take(piece, last=last)
        if last and self._again.sealer.chain != self._before.chain:
            raise Refused("share.changed")


@dataclass(slots=True)
class _Sending:
    """What goes to the receiver, behind what it has."""

    resume: wire.Resume
    put: Put
    head: bytes = b""
    begun: list[wire.Begun] = field(default_factory=list)
    buffer: memoryview = field(default_factory=lambda: memoryview(bytearray(limits.CHUNK + AROUND)))

    def require_same(self, sealer: Sealer, *, last: bool) -> None:
        """Raises Refused (share.changed) where what was passed over is not what the host has."""
        end = sealer.chunks == self.resume.chunks
        if (end and sealer.chain != self.resume.chain) or (last and not end):
            raise Refused("share.changed")

    def send(self, sealer: Sealer, piece: Bytes, *, last: bool) -> None:
        """Seal and send one chunk, in a segment that began after the last break."""
        if not self.begun or not sealer.open:
            salt = secrets.token_bytes(SALT_BYTES)
            self.begun.append(wire.Begun(chunk=sealer.chunks, salt=salt))
            self.put(sealer.segment(salt))
        self.put(sealer.chunk_into(self.buffer, piece, last))

    def sealed(self, sealer: Sealer) -> Sealed:
        """What is known at the end."""
        return Sealed(
            segments=(*self.resume.segments, *self.begun), chain=sealer.chain, head=self.head
        )
