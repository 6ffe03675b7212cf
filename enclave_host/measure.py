"""The measurement of this software: what agreements name, and simulated evidence states."""

from collections.abc import Iterable
from pathlib import Path

import enclave_host
import protocol
from protocol import keys
from protocol.attestation.policy import NEEDED

_PACKAGES = (enclave_host, protocol)


def software(folders: Iterable[Path] | None = None) -> bytes:
    """The digest (32 bytes) over name and content of every file of the attested packages.

    It says nothing of where they lie, when or by whom they were written. Compiled caches are left
    out: an image that is measured holds none. It does not cover Python or libraries either: in a
    real enclave the hardware measures the whole image. `folders` are copies of the packages.
    """
    folders = folders or [Path(package.__path__[0]) for package in _PACKAGES]
    parts = [part for folder in folders for part in _files(folder)]
    return keys.digest("software", *parts)


def registers() -> dict[str, list[list[str]]]:
    """Technology -> sets of registers, one of which an accepted environment must name."""
    return {name: [sorted(one) for one in sets] for name, sets in sorted(NEEDED.items())}


def _files(folder: Path) -> list[bytes]:
    """Name and content of every file, in the order of the names."""
    found = {
        path.relative_to(folder.parent).as_posix().encode(): path
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return [part for name, path in sorted(found.items()) for part in (name, path.read_bytes())]
