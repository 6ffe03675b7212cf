"""multistream-select 1.0: agree on the protocol of a connection or stream.

Source: libp2p specs, connections, "multistream-select": varint-prefixed lines that end in a
newline. Lines and proposals are bounded here.
"""

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

_HEADER = "/multistream/1.0.0"
_REFUSED = "na"
_LINE_LIMIT = 1024
_PROPOSALS = 16


class NoAgreement(Exception):
    """The other end speaks no protocol that we offer, or not multistream at all."""


class Exact(Protocol):
    """Where lines are read from."""

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed."""
        ...


Send = Callable[[bytes], Awaitable[None]]


async def propose(reader: Exact, send: Send, protocols: Collection[str]) -> str:
    """Return the first of our protocols that the other end takes; raises NoAgreement."""
    opening = _line(_HEADER)
    for protocol in protocols:
        await send(opening + _line(protocol))
        if opening:
            await _expect_header(reader)
        opening = b""
        answer = await _read_line(reader)
        if answer == protocol:
            return protocol
        if answer != _REFUSED:
            raise NoAgreement("the answer is neither our proposal nor a refusal")
    raise NoAgreement(f"none of {', '.join(protocols)} is offered")


async def accept(reader: Exact, send: Send, offered: Collection[str]) -> str:
    """Return the protocol that the other end proposes and we offer; raises NoAgreement."""
    await send(_line(_HEADER))
    await _expect_header(reader)
    for _ in range(_PROPOSALS):
        proposal = await _read_line(reader)
        if proposal in offered:
            await send(_line(proposal))
            return proposal
        await send(_line(_REFUSED))
    raise NoAgreement(f"{_PROPOSALS} proposals that we do not offer")


async def _expect_header(reader: Exact) -> None:
    if await _read_line(reader) != _HEADER:
        raise NoAgreement("the other end does not speak multistream-select 1.0")


async def _read_line(reader: Exact) -> str:
    size, shift = 0, 0
    while True:
        byte = (await reader.exactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift > 14:
            raise NoAgreement("a line length of more than two bytes")
    if not 0 < size <= _LINE_LIMIT:
        raise NoAgreement(f"a line of {size} bytes; at most {_LINE_LIMIT}")
    line = await reader.exactly(size)
    try:
        return line.removesuffix(b"\n").decode("ascii")
    except UnicodeDecodeError as error:
        raise NoAgreement("a line that is not ASCII") from error


def _line(text: str) -> bytes:
    data = text.encode("ascii") + b"\n"
    size = len(data)
    prefix = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    return prefix + data
