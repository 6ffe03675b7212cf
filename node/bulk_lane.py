"""The bulk lane: one TCP connection that carries the sealed frames of one share.

The Noise stream agrees on it and has the last word; what runs here is sealed already and needs no
second encryption. Both ends prove that they know the lane's key, which never travels here: HMAC
over both nonces, the share and the chunk where it goes on. The listener is bound only while
somebody is expected; a ticket is good once, for one share and a few seconds.
"""

import hmac
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import trio

from node import wire
from node.net.proxy import Connect, direct
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

_NONCE: Final = 32
_MAC: Final = 32

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What both ends know of a lane before it is there."""

    ticket: bytes
    key: bytes
    share: bytes
    chunks: int

    def proof(self, side: str, sender: bytes, receiver: bytes) -> bytes:
        """What `side` ("sender" or "receiver") shows of the key, for these two nonces."""
        words = [b"village/lane/v1", side.encode(), sender, receiver, self.share]
        words.append(self.chunks.to_bytes(8, "big"))
        return hmac.digest(self.key, b"\x00".join(words), sha256)


@dataclass(slots=True)
class Expected:
    """A lane that may come. `offer` is what the sender gets over the Noise stream."""

    terms: Terms
    peer: str
    offer: wire.LaneOffer
    arrived: trio.Event = field(default_factory=trio.Event)
    connection: trio.SocketStream | None = None

    async def wait(self) -> trio.SocketStream:
        """The lane. Raises Refused (share.unfinished) if it does not come."""
        with trio.move_on_after(ARRIVE_TIME):
            await self.arrived.wait()
        if self.connection is None:
            raise Refused("share.unfinished", "the bulk lane did not come")
        return self.connection


class Lanes:
    """The receiving end of all lanes of a node."""

    def __init__(self, host: str | None, port: int = 0) -> None:
        """Listen on `host` while lanes are expected; None: never."""
        self._host = host
        self._port = port
        self._expected: dict[bytes, Expected] = {}
        self._greetings = 0
        self._listeners: list[trio.SocketListener] = []
        self._nursery: trio.Nursery | None = None

    async def run(self) -> None:
        """Serve until cancelled; before and after it no lane is offered."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                self._close_listeners()

    @asynccontextmanager
    async def expect(self, share: bytes, chunks: int, peer: str) -> AsyncIterator[Expected | None]:
        """Expect a lane for as long as the block lasts; None where there can be none."""
        expected = await self._expect(share, chunks, peer)
        try:
            yield expected
        finally:
            if expected is not None:
                self._expected.pop(expected.terms.ticket, None)
                if expected.connection is not None:
                    expected.connection.socket.close()
                if not self._expected:
                    self._close_listeners()

    async def _expect(self, share: bytes, chunks: int, peer: str) -> Expected | None:
        of_one = sum(one.peer == peer for one in self._expected.values())
        full = len(self._expected) >= TICKETS or of_one >= TICKETS_OF_ONE
        if self._host is None or self._nursery is None or full:
            return None
        port = await self._listen()
        if port is None:
            return None
        terms = Terms(
            ticket=secrets.token_bytes(16), key=secrets.token_bytes(32), share=share, chunks=chunks
        )
        offer = wire.LaneOffer(port=port, ticket=terms.ticket, key=terms.key)
        expected = self._expected[terms.ticket] = Expected(terms, peer, offer)
        return expected

    async def _listen(self) -> int | None:
        if not self._listeners and self._nursery is not None:
            try:
                self._listeners = list(await trio.open_tcp_listeners(self._port, host=self._host))
            except OSError as error:
                log.warning("no bulk lane: %s port %s: %s", self._host, self._port, error)
                return None
            for listener in self._listeners:
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
            await trio.aclose_forcefully(connection)
        else:
            expected.connection = connection
            expected.arrived.set()

    async def _prove(self, connection: trio.SocketStream) -> Expected | None:
        head = await read_exactly(connection, 16 + _NONCE)
        ticket, theirs = head[:16], head[16:]
        expected = self._expected.get(ticket)
        if expected is None or expected.connection is not None:
            return None
        del self._expected[ticket]  # a ticket is good once, whatever comes of it
        ours = secrets.token_bytes(_NONCE)
        await connection.send_all(ours + expected.terms.proof("receiver", theirs, ours))
        proof = await read_exactly(connection, _MAC)
        good = hmac.compare_digest(proof, expected.terms.proof("sender", theirs, ours))
        return expected if good else None


@dataclass(frozen=True, slots=True)
class Reach:
    """How a sender comes to a lane: where it may be, and how this node dials."""

    hosts: Sequence[str]
    connect: Connect = direct


NOWHERE: Final = Reach(())


async def dial(reach: Reach, port: int, terms: Terms) -> trio.SocketStream | None:
    """The sender's end of a lane, at the first host that answers and knows the key."""
    for host in reach.hosts:
        with trio.move_on_after(GREET_TIME), suppress(OSError):
            connection = await reach.connect(host, port)
            proven = False
            try:
                proven = await _introduce(connection, terms)
            finally:
                if not proven:
                    await trio.aclose_forcefully(connection)
            if proven:
                return connection
    return None


async def _introduce(connection: trio.SocketStream, terms: Terms) -> bool:
    ours = secrets.token_bytes(_NONCE)
    try:
        await connection.send_all(terms.ticket + ours)
        answer = await read_exactly(connection, _NONCE + _MAC)
        theirs, proof = answer[:_NONCE], answer[_NONCE:]
        if not hmac.compare_digest(proof, terms.proof("receiver", ours, theirs)):
            return False
        await connection.send_all(terms.proof("sender", ours, theirs))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
