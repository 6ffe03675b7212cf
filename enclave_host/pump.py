"""Frames of a share from a descriptor: read, verified, handed on, and only then written back.

The host passes a socket or a file, and a file for the ciphertext; where it cannot (in a TEE guest
the kernel is another one) it sends frame by frame. Works on any descriptor, one thread each.
"""

import errno
import os
import select
from typing import Final

from enclave_host.shares import Intake
from protocol import limits
from protocol.errors import Refused

HEAD: Final = 4
"""Bytes of a frame's length."""


class HostGone(Exception):
    """The host's connection ended while its descriptors were in use."""


class Pump:
    """Moves the frames of one share."""

    def __init__(
        self, intake: Intake, source: int, store: int | None, room: int, host: int
    ) -> None:
        """`room` bytes may be written to `store`; `host` is watched for its end."""
        self._intake = intake
        self._source = source
        self._store = store
        self._room = room
        self._host = host
        self._buffer = memoryview(bytearray(HEAD + limits.FRAME))

    def run(self) -> None:
        """Move frames until the final one, or the end of the source.

        Raises Refused (share.chunk, ...) at the first bad frame, of which nothing is written, and
        (share.full) when the store takes no more.
        """
        while not self._intake.opener.finished:
            frame = self._next()
            if frame is None:
                return
            self._intake.feed(frame[HEAD:])
            self._keep(frame)

    def _next(self) -> memoryview | None:
        """The next frame behind its length; None where the source ends, also within a frame."""
        if not self._fill(0, HEAD):
            return None
        size = int.from_bytes(self._buffer[:HEAD], "big")
        if not 0 < size <= limits.FRAME:
            raise Refused("share.chunk", f"a frame of {size} bytes")
        return self._buffer[: HEAD + size] if self._fill(HEAD, HEAD + size) else None

    def _fill(self, start: int, end: int) -> bool:
        while start < end:
            try:
                count = os.readv(self._source, [self._buffer[start:end]])
            except BlockingIOError:
                self._wait(self._source, select.POLLIN)
                continue
            except ConnectionError:
                return False
            if not count:
                return False
            start += count
        return True

    def _keep(self, frame: memoryview) -> None:
        if self._store is None:
            return
        self._room -= len(frame)
        if self._room < 0:
            raise Refused("share.full", "the host has no more room")
        while frame:
            try:
                frame = frame[os.write(self._store, frame) :]
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise Refused("share.full", "the host's disk is full") from error

    def _wait(self, descriptor: int, events: int) -> None:
        poll = select.poll()
        poll.register(descriptor, events)
        poll.register(self._host, select.POLLHUP | select.POLLRDHUP)
        if any(found == self._host for found, _ in poll.poll()):
            raise HostGone
