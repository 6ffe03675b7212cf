"""TCP connections to others: dialled directly, or through an HTTP proxy (CONNECT, RFC 9110 §9.3.6).

The proxy sees addresses and sealed bytes, never content: what runs inside is Noise, or frames that
are sealed already. Where a proxy is configured nothing is dialled around it.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import h11
import trio

Connect = Callable[[str, int], Awaitable[trio.SocketStream]]
"""A TCP connection to a host and port. Raises OSError, also for what a proxy refuses. The caller
bounds the time."""

ANSWER: Final = 16 * 1024
"""Bytes of the proxy's answer, all headers."""


class ProxyRefused(OSError):
    """The proxy let nothing through; the text names the proxy and its answer."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `login` is "user:password" for Basic (RFC 7617), if it asks for one."""

    host: str
    port: int
    login: str | None = field(default=None, repr=False)


async def direct(host: str, port: int) -> trio.SocketStream:
    """Dial without a proxy."""
    return await trio.open_tcp_stream(host, port)


def connect_by(proxy: Proxy | None) -> Connect:
    """How this node dials."""
    return direct if proxy is None else partial(through, proxy)


async def through(proxy: Proxy, host: str, port: int) -> trio.SocketStream:
    """Dial through the proxy. Raises OSError (ProxyRefused)."""
    stream = await trio.open_tcp_stream(proxy.host, proxy.port)
    opened = False
    try:
        await _ask(stream, proxy, host, port)
        opened = True
        return stream
    except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
        raise ProxyRefused(f"the proxy {proxy.host}:{proxy.port} is no HTTP proxy") from error
    finally:
        if not opened:
            await trio.aclose_forcefully(stream)


async def _ask(stream: trio.SocketStream, proxy: Proxy, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", target)]
    if proxy.login is not None:
        basic = base64.b64encode(proxy.login.encode()).decode()
        headers.append(("Proxy-Authorization", f"Basic {basic}"))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER)
    request = http.send(h11.Request(method="CONNECT", target=target, headers=headers))
    await stream.send_all(request or b"")
    while True:
        answer = http.next_event()
        if answer is h11.NEED_DATA:
            # Byte by byte: what follows the answer belongs to who waits at the other end.
            http.receive_data(await stream.receive_some(1))
        elif not isinstance(answer, h11.InformationalResponse):
            break
    if not isinstance(answer, h11.Response) or not 200 <= answer.status_code < 300:
        status = answer.status_code if isinstance(answer, h11.Response) else "nothing"
        raise ProxyRefused(f"the proxy {proxy.host}:{proxy.port} answers {status} to {target}")
