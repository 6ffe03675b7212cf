"""Files through which kernels give evidence, and those that an operator puts beside it."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

from enclave_host.attest import CODE
from protocol import limits
from protocol.errors import Refused

SMALL: Final = 256
"""Bytes of a file that holds a number or a name."""


class Folder:
    """A folder of kernel attributes: each file is read and written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Create it; the kernel fills it. Raises Refused (enclave.attester)."""
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise _fault("made", self.path, error) from error

    def remove(self) -> None:
        """Remove it; the kernel empties it. Raises Refused (enclave.attester)."""
        try:
            self.path.rmdir()
        except OSError as error:
            raise _fault("removed", self.path, error) from error

    def read(self, name: str, most: int) -> bytes:
        """All of a file of at most `most` bytes. Raises Refused (enclave.attester)."""
        return read(self.path / name, most)

    def text(self, name: str) -> str:
        """The one word in a small file."""
        return self.read(name, SMALL).decode("ascii", "replace").strip()

    def write(self, name: str, data: bytes) -> None:
        """Write `data` in one write, as the kernel asks. Raises Refused (enclave.attester)."""
        path = self.path / name
        try:
            file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                written = os.write(file, data)
            finally:
                os.close(file)
        except OSError as error:
            raise _fault("written", path, error) from error
        if written != len(data):
            raise Refused(CODE, f"{path} took {written} of {len(data)} bytes")


def read(path: Path, most: int) -> bytes:
    """All of a file of at most `most` bytes, however short each read is. Raises Refused."""
    found = bytearray()
    try:
        with path.open("rb", buffering=0) as file:
            while len(found) <= most and (piece := file.read(most + 1 - len(found))):
                found += piece
    except OSError as error:
        raise _fault("read", path, error) from error
    if len(found) > most:
        raise Refused(CODE, f"{path} has more than {most} bytes")
    return bytes(found)


def endorsements(folder: Path | None, names: Collection[str]) -> dict[str, bytes]:
    """The files that an operator keeps up to date in `folder`, by name without ending.

    Read anew at each use. Raises Refused (enclave.attester) for a file of another name, or twice.
    """
    if folder is None:
        return {}
    found: dict[str, bytes] = {}
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _fault("read", folder, error) from error
    for path in files:
        if path.stem not in names or path.stem in found:
            wanted = ", ".join(sorted(names)) or "nothing"
            raise Refused(CODE, f"{path} is not expected; {folder.name} may hold {wanted}")
        found[path.stem] = read(path, limits.EVIDENCE)
    return found


def _fault(what: str, path: Path, error: OSError) -> Refused:
    return Refused(CODE, f"{path} cannot be {what}: {error.strerror}")
