"""One question, one answer over a stream, and the server side of it."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from node.net.transport import Stream, StreamTask, Transport
from node.store import StoreFault
from protocol.dialogue import Dialogue
from protocol.errors import ProtocolError, Refused

T = TypeVar("T")

ANSWER_TIME = 20.0
"""Seconds that an ordinary answer may take; long work has its own bound."""

log = logging.getLogger("village.talk")

Answer = Callable[[Any, str], Awaitable[object]]
"""Answers a request of a peer (PeerId); raises Refused to say no."""


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
        stream = await transport.open(peer, protocol)
        try:
            await stream.send(wire.pack_request(request))
            return wire.read_answer(await stream.receive(), answer)
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await stream.close()


def serve(wire: Dialogue, answer: Answer) -> StreamTask:
    """A stream task that answers each request of the stream in turn, until the peer ends it."""

    async def task(stream: Stream) -> None:
        while True:
            try:
                frame = await stream.receive()
            except ProtocolError:
                return
            await stream.send(await _answer_one(wire, answer, frame, stream.peer))

    return task


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
