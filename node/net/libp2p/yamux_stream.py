"""One stream of a yamux connection: windows, back-pressure, both ends' goodbyes.

Source: hashicorp/yamux spec.md.
"""

import struct
from typing import Protocol

import trio

from node.net.libp2p.pieces import Pieces
from node.net.libp2p.stock import ID
from node.net.libp2p.wire import WireClosed
from node.net.transport import Bytes

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

    @property
    def host(self) -> str:
        """Where the other end is."""
        ...

    def ready(self, stream: "MuxedStream") -> None:
        """Note that a stream has bytes to send and may."""
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
        self.number = number
        self._credit = WINDOW
        self._window = WINDOW
        self._target = WINDOW
        self._consumed = 0
        self._unread = Pieces()
        self._wanted = self._claimed = 0
        self._outgoing = Pieces()
        self._ended = self._finished = self._broken = False
        self._finished_at = 0.0
        self._readable = trio.lowlevel.ParkingLot()
        self._writable = trio.lowlevel.ParkingLot()

    async def arrived(self, count: int) -> None:
        """Wait until `count` bytes are here for `exactly`, and let others run; safe to cancel.

        They are the reader's from when they come: they make room in the window, and do not count as
        unread. Raises WireClosed if the stream ends before, or the connection.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self._wanted = count
        self._claim(count)
        try:
            if self._unread.size >= count:
                await trio.lowlevel.cancel_shielded_checkpoint()
            while self._unread.size < count:
                if self._ended or self._broken or self._finished:
                    raise WireClosed("the stream has ended" if self._ended else "it broke")
                await self._readable.park()
        finally:
            self._wanted = 0

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes, at once where they are here; safe to cancel.

        Whoever reads on and on calls `arrived` in between. Raises WireClosed as `arrived` does.
        """
        if self._unread.size < count:
            await self.arrived(count)
        self._claim(count)
        self._claimed -= count
        return self._unread.take(count)

    async def write(self, *parts: Bytes) -> None:
        """Send all bytes, waiting for window and for other writers; raises StreamBroken.

        Whoever cancels it must reset the stream: a part may have left.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        await self._turn_to_write()
        for part in parts:
            self._outgoing.add(memoryview(part))
        try:
            self._offer()
            while self._outgoing.size:
                if self._broken or self._finished:
                    raise StreamBroken("the stream is gone")
                await self._writable.park()
        finally:
            self._outgoing.clear()
            self._writable.unpark_all()

    async def _turn_to_write(self) -> None:
        while self._outgoing.size:
            await self._writable.park()

    async def close(self) -> None:
        """Say that nothing more follows, and drop what still arrives."""
        if self._finished or self._broken:
            return
        self._finished, self._finished_at = True, trio.current_time()
        self._drop_unread()
        self._readable.unpark_all()
        self._writable.unpark_all()
        self.muxed_conn.control(WINDOW_UPDATE, FIN, self.number, 0)
        if self._ended:
            self.muxed_conn.forget(self.number)
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """Drop the stream at once, both ways."""
        self.drop()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Reset without waiting: callable from a cancelled task."""
        if not self._broken:
            self.muxed_conn.control(WINDOW_UPDATE, RST, self.number, 0)
            self.muxed_conn.forget(self.number)
            self.mark_reset()

    def grow(self, target: int) -> None:
        """Open the receive window to `target` bytes, for a reader that waits for that much."""
        more = min(target, WINDOW_MOST) - self._target
        if more > 0 and not self._broken:
            self._target += more
            self._window += more
            self.muxed_conn.control(WINDOW_UPDATE, 0, self.number, more)

    def get_protocol(self) -> str | None:
        """Return the agreed protocol; the name is libp2p's."""
        return self.protocol

    # --- called by the connection ---------------------------------------------------------

    def admit(self, size: int) -> bool:
        """Book `size` announced bytes against the window; False if the peer overran it."""
        self._window -= size
        return self._window >= 0

    def deliver(self, data: memoryview) -> None:
        """Keep bytes for the reader, unless nobody reads any more."""
        if not (self._finished or self._broken):
            self._unread.add(data)
            self.muxed_conn.unread += len(data)
            self._claim(self._wanted)
            if self._unread.size >= self._wanted:
                self._readable.unpark_all()

    def add_credit(self, more: int) -> None:
        """Let the writer send more."""
        self._credit += more
        self._offer()

    @property
    def may_send(self) -> bool:
        """Whether there are bytes to send, and window for them."""
        open_still = not (self._finished or self._broken)
        return self._outgoing.size > 0 and self._credit > 0 and open_still

    def next_frame(self) -> bytes:
        """A data frame of what is to be sent, as large as the window allows; none where nothing may
        go.
        """
        if not self.may_send:
            return b""
        size = min(self._outgoing.size, self._credit, _PAYLOAD)
        self._credit -= size
        frame = self._outgoing.take(size, HEADER.pack(0, DATA, 0, self.number, size))
        if not self._outgoing.size:
            self._writable.unpark_all()
        return frame

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

    def _offer(self) -> None:
        if self.may_send:
            self.muxed_conn.ready(self)

    def _drop_unread(self) -> None:
        self.muxed_conn.unread -= self._unread.size - self._claimed
        self._unread.clear()
        self._claimed = 0

    def _claim(self, count: int) -> None:
        """Book the first `count` bytes as read, as far as they are here."""
        more = min(count, self._unread.size) - self._claimed
        if more > 0:
            self._claimed += more
            self.muxed_conn.unread -= more
            self._give_credit(more)

    def _give_credit(self, size: int) -> None:
        self._consumed += size
        if self._consumed >= self._target // 2 and not self._ended:
            self.muxed_conn.control(WINDOW_UPDATE, 0, self.number, self._consumed)
            self._window += self._consumed
            self._consumed = 0
