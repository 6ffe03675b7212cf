"""The node's way to the enclave behind it: frames of protocol.enclave_wire on a unix socket.

Connections are kept and used again. One that broke while it lay idle is replaced once: the enclave
started anew, and a new enclave has not seen the question.
"""

import socket
from array import array
from pathlib import Path
from typing import Final, TypeVar

import trio

from node.net.transport import TransportError
from protocol.enclave_wire import FRAME_LIMIT, WIRE

T = TypeVar("T")

ANSWER_TIME: Final = 60.0
"""Seconds for an ordinary answer; the caller of slow requests names its own."""

ASKING: Final = 48
"""Requests under way at once; the enclave serves 64 connections."""

IDLE: Final = 8
"""Connections kept for the next request."""

_READ: Final = 256 * 1024


class EnclaveUnreachable(TransportError):
    """The enclave does not answer: it is not running, or it is overloaded."""

    code = "enclave.unreachable"


class EnclaveLink:
    """Asks the enclave at a socket."""

    one_kernel: Final = True
    """A unix socket takes descriptors along."""

    def __init__(self, path: Path) -> None:
        """Nothing is connected before the first question."""
        self._socket = path
        self._idle: list[trio.SocketStream] = []
        self._slots = trio.Semaphore(ASKING)

    async def ask(
        self,
        request: object,
        answer: type[T],
        *,
        seconds: float = ANSWER_TIME,
        descriptors: tuple[int, ...] = (),
    ) -> T:
        """The enclave's answer to one request; `descriptors` go along with it.

        Raises Refused (its own), EnclaveUnreachable.
        """
        frame = WIRE.pack_request(request)
        try:
            with trio.fail_after(seconds):
                async with self._slots:
                    reply = await self._exchange(frame, descriptors)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise EnclaveUnreachable(f"the enclave at {self._socket.name} is not there") from error
        except trio.TooSlowError as error:
            raise EnclaveUnreachable(f"the enclave did not answer within {seconds:g} s") from error
        return WIRE.read_answer(reply, answer)

    async def close(self) -> None:
        """Hang up."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _exchange(self, frame: bytes, descriptors: tuple[int, ...]) -> bytes:
        if self._idle:
            try:
                return await self._talk(self._idle.pop(), frame, descriptors)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self.close()  # the others are as old
        stream = await trio.open_unix_socket(str(self._socket))
        return await self._talk(stream, frame, descriptors)

    async def _talk(
        self, stream: trio.SocketStream, frame: bytes, descriptors: tuple[int, ...]
    ) -> bytes:
        kept = False
        try:
            await _send_head(stream, len(frame).to_bytes(4, "big"), descriptors)
            await stream.send_all(frame)
            size = int.from_bytes(await _read(stream, 4), "big")
            if size > FRAME_LIMIT:
                raise EnclaveUnreachable(f"the enclave answers with {size} bytes")
            reply = await _read(stream, size)
            kept = len(self._idle) < IDLE
        finally:
            if kept:
                self._idle.append(stream)
            else:
                await trio.aclose_forcefully(stream)
        return reply


async def _send_head(stream: trio.SocketStream, head: bytes, descriptors: tuple[int, ...]) -> None:
    """The length of a frame; descriptors travel with its first byte."""
    if descriptors:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors).tobytes())
        sent = await stream.socket.sendmsg([head], [rights])
        head = head[sent:]
    await stream.send_all(head)


async def _read(stream: trio.SocketStream, size: int) -> bytes:
    """Exactly `size` bytes. Raises trio.BrokenResourceError at the end of the stream."""
    found = bytearray()
    while len(found) < size:
        data = await stream.receive_some(min(size - len(found), _READ))
        if not data:
            raise trio.BrokenResourceError("cut off")
        found += data
    return bytes(found)
