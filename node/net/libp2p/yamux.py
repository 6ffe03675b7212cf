"""yamux: many streams over one secured connection, with limits that hold.

Source: hashicorp/yamux spec.md, and libp2p specs, yamux. The muxer of py-libp2p 0.8.1 does not
enforce receive windows, gives up on a writer after 5 s and wedges the connection when a blocked
write is cancelled. Here one task owns the socket's writing side and takes frames from the streams
that have something to send, so a cancelled sender leaves no half frame; a peer that overruns a
window, floods or is silent loses its connection.
"""

import contextlib
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from node.net.libp2p.stock import ID
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    PING,
    RST,
    SYN,
    WINDOW_MOST,
    WINDOW_UPDATE,
    MuxedStream,
    StreamBroken,
)

_LOG = logging.getLogger(__name__)

PROTOCOL = "/yamux/1.0.0"
_BATCH = 4
"""Data frames that are encrypted and sent at once."""
_QUEUED_CONTROL = 1024
_TURN = 256
"""Frames that are read before other tasks get their turn."""


class Secured(Protocol):
    """What a muxer runs over."""

    remote: str
    """Where the other end is."""

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed."""
        ...

    async def some(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes; raises WireClosed."""
        ...

    async def send(self, *pieces: bytes) -> None:
        """Send all bytes; raises WireClosed."""
        ...

    async def close(self) -> None:
        """Close at once."""
        ...


Accept = Callable[[MuxedStream], Awaitable[None]]
"""Serves an inbound stream; raises nothing. Runs on when the connection ends, and then finds so."""


