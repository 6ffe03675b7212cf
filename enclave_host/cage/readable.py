"""Whether the sandbox's user, who is not the enclave's where that is root, can read an environment.

Told before anything starts: a library that cannot be read fails in the middle of a run, with an
error that stays in the enclave.
"""

import os
from pathlib import Path
from typing import Final

from enclave_host.cage import tiers
from enclave_host.cage.job import Broken

READ, ENTER = 4, 1  # bits of a mode
FIX: Final = "chmod -R o+rX"


def require(environment: Path | None, user: int | None) -> None:
    """Refuse early, and say why, what `user` could not read; None stands for the enclave's own.

    Raises Broken.
    """
    if environment is None:
        return
    if not environment.is_dir():
        raise Broken(f"{environment} is not a directory")
    whole = environment.resolve()
    if user and not _permits(whole, READ | ENTER):
        raise Broken(f"the datacage's user may not read {whole}: {FIX} {whole}")
    closed = closed_above(whole) if user else None
    if closed:
        raise Broken(f"the datacage's user may not enter {closed}: chmod o+x {closed}")


def closed_above(environment: Path) -> Path | None:
    """A directory above that the sandbox's user may not enter."""
    above = environment.resolve().parents
    return next((step for step in above if not _permits(step, ENTER)), None)


def unreadable(environment: Path) -> Path | None:
    """A file or directory of the environment that the sandbox's user may not read."""
    for folder, _, files in os.walk(environment.resolve()):
        if not _permits(Path(folder), READ | ENTER):
            return Path(folder)
        for name in files:
            if not _permits(Path(folder) / name, READ):
                return Path(folder) / name
    return None


def _permits(path: Path, rights: int) -> bool:
    """Say whether the sandbox's user has these rights: as one of its group, or as anybody."""
    status = path.stat()
    mode = status.st_mode >> 3 if status.st_gid == tiers.GROUP else status.st_mode
    return mode & rights == rights
