"""Frames on a muxed stream: the Stream of the network port."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.net.libp2p.limits import Timeouts
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import MuxedStream, StreamBroken
from node.net.transport import FRAME_LIMIT, Bytes, Closed, FrameTooLarge, Stalled

_LOG = logging.getLogger(__name__)
_PREFIX = 4
_AHEAD = 256 * 1024


class FramedStream:
    """One stream of frames to one peer."""

    def __init__(self, muxed: MuxedStream, peer: str, timeouts: Timeouts) -> None:
        self.peer = peer
        self.host = muxed.muxed_conn.host
        self._muxed = muxed
        self._timeouts = timeouts
        self._size: int | None = None
        self._sending = trio.Lock()

    async def send(self, *parts: Bytes) -> None:
        """Send one frame; raises Closed, Stalled or FrameTooLarge."""
        size = sum(map(len, parts))
        if size > FRAME_LIMIT:
            raise FrameTooLarge(f"a frame of {size} bytes; at most {FRAME_LIMIT}")
        async with self._sending, self._within(self._timeouts.frame, "takes nothing"):
            whole = False
            try:
                await self._muxed.write(size.to_bytes(_PREFIX, "big"), *parts)
                whole = True
            finally:
                if not whole:  # cancelled: half a frame may have left
                    self._muxed.drop()

    async def receive(self, limit: int = FRAME_LIMIT) -> bytes:
        """Return the next frame; raises Closed, Stalled or FrameTooLarge."""
        if self._size is None:
            async with self._within(self._timeouts.idle, "sends nothing"):
                await self._muxed.arrived(1)
        async with self._within(self._timeouts.frame, "sends its frame too slowly"):
            if self._size is None:
                self._size = int.from_bytes(await self._muxed.exactly(_PREFIX), "big")
            if self._size > limit:
                self._muxed.drop()
                raise FrameTooLarge(
                    f"{self.peer} sends a frame of {self._size} bytes; at most {limit}"
                )
            self._muxed.grow(self._size + _AHEAD)
            frame = await self._muxed.exactly(self._size)
        self._size = None
        return frame

    async def close(self) -> None:
        """Say that no more frames follow; what was sent still arrives."""
        with trio.move_on_after(self._timeouts.frame) as scope:
            await self._muxed.close()
        if scope.cancelled_caught:
            self._muxed.drop()

    async def reset(self) -> None:
        """Drop the stream at once."""
        await self._muxed.reset()

    @asynccontextmanager
    async def _within(self, seconds: float, what: str) -> AsyncIterator[None]:
        with trio.move_on_after(seconds) as scope:
            try:
                yield
            except (StreamBroken, WireClosed) as error:
                raise Closed(f"stream with {self.peer}: {error}") from error
        if scope.cancelled_caught:
            self._muxed.drop()
            raise Stalled(f"{self.peer} {what} for {seconds:g} s")
