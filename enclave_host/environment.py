"""The digest of an environment: which installed packages an algorithm may import."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from protocol.errors import Refused

CODE: Final = "run.environment"
NOT_IMPORTED: Final = {"bin", ".lock", ".stamp"}
"""At the top: scripts, which name the installing machine's Python, and the installer's marks."""


def digest(path: Path) -> bytes:
    """Return the SHA-256 over path and SHA-256 of each file below `path`, in order of the paths.

    For each file: its relative POSIX path in UTF-8, a zero byte, the 32 bytes of its SHA-256.
    Left out is what no import ever reads in the datacage: `NOT_IMPORTED`, RECORD files and
    `__pycache__` (runners/common.py: never loaded; a lone .pyc beside the sources does count).
    Raises Refused (run.environment) for symbolic links that leave the tree or lead to a directory,
    for files that are not plain ones, for names that are not UTF-8, and if a file is unreadable.
    """
    total = hashlib.sha256()
    try:
        for name, file in sorted(_files(path.resolve(strict=True))):
            with open(file, "rb") as content:
                total.update(name + b"\0" + hashlib.file_digest(content, "sha256").digest())
    except OSError as error:
        raise Refused(CODE, f"cannot be read: {error.strerror} {error.filename}") from error
    return total.digest()


class Watched:
    """Digests of environments, read again only where a file changed since.

    What changed is seen by inode, size and both times of each file; no user can set back the time
    of a change. Who writes below the file system could as well write after any reading.
    """

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._known: dict[Path, tuple[bytes, bytes]] = {}

    def digest(self, path: Path) -> bytes:
        """As `digest`. Raises Refused (run.environment)."""
        stamp = _stamp(path)  # before the reading: a change meanwhile is seen the next time
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        found = digest(path)
        self._known[path] = stamp, found
        return found


def _stamp(path: Path) -> bytes:
    total = hashlib.sha256()
    try:
        for folder, folders, files in os.walk(path, onerror=_fail):
            for name in sorted((*folders, *files)):
                found = os.lstat(os.path.join(folder, name))
                seen = (found.st_ino, found.st_mode, found.st_size)
                times = (found.st_mtime_ns, found.st_ctime_ns)
                total.update(repr((folder, name, seen, times)).encode("utf-8", "surrogateescape"))
            folders.sort()
    except OSError as error:
        raise Refused(CODE, f"cannot be read: {error.strerror} {error.filename}") from error
    return total.digest()


def _files(root: Path) -> Iterator[tuple[bytes, str]]:
    """Yield (name in the digest, path) of each file that counts."""
    for folder, folders, files in os.walk(root, onerror=_fail):
        for link in folders:
            if os.path.islink(os.path.join(folder, link)):
                raise Refused(CODE, f"a symbolic link to a directory: {link}")
        folders[:] = [name for name in folders if name != "__pycache__"]
        if folder == str(root):
            folders[:] = [name for name in folders if name not in NOT_IMPORTED]
            files = [name for name in files if name not in NOT_IMPORTED]
        for name in files:
            if name != "RECORD":
                yield _checked(root, os.path.join(folder, name))


def _checked(root: Path, file: str) -> tuple[bytes, str]:
    """Return the name of a plain file inside the tree, and its path."""
    name = file.removeprefix(str(root)).lstrip("/")
    kind = os.lstat(file).st_mode
    if stat.S_ISLNK(kind):  # the folders above it are none
        target = Path(file).resolve()
        if not target.is_relative_to(root):
            raise Refused(CODE, f"a symbolic link leaves the environment: {Path(file).name!r}")
        kind = target.stat().st_mode
    if not stat.S_ISREG(kind):
        raise Refused(CODE, f"not a plain file: {Path(file).name!r}")
    try:
        return name.encode(), file
    except UnicodeEncodeError as error:
        raise Refused(CODE, f"a file name is not UTF-8: {Path(file).name!r}") from error


def _fail(error: OSError) -> None:
    """Let os.walk stop at a directory that it cannot read; by default it passes over it."""
    raise error
