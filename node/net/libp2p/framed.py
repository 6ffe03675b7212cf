"""Frames on a muxed stream: the Stream of the network port."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from node.net.libp2p.limits import Timeouts
from node.net.libp2p.yamux_stream import MuxedStream, StreamBroken
from node.net.transport import FRAME_LIMIT, Closed, FrameTooLarge, Stalled

_LOG = logging.getLogger(__name__)
_PREFIX = 4
_AHEAD = 256 * 1024


class FramedStream:
    """One stream of frames to one peer."""

    def __init__(self, muxed: MuxedStream, peer: str, timeouts: Timeouts) -> None:
        self.peer = peer
        self._muxed = muxed
        self._timeouts = timeouts
        self._partial = bytearray()
        self._sending = trio.Lock()

    async def send(self, frame: bytes) -> None:
        """Send one frame; raises Closed, Stalled or FrameTooLarge."""
        if len(frame) > FRAME_LIMIT:
            raise FrameTooLarge(f"a frame of {len(frame)} bytes; at most {FRAME_LIMIT}")
        async with self._sending, self._within(self._timeouts.frame, "takes nothing"):
            whole = False
            try:
                await self._muxed.write(len(frame).to_bytes(_PREFIX, "big") + frame)
                whole = True
            except StreamBroken as error:
                raise Closed(f"stream with {self.peer} has ended") from error
            finally:
                if not whole:  # cancelled: half a frame may have left
                    self._muxed.drop()

    async def receive(self, limit: int = FRAME_LIMIT) -> bytes:
        """Return the next frame; raises Closed, Stalled or FrameTooLarge."""
        if not self._partial:
            async with self._within(self._timeouts.idle, "sends nothing"):
                await self._fill(1)
        async with self._within(self._timeouts.frame, "sends its frame too slowly"):
            await self._fill(_PREFIX)
            size = int.from_bytes(self._partial[:_PREFIX], "big")
            if size > limit:
                self._muxed.drop()
                raise FrameTooLarge(f"{self.peer} sends a frame of {size} bytes; at most {limit}")
            self._muxed.grow(size + _AHEAD)
            await self._fill(_PREFIX + size)
        frame = bytes(memoryview(self._partial)[_PREFIX:])
        self._partial.clear()
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

    async def _fill(self, size: int) -> None:
        while len(self._partial) < size:
            try:
                more = await self._muxed.read(size - len(self._partial))
            except StreamBroken as error:
                raise Closed(f"stream with {self.peer} is broken") from error
            if not more:
                raise Closed(f"stream with {self.peer} has ended")
            self._partial += more

    @asynccontextmanager
    async def _within(self, seconds: float, what: str) -> AsyncIterator[None]:
        with trio.move_on_after(seconds) as scope:
            yield
        if scope.cancelled_caught:
            self._muxed.drop()
            raise Stalled(f"{self.peer} {what} for {seconds:g} s")
