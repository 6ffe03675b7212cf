"""Open data in memory: a directory on a memory file system, wiped after use, never on a disk.

What a TEE adds: here the memory belongs to the machine's operator, who can read it. In a
confidential VM the same directory lies in memory that the processor encrypts, and the operator
reads noise.
"""

import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from enclave_host.cage import launcher
from protocol.errors import ProtocolError, Refused

MEMORY_FILE_SYSTEMS: Final = {"tmpfs", "ramfs"}
ZEROS: Final = bytes(1 << 20)


class NotPrivate(ProtocolError):
    """The directory for open data is not in memory, or not ours alone."""

    code = "enclave.private"


@dataclass(slots=True)
class Room:
    """The enclave's directory for open data, with a bound on the bytes in it."""

    path: Path
    capacity: int
    used: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path, capacity: int) -> "Room":
        """An empty room at `path`; what a killed enclave left there is wiped.

        The caller holds the lock of the enclave's socket, so nobody else uses the path. Raises
        NotPrivate.
        """
        _require_memory(path.parent)
        if path.is_symlink() or (path.exists() and path.stat().st_uid != os.geteuid()):
            raise NotPrivate(f"{path} belongs to somebody else: remove it")
        path.mkdir(mode=0o700, exist_ok=True)
        room = cls(path, capacity)
        room.clear()
        # As root, the datacage's own user must be able to pass through to a stage inside.
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
        return room

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
        """A new, empty file for one share's plain bytes."""
        return Spool(self, self.path / secrets.token_hex(16))

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """A directory that one run of the datacage may read; wiped at the end."""
        with launcher.stage(self.path) as folder:
            try:
                yield folder
            finally:
                wipe(folder)

    def clear(self) -> None:
        """Wipe everything."""
        wipe(self.path)
        for left in self.path.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        """Wipe everything and remove the room."""
        self.clear()
        shutil.rmtree(self.path, ignore_errors=True)  # a thread may be at work until we exit


@dataclass(slots=True)
class Spool:
    """One share's plain bytes, as far as they arrived."""

    room: Room
    path: Path
    size: int = 0

    def write(self, plain: bytes | memoryview) -> None:
        """Add bytes at the end. Raises Refused (enclave.full)."""
        self.room.take(len(plain))
        self.size += len(plain)
        with open(os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
            file.write(plain)

    def show(self, place: Path) -> None:
        """Let the datacage read it at `place` too; both are one file."""
        self.path.touch()
        os.link(self.path, place)
        place.chmod(0o644)  # the path to it is open to the datacage's user only

    def wipe(self) -> None:
        """Overwrite and remove it; safe to repeat."""
        if self.path.exists():
            _overwrite(self.path)
        self.room.give(self.size)
        self.size = 0


def wipe(folder: Path) -> None:
    """Overwrite with zeros and remove every file below `folder`."""
    for place, _, names in os.walk(folder):
        for name in names:
            _overwrite(Path(place) / name)


def _overwrite(path: Path) -> None:
    if not path.is_symlink():
        with suppress(FileNotFoundError), path.open("r+b") as file:  # a sandbox that just ended
            left = file.seek(0, os.SEEK_END)
            file.seek(0)
            while left > 0:
                left -= file.write(ZEROS[:left])
    path.unlink(missing_ok=True)


def _require_memory(folder: Path) -> None:
    """Refuse a directory whose file system is on a disk."""
    found = ("", "unknown")
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        left, _, right = line.partition(" - ")
        mount, kind = left.split()[4], right.split()[0]
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(found[0]):
            found = (mount, kind)
    if found[1] not in MEMORY_FILE_SYSTEMS:
        raise NotPrivate(f"{folder} is on {found[1]}, not in memory: use a directory on tmpfs")
