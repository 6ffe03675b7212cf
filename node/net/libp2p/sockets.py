"""Dial and listen: TCP, and WebSocket for browsers."""

from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit

import trio
import trio_websocket

from node.net.address import Address
from node.net.libp2p.wire import Pipe, TcpPipe, WebSocketPipe, remote_of
from node.net.proxy import Connect
from node.net.transport import Unreachable

OnSocket = Callable[[trio.SocketStream, bool], Awaitable[None]]
"""Takes an accepted TCP connection, and whether WebSocket is spoken on it; raises nothing."""

_MESSAGE_LIMIT = 1024 * 1024
_ERRORS = (OSError, trio.BrokenResourceError, trio_websocket.HandshakeError)


async def dial(address: Address, tasks: trio.Nursery, connect: Connect) -> Pipe:
    """Return a pipe to an address; raises Unreachable. The caller bounds the time."""
    try:
        stream = await connect(address.host, address.port)
        pipe: Pipe = TcpPipe(stream)
        if address.websocket:
            pipe = await _websocket(address, stream, tasks)
        pipe.remote = address.host  # the socket may end at a proxy
        return pipe
    except (*_ERRORS, trio_websocket.ConnectionClosed) as error:
        raise Unreachable(f"nobody answers at {address}: {error}") from error


async def _websocket(address: Address, stream: trio.SocketStream, tasks: trio.Nursery) -> Pipe:
    connected = False
    try:
        socket = await trio_websocket.wrap_client_stream(
            tasks, stream, f"{address.host}:{address.port}", "/", max_message_size=_MESSAGE_LIMIT
        )
        connected = True
        return WebSocketPipe(socket, stream)
    finally:
        if not connected:
            await trio.aclose_forcefully(stream)


async def listen(address: Address, on_socket: OnSocket, tasks: trio.Nursery) -> Address:
    """Listen in `tasks` and return the address with its real port; raises Unreachable.

    The port is not shared (no SO_REUSEPORT): a second daemon on it fails to start, loudly.
    """

    async def accepted(stream: trio.SocketStream) -> None:
        await on_socket(stream, address.websocket)

    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        raise Unreachable(f"cannot listen at {address}: {error}") from error
    tasks.start_soon(trio.serve_listeners, accepted, listeners)
    port = int(listeners[0].socket.getsockname()[1])
    return Address(address.kind, address.host, port, address.websocket)


async def upgrade_to_websocket(
    stream: trio.SocketStream, origins: Collection[str], tasks: trio.Nursery
) -> Pipe:
    """Return the pipe over an accepted WebSocket; raises Unreachable. The caller bounds the time.

    A web page of any origin can reach a loopback port, so only pages of `origins` may; programs
    that are no browser send no Origin.
    """
    remote = remote_of(stream)
    try:
        request = await trio_websocket.wrap_server_stream(tasks, stream)
        if not _is_welcome(request, origins):
            await request.reject(403)
            raise Unreachable(f"a web page of a foreign origin, from {remote}")
        return WebSocketPipe(await request.accept(), stream)
    except (*_ERRORS, trio_websocket.ConnectionClosed) as error:
        raise Unreachable(f"no WebSocket handshake from {remote}: {error}") from error


def _is_welcome(request: trio_websocket.WebSocketRequest, origins: Collection[str]) -> bool:
    named = [value.decode("latin-1") for key, value in request.headers if key.lower() == b"origin"]
    return not named or (len(named) == 1 and _origin(named[0]) in {_origin(o) for o in origins})


def _origin(text: str) -> tuple[str, str]:
    parts = urlsplit(text)
    return parts.scheme.lower(), parts.netloc.lower()
