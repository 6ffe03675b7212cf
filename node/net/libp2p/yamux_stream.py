"""One stream of a yamux connection: windows, back-pressure, both ends' goodbyes.

Source: hashicorp/yamux spec.md.
"""

import contextlib
import struct
from typing import Protocol

import trio

from node.net.libp2p.stock import ID
from node.net.libp2p.wire import WireClosed

HEADER = struct.Struct("!BBHII")
"""Version, kind, flags, stream number, and length or value."""
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
WINDOW = 256 * 1024
"""Bytes that each side may send on a fresh stream, by the specification."""
WINDOW_MOST = 4 * 1024 * 1024
"""Largest window that a reader opens."""
_PAYLOAD = 65535 - 16 - HEADER.size
"""Data of one frame: header and data then fill exactly one Noise message."""
_LINGER = 30.0


class StreamBroken(Exception):
    """The stream has ended, was reset, or its connection is gone."""


class Carrier(Protocol):
    """What a stream asks of its connection."""

    unread: int
    """Bytes that have arrived on all its streams and wait for a reader."""

    @property
    def peer_id(self) -> ID:
        """Who is at the other end."""
        ...

    async def enqueue(self, frame: bytes) -> None:
        """Queue a frame behind earlier ones, waiting for room; raises StreamBroken."""
        ...

    def control(self, kind: int, flags: int, number: int, value: int) -> None:
        """Queue a control frame."""
        ...

    def forget(self, number: int) -> None:
        """Drop a stream that is over."""
        ...

    def abort(self) -> None:
        """End the connection now."""
        ...


class MuxedStream:
    """One stream of a connection: ordered bytes both ways, with back-pressure."""

    def __init__(self, connection: Carrier, number: int) -> None:
        self.muxed_conn = connection
        self.protocol: str | None = None
        self._number = number
        self._credit = WINDOW
        self._window = WINDOW
        self._target = WINDOW
        self._consumed = 0
        self._unread = bytearray()
        self._ended = self._finished = self._broken = False
        self._finished_at = 0.0
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()

    async def read(self, most: int) -> bytes:
        """Return between 1 and `most` bytes, b"" at the end of the stream; safe to cancel.

        Raises StreamBroken if the stream was reset or the connection is gone.
        """
        await trio.lowlevel.checkpoint()
        while not self._unread:
            if self._broken or self._finished:
                raise StreamBroken("the stream is gone")
            if self._ended:
                return b""
            await self._readable.park()
        data = bytes(memoryview(self._unread)[:most])
        del self._unread[:most]
        self.muxed_conn.unread -= len(data)
        self._give_credit(len(data))
        return data

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed if the stream ends before."""
        data = bytearray()
        while len(data) < count:
            try:
                more = await self.read(count - len(data))
            except StreamBroken as error:
                raise WireClosed("stream broken") from error
            if not more:
                raise WireClosed("stream ended")
            data += more
        return bytes(data)

    async def write(self, data: bytes) -> None:
        """Send all bytes, waiting for window; raises StreamBroken.

        Whoever cancels it must reset the stream: a part may have left.
        """
        rest = memoryview(data)
        while rest:
            while self._credit <= 0 and not self._broken:
                await self._writable.park()
            if self._broken or self._finished:
                raise StreamBroken("the stream is gone")
            part = rest[: min(self._credit, _PAYLOAD)]
            self._credit -= len(part)
            rest = rest[len(part) :]
            header = HEADER.pack(0, DATA, 0, self._number, len(part))
            await self.muxed_conn.enqueue(header + part)

    async def close(self) -> None:
        """Say that nothing more follows, and drop what still arrives."""
        if self._finished or self._broken:
            return
        self._finished, self._finished_at = True, trio.current_time()
        self._drop_unread()
        self._readable.unpark_all()
        fin = HEADER.pack(0, WINDOW_UPDATE, FIN, self._number, 0)
        with contextlib.suppress(StreamBroken):
            await self.muxed_conn.enqueue(fin)
        if self._ended:
            self.muxed_conn.forget(self._number)

    async def reset(self) -> None:
        """Drop the stream at once, both ways."""
        self.drop()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Reset without waiting: callable from a cancelled task."""
        if not self._broken:
            self.muxed_conn.control(WINDOW_UPDATE, RST, self._number, 0)
            self.muxed_conn.forget(self._number)
            self.mark_reset()

    def grow(self, target: int) -> None:
        """Open the receive window to `target` bytes, for a reader that waits for that much."""
        more = min(target, WINDOW_MOST) - self._target
        if more > 0 and not self._broken:
            self._target += more
            self._window += more
            self.muxed_conn.control(WINDOW_UPDATE, 0, self._number, more)

    def get_protocol(self) -> str | None:
        """Return the agreed protocol; the name is libp2p's."""
        return self.protocol

    # --- called by the connection ---------------------------------------------------------

    def admit(self, size: int) -> bool:
        """Book `size` announced bytes against the window; False if the peer overran it."""
        self._window -= size
        return self._window >= 0

    def deliver(self, data: bytes) -> None:
        """Keep bytes for the reader, unless nobody reads any more."""
        if not self._finished:
            self._unread += data
            self.muxed_conn.unread += len(data)
            self._readable.unpark_all()

    def add_credit(self, more: int) -> None:
        """Let the writer send more."""
        self._credit += more
        if self._credit > 0:
            self._writable.unpark_all()

    def mark_ended(self) -> bool:
        """Note the peer's end of stream; True if both ends are done."""
        self._ended = True
        self._readable.unpark_all()
        return self._finished

    def mark_reset(self) -> None:
        """End both directions at the peer's wish; what nobody has read is gone."""
        self._drop_unread()
        self.mark_broken()

    def mark_broken(self) -> None:
        """End both directions; what has arrived can still be read; wake whoever waits."""
        self._broken = True
        self._readable.unpark_all()
        self._writable.unpark_all()

    def overdue(self, now: float) -> bool:
        """Return whether we closed long ago and the peer still has not."""
        return self._finished and now - self._finished_at > _LINGER

    def _drop_unread(self) -> None:
        self.muxed_conn.unread -= len(self._unread)
        self._unread.clear()

    def _give_credit(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= self._target // 2 and not self._ended:
            self.muxed_conn.control(WINDOW_UPDATE, 0, self._number, self._consumed)
            self._window += self._consumed
            self._consumed = 0
