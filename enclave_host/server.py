"""The enclave's one door: a unix socket of mode 0600 on which a host asks and the enclave answers.

In a TEE guest the same frames run over vsock. Frames: protocol.enclave_wire.
"""

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.dialogue import T
from protocol.enclave_wire import FRAME_LIMIT, WIRE
from protocol.errors import ProtocolError, Refused

DESCRIPTORS: Final = 2
"""The most that come along with one request."""

CONNECTIONS: Final = 64
"""A host's node needs one for each share that streams in, one for runs and one for heartbeats."""


class Taken(ProtocolError):
    """Another enclave serves this socket."""

    code = "enclave.taken"


@contextmanager
def claim(path: Path) -> Iterator[None]:
    """Hold the lock of the socket at `path`. Raises Taken."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise Taken(f"another enclave serves {path}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What came along with a request; `connection` is the host's own, which ends with the host."""

    came: tuple[int, ...]
    connection: int


NONE: Final = Descriptors((), -1)
"""A request that nothing came along with."""


class Server:
    """Serves until `stop`. The caller holds the socket's lock, so a socket there is a stale one."""

    def __init__(self, path: Path, answer: Callable[[object, Descriptors], object]) -> None:
        """Listen at `path`; `answer` may raise Refused. Descriptors that came along are its to use
        until it returns.
        """
        path.unlink(missing_ok=True)
        self._answer = answer
        self._stopped = threading.Event()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(CONNECTIONS)

    def serve(self) -> None:
        """Accept connections; each has its own thread, which answers one request at a time."""
        while not self._stopped.is_set():
            if not self._slots.acquire(timeout=1.0):
                continue
            try:
                connection, _ = self._listener.accept()
            except OSError:  # stopped
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def stop(self) -> None:
        """Accept nothing more; `serve` returns."""
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _talk(self, connection: socket.socket) -> None:
        try:
            with connection:
                while (received := receive(connection)) is not None:
                    connection.sendall(pack(self._reply(*received, connection.fileno())))
        except (OSError, Refused):
            return  # the host went away, or does not speak frames: it comes back if it wants
        finally:
            self._slots.release()

    def _reply(self, frame: bytes, came: tuple[int, ...], connection: int) -> bytes:
        try:
            request = WIRE.read_request(frame)
            return WIRE.pack_answer(self._answer(request, Descriptors(came, connection)))
        except Refused as refused:
            return WIRE.pack_refusal(refused)
        finally:
            for descriptor in came:
                os.close(descriptor)


def pack(frame: bytes) -> bytes:
    """A frame body with its length before it."""
    return len(frame).to_bytes(4, "big") + frame


def receive(connection: socket.socket) -> tuple[bytes, tuple[int, ...]] | None:
    """The next frame body and the descriptors that came along, or None at the end.

    Raises Refused (codec.too-large, enclave.frame).
    """
    head, came, _, _ = socket.recv_fds(connection, 4, DESCRIPTORS)
    try:
        if not head:
            return None
        head += _exactly(connection, 4 - len(head))
        size = int.from_bytes(head, "big")
        if size > FRAME_LIMIT:
            raise Refused("codec.too-large", f"a frame of {size} bytes")
        return _exactly(connection, size), tuple(came)
    except BaseException:
        for descriptor in came:
            os.close(descriptor)
        raise


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray(size)
    view = memoryview(found)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise Refused("enclave.frame", "cut off")
        view = view[count:]
    return bytes(found)


def read_frame(read: Callable[[int], bytes]) -> bytes | None:
    """The next frame body, or None at the end. Raises Refused (codec.too-large, enclave.frame)."""
    head = read(4)
    if not head:
        return None
    size = int.from_bytes(head, "big")
    if size > FRAME_LIMIT:
        raise Refused("codec.too-large", f"a frame of {size} bytes")
    body = read(size)
    if len(head) < 4 or len(body) < size:
        raise Refused("enclave.frame", "cut off")
    return body


class Client:
    """A connection to an enclave, for tools on its own machine."""

    def __init__(self, path: Path) -> None:
        """Connect. Raises OSError."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._stream = self._socket.makefile("rb")

    def ask(self, request: object, document: type[T]) -> T:
        """The answer to a request. Raises Refused with the enclave's code."""
        self._socket.sendall(pack(WIRE.pack_request(request)))
        frame = read_frame(self._stream.read)
        if frame is None:
            raise Refused("enclave.frame", "the enclave closed the connection")
        return WIRE.read_answer(frame, document)

    def close(self) -> None:
        """Hang up."""
        self._stream.close()
        self._socket.close()