class Connection:
    """A multiplexed connection to one peer; `run` carries it until it ends."""

    def __init__(
        self,
        wire: Secured,
        peer: ID,
        *,
        outbound: bool,
        member: bool,
        accept: Accept,
        tasks: trio.Nursery,
        streams: int,
        unread: int,
        ping: float,
    ) -> None:
        self.peer_id = peer
        self.host = wire.remote
        self.outbound = outbound
        self.member = member
        self.unread = 0
        self.is_closed = False
        self.ended = trio.Event()
        self._wire = wire
        self._accept = accept
        self._tasks = tasks
        self._streams_most = streams
        self._unread_most = unread
        self._ping = ping
        self._streams: dict[int, MuxedStream] = {}
        self._serving = 0
        self._next = 1 if outbound else 2
        self._ready: OrderedDict[int, MuxedStream] = OrderedDict()
        self._control: deque[bytes] = deque()
        self._work = trio.lowlevel.ParkingLot()
        self._heard = 0.0
        self._nursery: trio.Nursery | None = None

    @property
    def muxed_conn(self) -> "Connection":
        """Itself: libp2p asks a connection for its muxer."""
        return self

    @property
    def busy(self) -> int:
        """Number of streams, ours and theirs."""
        return len(self._streams)

    async def run(self) -> None:
        """Carry the connection until either end closes it; raises nothing but cancellation."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._write_loop)
                self._nursery.start_soon(self._keep_alive)
                await self._read_loop()
                self._nursery.cancel_scope.cancel()
        except* (WireClosed, StreamBroken, trio.TooSlowError) as group:
            _LOG.debug("connection to %s ended: %s", self.peer_id, group.exceptions[0])
        finally:
            self.abort()
            with trio.CancelScope(shield=True):
                await self._wire.close()
            self.ended.set()

    def open_stream(self) -> MuxedStream:
        """Return a new stream; raises StreamBroken if the connection is gone or full."""
        if self.is_closed or self.busy >= 4 * self._streams_most:
            raise StreamBroken("the connection is gone, or full of streams")
        stream = MuxedStream(self, self._next)
        self._streams[self._next] = stream
        self.control(WINDOW_UPDATE, SYN, self._next, 0)
        self._next += 2
        return stream

    def abort(self) -> None:
        """End the connection now; `run` then closes the socket."""
        self.is_closed = True
        for stream in self._streams.values():
            stream.mark_broken()
        self._streams.clear()
        self._ready.clear()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def promote(self, streams: int, unread: int) -> None:
        """Treat the peer as a member from now on."""
        self.member, self._streams_most, self._unread_most = True, streams, unread

    async def goodbye(self) -> None:
        """Tell the peer that we close, after what is queued, and end the connection."""
        with contextlib.suppress(StreamBroken):
            self.control(GO_AWAY, 0, 0, 0)
            while self._control or self._ready or not self._work:
                self._check()
                await trio.sleep(0.01)
        self.abort()

    # --- called by streams ----------------------------------------------------------------

    def ready(self, stream: MuxedStream) -> None:
        """Note that a stream has bytes to send and may; streams take turns, frame by frame."""
        if not self.is_closed:
            self._ready[stream.number] = stream
            self._work.unpark_all()

    def control(self, kind: int, flags: int, number: int, value: int) -> None:
        """Queue a control frame; a peer that lets them pile up loses its connection."""
        if self.is_closed:
            return
        if len(self._control) >= _QUEUED_CONTROL:
            _LOG.info("%s makes us answer and does not read: closed", self.peer_id)
            self.abort()
            return
        self._control.append(HEADER.pack(0, kind, flags, number, value))
        self._work.unpark_all()

    def forget(self, number: int) -> None:
        """Drop a stream that is over."""
        self._streams.pop(number, None)

    def _check(self) -> None:
        if self.is_closed:
            raise StreamBroken("the connection is gone")

    # --- tasks ------------------------------------------------------------------------------

    async def _write_loop(self) -> None:
        while True:
            batch = self._next_batch()
            if batch:
                await self._wire.send(*batch)
            else:
                await self._work.park()

    def _next_batch(self) -> list[bytes]:
        batch = []
        if self._control:
            batch.append(b"".join(self._control))
            self._control.clear()
        while self._ready and len(batch) < _BATCH:
            number, stream = self._ready.popitem(last=False)
            if frame := stream.next_frame():
                batch.append(frame)
            if stream.may_send:
                self._ready[number] = stream
        return batch

    async def _keep_alive(self) -> None:
        # A frozen browser keeps its socket open: only an answer proves life. Any byte counts,
        # because a pong waits behind the data that is under way.
        nonce = 0
        while True:
            await trio.sleep(self._ping)
            self._end_overdue(trio.current_time())
            asked, nonce = trio.current_time(), nonce + 1
            self.control(PING, SYN, 0, nonce & 0xFFFFFFFF)
            await trio.sleep(self._ping)
            if self._heard < asked:
                raise WireClosed("no sign of life")

    def _end_overdue(self, now: float) -> None:
        for stream in [each for each in self._streams.values() if each.overdue(now)]:
            stream.drop()

    async def _read_loop(self) -> None:
        for turn in itertools.count(1):
            if turn % _TURN == 0:
                await trio.lowlevel.checkpoint()
            header = await self._wire.exactly(HEADER.size)
            if self.is_closed:
                return
            version, kind, flags, number, value = HEADER.unpack(header)
            self._heard = trio.current_time()
            if version != 0:
                raise WireClosed(f"yamux version {version}")
            match kind:
                case 0 | 1:
                    await self._on_stream_frame(kind, flags, number, value)
                case 2:
                    if flags & SYN:
                        self.control(PING, ACK, 0, value)
                case _:
                    raise WireClosed("go away" if kind == GO_AWAY else f"yamux frame {kind}")

    async def _on_stream_frame(self, kind: int, flags: int, number: int, value: int) -> None:
        if flags & SYN:
            self._on_new_stream(number)
        stream = self._streams.get(number)
        if kind == DATA:
            await self._on_data(stream, value)
        elif stream is not None:
            stream.add_credit(value)
        if stream is None:
            return
        if flags & RST:
            self.forget(number)
            stream.mark_reset()
        elif flags & FIN and stream.mark_ended():
            self.forget(number)

    def _on_new_stream(self, number: int) -> None:
        if number == 0 or number % 2 == self._next % 2 or number in self._streams:
            raise WireClosed(f"stream number {number} is not free for the other end")
        if self._serving >= self._streams_most:
            self.control(WINDOW_UPDATE, RST, number, 0)
            return
        stream = self._streams[number] = MuxedStream(self, number)
        self.control(WINDOW_UPDATE, ACK, number, 0)
        self._serving += 1
        self._tasks.start_soon(self._serve, stream)

    async def _on_data(self, stream: MuxedStream | None, size: int) -> None:
        limit = WINDOW_MOST if stream is None else size
        if size > limit or (stream is not None and not stream.admit(size)):
            raise WireClosed("the peer overran a receive window")
        if self.unread + size > self._unread_most:
            raise WireClosed("the peer sends more than is read")
        while size:
            data = await self._wire.some(size)
            size -= len(data)
            if stream is not None:
                stream.deliver(data)

    async def _serve(self, stream: MuxedStream) -> None:
        try:
            await self._accept(stream)
        finally:
            self._serving -= 1
