"""Plain streams of shares: a source that is read as it is sent, or bytes in memory.

A source is read once. Its head is read before anything is signed: of a small source that is all, so
a fault in it is told before anybody hears of a share, and a stream that breaks needs no second
reading. What breaks later is read again from its start.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node.connectors import Summary
from node.connectors.process import Reading, Source, reading
from protocol import limits
from protocol.sealing.stream import Bytes

HEAD: Final = 8
"""Chunks that are read before anything is signed."""

Pieces = Iterator[tuple[Bytes, bool]]
"""Plain bytes, limits.CHUNK each but the last, and whether they are the last. Drawn in a thread."""


class Plain(Protocol):
    """A plain stream that is being read."""

    @property
    def whole(self) -> int | None:
        """About how many bytes it has in all, as far as anybody knows."""
        ...

    @property
    def summary(self) -> Summary | None:
        """What was in it, once its last piece was drawn."""
        ...

    def pieces(self) -> Pieces:
        """All of it, once. Raises SourceError."""
        ...


OpenPlain = Callable[[], AbstractAsyncContextManager[Plain]]
"""Opens a plain stream from its start."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A plain stream in memory."""

    data: Sequence[bytes]
    summary: Summary

    @property
    def whole(self) -> int:
        """Its bytes."""
        return sum(map(len, self.data))

    def pieces(self) -> Pieces:
        """All of it."""
        for number, piece in enumerate(self.data, 1):
            yield piece, number == len(self.data)


def plain_bytes(data: bytes) -> OpenPlain:
    """A plain stream that is in memory already, without rows that a summary would count."""
    starts = range(0, max(len(data), 1), limits.CHUNK)
    stored = Stored([data[at : at + limits.CHUNK] for at in starts], Summary(rows=0, excluded=0))

    @asynccontextmanager
    async def open_plain() -> AsyncIterator[Plain]:
        yield stored

    return open_plain


@dataclass(slots=True)
class Supply:
    """A source whose head was read. The first who opens it gets on with that reading; for others
    the source is read anew.
    """

    source: Source
    head: list[bytes]
    summary: Summary | None
    _begun: "_Rest | None"

    @property
    def begins(self) -> list[bytes]:
        """The head of a stream that goes on."""
        return [] if self.summary is not None else self.head

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Plain]:
        """The plain stream from its start."""
        if self.summary is not None:
            yield Stored(self.head, self.summary)
        elif self._begun is not None:
            begun, self._begun = self._begun, None
            try:
                yield begun
            finally:
                begun.reading.process.kill()  # its block ends later
        else:
            async with reading(self.source) as found:
                yield found


@dataclass(slots=True)
class _Rest:
    """A reading whose head was read already."""

    head: list[bytes]
    reading: Reading
    rest: Pieces

    @property
    def whole(self) -> int | None:
        return self.reading.whole

    @property
    def summary(self) -> Summary | None:
        return self.reading.summary

    def pieces(self) -> Pieces:
        for piece in self.head:
            yield piece, False
        yield from self.rest


@asynccontextmanager
async def supply(source: Source) -> AsyncIterator[Supply]:
    """Begin to read a source. Raises SourceError if it is faulty as far as its head goes."""
    async with reading(source) as found:
        rest = found.pieces()
        head = await trio.to_thread.run_sync(_draw, rest)
        begun = _Rest(head, found, rest) if found.summary is None else None
        yield Supply(source, head, found.summary, begun)


def _draw(pieces: Pieces) -> list[bytes]:
    head: list[bytes] = []
    for piece, last in pieces:
        head.append(bytes(piece))
        if last or len(head) == HEAD:
            break
    return head
