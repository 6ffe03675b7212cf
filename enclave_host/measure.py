"""The measurement of this software: what agreements name, and simulated evidence states."""

from pathlib import Path

import enclave_host
import protocol
from protocol import keys

_PACKAGES = (enclave_host, protocol)


def software() -> bytes:
    """The digest (32 bytes) over path and content of every file of the attested packages.

    Compiled caches are left out. It does not cover Python or libraries: in a real enclave the
    hardware measures the whole image.
    """
    parts: list[bytes] = []
    for package in _PACKAGES:
        parts += _files(Path(package.__path__[0]))
    return keys.digest("software", *parts)


def _files(folder: Path) -> list[bytes]:
    """Name and content of every file, in the order of the names."""
    found = {
        path.relative_to(folder.parent).as_posix().encode(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return [part for name in sorted(found) for part in (name, found[name])]
