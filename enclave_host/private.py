"""Open data in memory, counted against what the host allows, and wiped after use.

Small shares lie in this process's own memory, larger ones in memory files (cage/memory.py); none
has a path, so nothing is left of them when this process ends, in whatever way.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from enclave_host.cage import memory
from enclave_host.cage.memory import Bytes
from protocol.errors import Misuse, Refused

SMALL: Final = 2 * 2**20
"""Bytes up to which a share has no file of its own: thousands of people would need as many."""


PACK: Final = "share/small"
"""The input in which all small shares lie, one behind the other."""


class Extent(NamedTuple):
    """Where a share's bytes lie: the name of an input, and a part of it."""

    file: str
    start: int
    size: int


@dataclass(slots=True)
class Room:
    """The enclave's memory for open data, with a bound on the bytes in it."""

    capacity: int
    used: int = 0
    spools: set["Spool"] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, size: int) -> None:
        """Count `size` more bytes. Raises Refused (enclave.full)."""
        with self.lock:
            if self.used + size > self.capacity:
                raise Refused("enclave.full", f"{self.capacity} bytes")
            self.used += size

    def give(self, size: int) -> None:
        """Count `size` bytes less."""
        with self.lock:
            self.used -= size

    def spool(self) -> "Spool":
        """Room for one share's plain bytes; none has come yet."""
        made = Spool(self)
        with self.lock:
            self.spools.add(made)
        return made

    def close(self) -> None:
        """Wipe everything."""
        for spool in list(self.spools):
            spool.wipe()


@dataclass(slots=True, eq=False)
class Spool:
    """One share's plain bytes, as far as they arrived."""

    room: Room
    size: int = 0
    small: bytearray = field(default_factory=bytearray)
    file: int | None = None

    def write(self, plain: Bytes) -> None:
        """Add bytes at the end. Raises Refused (enclave.full)."""
        self.room.take(len(plain))
        self.size += len(plain)
        if self.size <= SMALL:
            self.small += plain
            return
        if self.file is None:
            self.file = memory.create(self.small)
            _zero(self.small)
        memory.append(self.file, plain)

    def lend(self, most: int) -> int:
        """A memory file of `most` bytes for a job to write to; `kept` says how many it wrote."""
        self.file = memory.create()
        os.ftruncate(self.file, most)
        return self.file

    def kept(self, size: int) -> None:
        """Keep the first `size` bytes of the file that was lent. Raises Refused (enclave.full)."""
        self.room.take(size)
        self.size = size
        os.ftruncate(self.shown, size)

    @property
    def shown(self) -> int:
        """The descriptor of its file, for a job that reads it."""
        if self.file is None:
            raise Misuse("a small share has no file of its own")
        return self.file

    def wipe(self) -> None:
        """Overwrite and forget it; safe to repeat."""
        _zero(self.small)
        if self.file is not None:
            os.ftruncate(self.file, self.size)  # of what was lent and not kept, nothing is left
            memory.wipe(self.file)
            self.file = None
        self.room.give(self.size)
        self.size = 0
        with self.room.lock:
            self.room.spools.discard(self)


@contextmanager
def shown(spools: Sequence[Spool]) -> Iterator[tuple[dict[str, int], list[Extent]]]:
    """The inputs for a job that reads these shares, and where each lies.

    All small ones go into one file, one by one, and are gone from where they were: so they take
    their memory once. A share is shown once.
    """
    pack = memory.create()
    inputs, extents, end = {PACK: pack}, [], 0
    try:
        for place, spool in enumerate(spools):
            if spool.file is not None:
                inputs[f"share/{place}"] = spool.file
                extents.append(Extent(f"share/{place}", 0, spool.size))
                continue
            extents.append(Extent(PACK, end, spool.size))
            memory.append(pack, spool.small)
            _zero(spool.small)
            end += spool.size
        yield inputs, extents
    finally:
        memory.wipe(pack)


def _zero(content: bytearray) -> None:
    content[:] = bytes(len(content))
    content.clear()
