"""What is installed here: the version, and the measurement of its enclave software."""

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import Final

from protocol import keys

SOFTWARE: Final = "village-enclave"
"""How agreement files call the enclave software of this release."""

_ATTESTED: Final = ("enclave_host", "protocol")


@cache
def version() -> str:
    """The version of the distribution."""
    return importlib.metadata.version("village-node")


@cache
def software() -> bytes:
    """What `village-enclave measure` prints for the enclave software installed beside this node.

    Computed from the files, because a node never imports the attested runtime.
    """
    parts: list[bytes] = []
    for package in _ATTESTED:
        parts += _files(_folder(package))
    return keys.digest("software", *parts)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise ModuleNotFoundError(package)
    return Path(places[0])


def _files(folder: Path) -> list[bytes]:
    found = {
        path.relative_to(folder.parent).as_posix().encode(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return [part for name in sorted(found) for part in (name, found[name])]
