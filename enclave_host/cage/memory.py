"""Memory files: open data with no path, which the kernel frees when the last process ends.

A memory file (memfd_create(2)) is reached by its descriptor alone, so a kill -9 leaves nothing of a
run in any directory. Where the machine swaps, its pages may be swapped: `village-enclave doctor`
says so. What a TEE adds: here the machine's operator can read its memory; in a confidential VM the
processor encrypts it.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

Bytes = bytes | bytearray | memoryview

ZEROS: Final = bytes(1 << 20)
READ_ONLY: Final = 0o400  # of the enclave's user: nobody opens it again to write
AFTER_STANDARD: Final = 3  # descriptors 0 to 2 mean something to a process that is started


def create(content: Bytes = b"") -> int:
    """A new memory file that holds `content`; its descriptor is the caller's to `wipe`."""
    descriptor = os.memfd_create("datacage")
    os.fchmod(descriptor, READ_ONLY)
    append(descriptor, content)
    return descriptor


def append(descriptor: int, content: Bytes) -> None:
    """Write all of `content` at the file's position: at its end, for who only appends."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def reader(descriptor: int) -> int:
    """Another descriptor of the file that can only read, with a position of its own.

    The caller closes it. What was opened to read cannot be mapped to write (mmap(2), EACCES).
    """
    opened = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    try:
        return fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, AFTER_STANDARD)
    finally:
        os.close(opened)


def wipe(descriptor: int) -> None:
    """Overwrite the file with zeros, also for who still reads it, and close the descriptor."""
    try:
        left = os.lseek(descriptor, 0, os.SEEK_END)
        os.lseek(descriptor, 0, os.SEEK_SET)
        while left > 0:
            left -= os.write(descriptor, ZEROS[:left])
    finally:
        os.close(descriptor)


@contextmanager
def files(contents: Mapping[str, Bytes]) -> Iterator[dict[str, int]]:
    """Memory files by name, wiped at the end."""
    made: dict[str, int] = {}
    try:
        for name, content in contents.items():
            made[name] = create(content)
        yield made
    finally:
        for descriptor in made.values():
            wipe(descriptor)
