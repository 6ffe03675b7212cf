"""Byte pipes: exact reads over whatever delivers chunks, TCP and WebSocket underneath."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
import trio_websocket

CHUNK = 256 * 1024
"""Most bytes that one look at a socket brings."""

_NOTHING = memoryview(b"")


class WireClosed(Exception):
    """The pipe has ended or broke: there is no more to read or write."""


class Pipe(Protocol):
    """A connected byte pipe."""

    remote: str
    """Where the other end is: the host that was dialled, or the IP address it came from."""

    async def receive(self) -> bytes:
        """Return the next bytes; raises WireClosed at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all bytes; raises WireClosed."""
        ...

    async def close(self) -> None:
        """Close at once, without waiting for the other end."""
        ...


class TcpPipe:
    """A pipe over a TCP connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.remote = remote_of(stream)

    async def receive(self) -> bytes:
        """Return the next bytes; raises WireClosed at the end."""
        try:
            data = await self._stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WireClosed("connection lost") from error
        if not data:
            raise WireClosed("connection ended")
        return bytes(data)

    async def send(self, data: bytes) -> None:
        """Send all bytes; raises WireClosed."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WireClosed("connection lost") from error

    async def close(self) -> None:
        """Close at once."""
        await trio.aclose_forcefully(self._stream)


class WebSocketPipe:
    """A pipe over the binary messages of a WebSocket."""

    def __init__(
        self, socket: trio_websocket.WebSocketConnection, stream: trio.SocketStream
    ) -> None:
        self._socket = socket
        self._stream = stream
        self.remote = remote_of(stream)

    async def receive(self) -> bytes:
        """Return the next bytes; raises WireClosed at the end, or at a text message."""
        while True:
            try:
                message = await self._socket.get_message()
            except trio_websocket.ConnectionClosed as error:
                raise WireClosed("connection ended") from error
            if isinstance(message, str):
                raise WireClosed("a text message on a binary pipe")
            if message:
                return bytes(message)

    async def send(self, data: bytes) -> None:
        """Send all bytes; raises WireClosed."""
        try:
            await self._socket.send_message(data)
        except trio_websocket.ConnectionClosed as error:
            raise WireClosed("connection lost") from error

    async def close(self) -> None:
        """Close at once: a killed browser answers no closing handshake."""
        await trio.aclose_forcefully(self._stream)


class Reader:
    """Reads of a wanted size over a source of chunks; what a chunk has too much waits here."""

    def __init__(self, source: Callable[[], Awaitable[bytes]]) -> None:
        self._source = source
        self._rest = _NOTHING

    async def some(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes, not copied; raises WireClosed at the end."""
        while not self._rest:
            self._rest = memoryview(await self._source())
        taken, rest = self._rest[:most], self._rest[most:]
        self._rest = rest or _NOTHING  # an empty view would hold its chunk
        return taken

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed if the source ends before."""
        first = await self.some(count)
        if len(first) == count:
            return bytes(first)
        data = bytearray(first)
        while len(data) < count:
            data += await self.some(count - len(data))
        return bytes(data)


def remote_of(stream: trio.SocketStream) -> str:
    """Return the IP address of the other end, "" if it has gone already."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""
