"""What can be said of a share's frames without its key: their order, and where to go on."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import assert_never

from node import wire
from protocol.errors import Refused
from protocol.sealing.stream import SALT_BYTES, TAG_BYTES, Chunk, End, Segment, read_frame


@dataclass(slots=True)
class Tally:
    """A count of the frames taken so far. `chain` is the chain digest after them; where the header
    is not known (`anchored` is false) it starts anywhere, and the final frame is not held to it.
    `segments` are those of the chunks, as a resuming owner needs them.
    """

    chain: bytes
    chunks: int = 0
    ended: bool = False
    anchored: bool = True
    segments: tuple[wire.Begun, ...] = ()

    def take(self, raw: bytes) -> None:
        """Count one frame. Raises Refused (share.chunk) for one that cannot stand here."""
        if self.ended:
            raise Refused("share.chunk", "a frame after the final one")
        match read_frame(raw):
            case Segment():
                return
            case Chunk(index, sealed):
                if index != self.chunks:
                    raise Refused("share.chunk", f"chunk {index}, expected {self.chunks}")
                self.chain = hashlib.sha256(self.chain + sealed[-TAG_BYTES:]).digest()
                self.chunks += 1
            case End() as end:
                lies = self.anchored and end.chain != self.chain
                if end.chunks != self.chunks or lies:
                    raise Refused("share.chunk", "the final frame tells of other chunks")
                self.ended = True
            case other:
                assert_never(other)


def from_chunk(frames: Iterable[bytes], chunks: int) -> Iterator[bytes]:
    """The frames that a receiver of the first `chunks` chunks still needs, the segment
    of the first of them before it. A segment sent twice is no harm: only its salt and an index
    together must never seal twice.
    """
    segment: bytes | None = None
    for raw in frames:
        match read_frame(raw):
            case Segment():
                segment = raw
            case Chunk(index) if index < chunks:
                continue
            case Chunk():
                if segment is not None:
                    yield segment
                segment = None
                yield raw
            case End():
                yield raw
            case other:
                assert_never(other)


def frames_of(frames: Iterable[bytes], chunks: int) -> int:
    """How many frames lead up to and including the chunk number `chunks`, counted from 1."""
    seen = count = 0
    if not chunks:
        return 0
    for count, raw in enumerate(frames, 1):
        seen += raw[:1] == b"\x02"
        if seen == chunks:
            return count
    return count


def segments_of(heads: Iterable[bytes]) -> tuple[tuple[wire.Begun, ...], int]:
    """The segments in which the chunks are, and how many frames were looked at: all, or those
    before the first segment that is one too many to be told. `heads` are the first bytes of each.
    """
    found: dict[int, bytes] = {}
    frames = chunks = 0
    for head in heads:
        if head[:1] == b"\x01":
            if len(found) == wire.SEGMENTS and chunks not in found:
                break
            found[chunks] = bytes(head[1 : 1 + SALT_BYTES])
        chunks += head[:1] == b"\x02"
        frames += 1
    begun = (wire.Begun(chunk=at, salt=salt) for at, salt in found.items() if at < chunks)
    return tuple(begun), frames
