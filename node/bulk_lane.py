"""The bulk lane: one TCP connection that carries the sealed frames of one share.

The Noise stream agrees on it and has the last word (node/share_way.py); what runs here is sealed
already and needs no second encryption. Whoever has a port listens, the other dials. Both prove that
they know the lane's key, which never travels here: HMAC over both nonces, the share and the chunk
where it goes on. The listener is bound only while somebody is expected; a ticket is good once, for
one share and a few seconds. Who dials says nothing that the other side chose.
"""

import hmac
import ipaddress
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import trio

from node import wire
from node.net.address import parse
from node.net.proxy import Connect
from node.net.transport import TransportError
from protocol.errors import Refused

TICKETS: Final = 32
"""Lanes expected at once."""

TICKETS_OF_ONE: Final = 4
"""Of these, by one peer."""

GREETINGS: Final = 64
"""Connections that have not proven anything yet."""

GREET_TIME: Final = 5.0
"""Seconds for a connection to prove itself, and for a dial."""

ARRIVE_TIME: Final = 15.0
"""Seconds from the ticket to the lane."""

HOSTS: Final = 4
"""Hosts at which one lane is tried, one after the other."""

_LABEL: Final = b"village/lane/v1"
_TICKET: Final = 16
_NONCE: Final = 32
_MAC: Final = 32

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What both ends know of a lane before it is there; `reverse` where the sender listens."""

    ticket: bytes
    key: bytes
    share: bytes
    chunks: int
    reverse: bool = False

    @property
    def shown(self) -> bytes:
        """What the dialling side shows of the ticket: not the bytes that the other side drew."""
        return sha256(_LABEL + b"\x00ticket\x00" + self.ticket).digest()[:_TICKET]

    def proof(self, *, listens: bool, dialler: bytes, listener: bytes) -> bytes:
        """What the side that listens, or the other, shows of the key, for these two nonces."""
        side = b"sender" if listens == self.reverse else b"receiver"
        words = [_LABEL, side, dialler, listener, self.share, self.chunks.to_bytes(8, "big")]
        return hmac.digest(self.key, b"\x00".join(words), sha256)


@dataclass(slots=True)
class Expected:
    """A lane that may come. `offer` is what the other side gets over the Noise stream."""

    terms: Terms
    peer: str
    offer: wire.LaneOffer
    arrived: trio.Event = field(default_factory=trio.Event)
    connection: trio.SocketStream | None = None
    over: bool = False

    def take(self, connection: trio.SocketStream) -> None:
        """The lane is here; nobody may be waiting for it any more."""
        if self.over:
            connection.socket.close()
            return
        self.connection = connection
        self.arrived.set()

    def end(self) -> None:
        """Close the lane, also one that is still proving itself."""
        self.over = True
        if self.connection is not None:
            self.connection.socket.close()

    async def wait(self) -> trio.SocketStream:
        """The lane. Raises Refused (share.unfinished) if it does not come."""
        with trio.move_on_after(ARRIVE_TIME):
            await self.arrived.wait()
        if self.connection is None:
            raise Refused("share.unfinished", "the bulk lane did not come")
        return self.connection


class Lanes:
    """All lanes of a node: those that come to its port, and those that it dials."""

    def __init__(
        self, host: str | None = None, port: int = 0, connect: Connect | None = None
    ) -> None:
        """Listen on `host` while lanes are expected (None: never); dial by `connect` (None: never).

        Without both this node takes no lane, whoever offers one.
        """
        self._host = host
        self._port = port
        self._connect = connect
        self._expected: dict[bytes, Expected] = {}
        self._greetings = 0
        self._listeners: list[trio.SocketListener] = []
        self._nursery: trio.Nursery | None = None

    @property
    def dials(self) -> bool:
        """Whether this node comes to the lanes of others."""
        return self._connect is not None

    async def run(self) -> None:
        """Serve until cancelled; before and after it no lane is offered."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._close_listeners()

    # --- lanes that come --------------------------------------------------------------------------

    @asynccontextmanager
    async def expect(
        self, share: bytes, chunks: int, peer: str, *, reverse: bool = False
    ) -> AsyncIterator[Expected | None]:
        """Expect a lane for as long as the block lasts; None where there can be none."""
        expected = await self._expect(share, chunks, peer, reverse)
        try:
            yield expected
        finally:
            if expected is not None:
                self.forget(expected)
                expected.end()

    def forget(self, expected: Expected) -> None:
        """Expect a lane no longer; one that came stays."""
        self._expected.pop(expected.terms.shown, None)
        if not self._expected:
            self._close_listeners()

    async def _expect(self, share: bytes, chunks: int, peer: str, reverse: bool) -> Expected | None:
        of_one = sum(one.peer == peer for one in self._expected.values())
        full = len(self._expected) >= TICKETS or of_one >= TICKETS_OF_ONE
        if self._host is None or self._nursery is None or full:
            return None
        port = await self._listen()
        if port is None:
            return None
        ticket, key = secrets.token_bytes(_TICKET), secrets.token_bytes(32)
        terms = Terms(ticket=ticket, key=key, share=share, chunks=chunks, reverse=reverse)
        offer = wire.LaneOffer(port=port, ticket=ticket, key=key)
        expected = self._expected[terms.shown] = Expected(terms, peer, offer)
        return expected

    async def _listen(self) -> int | None:
        if not self._listeners and self._nursery is not None:
            try:
                listeners = await trio.open_tcp_listeners(self._port, host=self._host)
            except OSError as error:
                log.warning("no bulk lane: %s port %s: %s", self._host, self._port, error)
                return None
            self._listeners += listeners
            for listener in listeners:
                self._nursery.start_soon(self._accept, listener, self._nursery)
        return int(self._listeners[0].socket.getsockname()[1])

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                connection = await listener.accept()
            except trio.ClosedResourceError:
                return  # nobody is expected any more
            except OSError:
                await trio.sleep(0.1)  # no descriptor is free
                continue
            nursery.start_soon(self._greet, connection)

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().socket.close()

    async def _greet(self, connection: trio.SocketStream) -> None:
        """Hear who it is. A stranger costs one slot for a few seconds."""
        if self._greetings >= GREETINGS:
            await trio.aclose_forcefully(connection)
            return
        self._greetings += 1
        expected = None
        try:
            with trio.move_on_after(GREET_TIME):
                expected = await self._prove(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            expected = None
        finally:
            self._greetings -= 1
            if expected is None:
                connection.socket.close()
        if expected is not None:
            expected.take(connection)

    async def _prove(self, connection: trio.SocketStream) -> Expected | None:
        head = await read_exactly(connection, _TICKET + _NONCE)
        shown, theirs = head[:_TICKET], head[_TICKET:]
        expected = self._expected.get(shown)
        if expected is None:
            return None
        self.forget(expected)  # a ticket is good once, whatever comes of it
        ours, terms = secrets.token_bytes(_NONCE), expected.terms
        await connection.send_all(ours + terms.proof(listens=True, dialler=theirs, listener=ours))
        proof = await read_exactly(connection, _MAC)
        wanted = terms.proof(listens=False, dialler=theirs, listener=ours)
        return expected if hmac.compare_digest(proof, wanted) else None

    # --- lanes that this node dials ---------------------------------------------------------------

    async def dial(self, hosts: Sequence[str], port: int, terms: Terms) -> trio.SocketStream | None:
        """Come to a lane, at the first host that answers and knows the key."""
        for host in hosts[:HOSTS] if 0 < port < 2**16 else ():
            # No name of a host: idna says so by ValueError.
            with trio.move_on_after(GREET_TIME), suppress(OSError, ValueError):
                connection = await self._reach(host, port, terms)
                if connection is not None:
                    return connection
        return None

    async def _reach(self, host: str, port: int, terms: Terms) -> trio.SocketStream | None:
        if self._connect is None:
            return None
        connection = await self._connect(host, port)
        proven = False
        try:
            proven = await _introduce(connection, terms)
        finally:
            if not proven:
                await trio.aclose_forcefully(connection)
        return connection if proven else None


def dialable(addresses: Iterable[str], reached: str) -> list[str]:
    """The hosts at which a lane of a peer may be dialled: the one at which it was `reached`, whose
    other end proved to be that peer, and those of the addresses in its own signed record.

    A record must not turn this node against its own machine: what is local there is left out,
    unless the peer itself is there.
    """
    hosts = [reached] if reached else []
    for text in addresses:
        with suppress(TransportError):
            host = parse(text).host
            if _is_local(reached) or not _is_local(host):
                hosts.append(host)
    return list(dict.fromkeys(hosts))


def _is_local(host: str) -> bool:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host.rstrip(".").lower().rpartition(".")[2] == "localhost"
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast


async def _introduce(connection: trio.SocketStream, terms: Terms) -> bool:
    ours = secrets.token_bytes(_NONCE)
    try:
        await connection.send_all(terms.shown + ours)
        answer = await read_exactly(connection, _NONCE + _MAC)
        theirs, proof = answer[:_NONCE], answer[_NONCE:]
        wanted = terms.proof(listens=True, dialler=ours, listener=theirs)
        if not hmac.compare_digest(proof, wanted):
            return False
        await connection.send_all(terms.proof(listens=False, dialler=ours, listener=theirs))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


async def read_exactly(connection: trio.SocketStream, size: int) -> bytes:
    """Exactly `size` bytes. Raises trio.BrokenResourceError at the end of the stream."""
    found = bytearray()
    while len(found) < size:
        data = await connection.receive_some(size - len(found))
        if not data:
            raise trio.BrokenResourceError("cut off")
        found += data
    return bytes(found)
