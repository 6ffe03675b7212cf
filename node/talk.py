"""One question, one answer over a stream, and the server side of it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from node.door import Door
from node.net.transport import Stream, StreamTask, Transport, TransportError
from node.store import StoreFault
from protocol.dialogue import Dialogue
from protocol.errors import ProtocolError, Refused

T = TypeVar("T")

ANSWER_TIME = 20.0
"""Seconds that an ordinary answer may take; long work has its own bound."""

log = logging.getLogger("village.talk")

Answer = Callable[[Any, str], Awaitable[object]]
"""Answers a request of a peer (PeerId); raises Refused to say no."""


@asynccontextmanager
async def conversation(
    transport: Transport, peer: str, protocol: str, wire: Dialogue
) -> AsyncIterator["Conversation"]:
    """Several questions on one stream. Raises TransportError."""
    stream = await transport.open(peer, protocol)
    try:
        yield Conversation(stream, wire)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await stream.close()


@dataclass(frozen=True, slots=True)
class Conversation:
    """An open stream, and what may be asked on it."""

    stream: Stream
    wire: Dialogue

    async def ask(self, request: object, answer: type[T], *, seconds: float = ANSWER_TIME) -> T:
        """Ask the next question. Raises Refused, TransportError, trio.TooSlowError."""
        with trio.fail_after(seconds):
            await self.stream.send(self.wire.pack_request(request))
            return self.wire.read_answer(await self.stream.receive(), answer)


async def ask(
    transport: Transport,
    peer: str,
    protocol: str,
    wire: Dialogue,
    request: object,
    answer: type[T],
    *,
    seconds: float = ANSWER_TIME,
) -> T:
    """Ask `peer` one question. Raises Refused (its own too), TransportError, trio.TooSlowError."""
    with trio.fail_after(seconds):
        async with conversation(transport, peer, protocol, wire) as talk:
            return await talk.ask(request, answer, seconds=seconds)


async def ask_first(
    transport: Transport,
    peers: Iterable[str],
    protocol: str,
    wire: Dialogue,
    request: object,
    answer: type[T],
    *,
    about: str,
    seconds: float = ANSWER_TIME,
) -> T | None:
    """Ask the nodes of one participant in turn: the first answer, or None if none gave one. The log
    says why each did not, and what it was `about`.
    """
    for peer in peers:
        try:
            return await ask(transport, peer, protocol, wire, request, answer, seconds=seconds)
        except (TransportError, Refused, trio.TooSlowError) as error:
            log.info("%s to %s: %r", about, peer, error)
    return None


def serve(wire: Dialogue, answer: Answer, door: Door) -> StreamTask:
    """A stream task that answers each request of the stream in turn, until the peer ends it.

    The door slows down who asks too much, then says no (door.busy): a flood of one peer is its own.
    """

    async def task(stream: Stream) -> None:
        try:
            with door.stream(stream.peer):
                await _answer_all(wire, answer, door, stream)
        except Refused as error:
            await stream.send(wire.pack_refusal(error))

    return task


async def _answer_all(wire: Dialogue, answer: Answer, door: Door, stream: Stream) -> None:
    while True:
        try:
            frame = await stream.receive()
        except ProtocolError:
            return
        await door.request(stream.peer, len(frame))
        await stream.send(await _answer_one(wire, answer, frame, stream.peer))


async def _answer_one(wire: Dialogue, answer: Answer, frame: bytes, peer: str) -> bytes:
    try:
        return wire.pack_answer(await answer(wire.read_request(frame), peer))
    except Refused as error:
        log.info("refused %s to %s: %s", error.code, peer, error.detail)
        return wire.pack_refusal(error)
    except StoreFault:
        raise  # nothing may be promised any more: the daemon ends
    except ProtocolError as error:
        # A full store, an enclave that is away: an answer, not the end of the stream.
        log.warning("no answer to %s: %s", peer, error)
        return wire.pack_refusal(Refused("session.unable", error.code))
