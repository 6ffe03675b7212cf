"""Looking for people's rows where none may be: files, memory file systems, and process memory.

Needles: the id of any person of the study, whole CSV lines, and three neighbouring values of a
hospital's column `time` as Arrow holds them (64-bit integers, little-endian).
"""

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from node.demo.cast import Cast, to_csv

CHUNK = 16 * 1024 * 1024
OVERLAP = 256
PAGE = 4096
PERSON = re.compile(rb"row-[0-9]{3}")
LINE = re.compile(rb",([0-9]{0,2},[0-9]{1,4},[01],[0-9]{2},[12],[0-4]?)\n")
"""What follows the person in a CSV line."""


class Needles:
    """What to look for."""

    def __init__(self, cast: Cast) -> None:
        self.persons = {row.person.encode() for row in cast.rows()}
        self.arrays: dict[bytes, str] = {}
        for name, rows in cast.hospitals.items():
            for start in (0, 10, 20, 30):
                times = [row.time for row in rows[start : start + 3]]
                self.arrays[struct.pack("<3q", *times)] = f"times of hospital {name}"
        # Without the person: a row from which only the id was taken would be a row all the same.
        lines = to_csv(cast.rows()).splitlines()[1:]
        self.lines = {line.partition(",")[2].encode() for line in lines}

    def in_bytes(self, data: bytes) -> Iterator[str]:
        """What is found in `data`."""
        for found in set(PERSON.findall(data)) & self.persons:
            yield f"person {found.decode()}"
        for array, what in self.arrays.items():
            if array in data:
                yield what
        for line in set(LINE.findall(data)) & self.lines:
            yield f"line {line.decode()}"


def in_file(path: Path, needles: Needles) -> set[str]:
    """What is found in one file."""
    found: set[str] = set()
    with path.open("rb") as file:
        tail = b""
        while data := file.read(CHUNK):
            found.update(needles.in_bytes(tail + data))
            tail = data[-OVERLAP:]
    return found


def in_folder(folder: Path, needles: Needles) -> set[str]:
    """What is found in the files of a folder; a file that vanishes meanwhile is gone."""
    found: set[str] = set()
    for path in (Path(here) / name for here, _, names in os.walk(folder) for name in names):
        try:
            if path.is_file() and not path.is_symlink():
                found |= {f"{path.name}: {one}" for one in in_file(path, needles)}
        except FileNotFoundError:
            continue
    return found


def in_memory(pid: int, needles: Needles) -> tuple[int, set[str]]:
    """Bytes read of a process's memory, and what is found there. Raises PermissionError."""
    size, found = 0, set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end in _regions(pid):
            for at in range(start, end, CHUNK):
                data = _read(memory.fileno(), at, min(CHUNK + OVERLAP, end - at))
                size += len(data)
                found.update(needles.in_bytes(_without_empty_pages(data)))
    return size, found


def in_open_files(pid: int, needles: Needles) -> tuple[int, set[str]]:
    """How many memfds and files without a name a process has open, and what is found there."""
    count, found = 0, set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
            if target.startswith("/memfd:") or target.endswith(" (deleted)"):
                count += 1
                found |= in_file(link, needles)
        except FileNotFoundError:
            continue
    return count, found


def _without_empty_pages(data: bytes) -> bytes:
    """No needle has a page of zeros, and looking through gigabytes of them takes for ever."""
    pages = (data[start : start + PAGE] for start in range(0, len(data), PAGE))
    return b"".join(page for page in pages if page.count(0) < len(page))


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    """Readable regions but the kernel's own and mapped devices."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        fields = line.split(None, 5)
        name = fields[5] if len(fields) > 5 else ""
        if fields[1].startswith("r") and not name.startswith(("[v", "/dev/")):
            start, _, end = fields[0].partition("-")
            yield int(start, 16), int(end, 16)


def _read(descriptor: int, at: int, size: int) -> bytes:
    """Memory at an address; empty where it is gone or guarded."""
    try:
        return os.pread(descriptor, size, at)
    except OSError:
        return b""
