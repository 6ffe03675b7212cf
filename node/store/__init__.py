"""What a node keeps: journal, sealed blobs and shares, keystore. Here: errors, rows, safe files.

A fault of the store (StoreFault) ends the daemon; every other StoreError is an answer.
"""

import dataclasses
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from protocol import codec
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class StoreError(ProtocolError):
    """The store says no. `code` is stable, `detail` says what was seen, `fix` what would help."""

    def __init__(self, code: str, detail: str, fix: str) -> None:
        """Refuse by `code`."""
        self.code = code
        self.detail = detail
        self.fix = fix
        super().__init__(f"{code}: {detail} {fix}")


class StoreFault(StoreError):
    """The disk or the database failed or is damaged: nothing more may be promised."""


class StoreFull(StoreError):
    """A bound on what is kept is reached; nothing was stored."""


class StoreMissing(StoreError):
    """What was asked for is not kept here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One verified record to keep: its exact bytes, and the columns that queries need."""

    id: bytes
    topic: bytes
    key: bytes
    seq: int
    prev: bytes | None
    author: bytes
    kind: str
    at: int
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRow:
    """A topic that this node follows; `opening` is the exact document that defines it."""

    topic: bytes
    kind: str
    opening: bytes
    parent: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EquivocationRow:
    """Two different records, exact bytes, that one key signed for one place in its feed."""

    topic: bytes
    key: bytes
    seq: int
    first: bytes
    second: bytes
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One thing this node refused: code and rule, who set it, what would fix it, what was seen."""

    code: str
    rule: str
    set_by: str
    fix: str
    subject: str
    party: str
    at: int
    detail: str

    @property
    def id(self) -> bytes:
        """Digest of all fields: the same refusal noted twice is one."""
        return hashlib.sha256(codec.encode(list(columns(self)))).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A result opened for this node; `size` is that of the bytes sealed at rest."""

    run: bytes
    name: str
    size: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """A kept blob, and the topic or record (`subject`) that needs it; `size` in plain bytes."""

    digest: bytes
    size: int
    kind: str
    subject: bytes
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """A peer of the network; `seen` is when it was last reached (unix seconds, 0: never)."""

    peer: str
    addresses: tuple[str, ...]
    seen: int
    banned: bool


class Equivocation(StoreError):
    """A record contradicts one that is kept: `held` is that one's exact bytes."""

    def __init__(self, held: bytes, entry: Entry) -> None:
        """`entry` claims the place that `held` has."""
        self.held = held
        self.entry = entry
        super().__init__(
            "record.equivocation",
            f"Key {entry.key.hex()[:8]} signed two records with seq {entry.seq}.",
            "The key is barred by rule; keep the proof.",
        )


def columns(row: "DataclassInstance") -> tuple[Any, ...]:
    """Return the fields of a row, in order."""
    return tuple(getattr(row, field.name) for field in dataclasses.fields(row))


@contextmanager
def disk_faults(what: str) -> Iterator[None]:
    """Map OSError inside the block to StoreFull ("store.full") or StoreFault ("store.disk")."""
    try:
        yield
    except OSError as error:
        detail = f"{what}: {error.strerror or type(error).__name__}."
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreFull("store.full", detail, "Free space on the disk.") from error
        fix = "Check permissions and health of the disk."
        raise StoreFault("store.disk", detail, fix) from error


def write_durably(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `path` (0600) whole or not at all; on disk when this returns.

    Raises FileExistsError if `replace` is false and the file exists, OSError as the disk does.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open_new(part) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            part.replace(path)
        else:
            os.link(part, path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def open_new(path: Path) -> BinaryIO:
    """Create `path` (0600), which must not exist, for writing. Raises OSError as the disk does."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def sync_folder(folder: Path) -> None:
    """Make names created, renamed or removed in `folder` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
