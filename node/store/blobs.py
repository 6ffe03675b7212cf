"""Files of a node: immutable blobs sealed at rest, and streams of already sealed share frames.

A blob file is salt (32 B) followed by chunks of AES-256-GCM over at most CHUNK plain bytes. Each
file has its own key, HKDF-SHA256(node key, salt, digest), so a nonce is chunk counter and last
flag: the STREAM construction (Hoang et al. 2015), which stops reordering and truncation.

A share file is a row of frames, each a 4-byte big-endian length and that many bytes. The frames
are ciphertext to this node; the enclave verifies them.
"""

import errno
import hashlib
import os
import secrets
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from node.store import (
    StoreError,
    StoreFault,
    StoreFull,
    StoreMissing,
    disk_faults,
    sync_folder,
    write_durably,
)
from node.store.small_shares import SMALL, SmallShares
from protocol import limits
from protocol.errors import Misuse

CHUNK: Final = limits.CHUNK
"""Plain bytes of one sealed chunk of a blob."""

DISK: Final = 50 * 1024**3
"""Bytes that a folder may hold unless the node's configuration says otherwise."""

_SALT: Final = 32
_TAG: Final = 16
_HEAD: Final = 33
_LENGTH: Final = struct.Struct(">I")
_PART: Final = ".part"
_WHOLE: Final = ".share"


class Blobs:
    """Immutable blobs by SHA-256 of their plain bytes, sealed under the node's 32-byte key."""

    def __init__(self, folder: Path, key: bytes, limit: int = DISK) -> None:
        """Open `folder` (0700), which may hold `limit` bytes, and remove what a crash left."""
        if len(key) != 32:
            raise Misuse("the key of the blobs has 32 bytes")
        self._folder = folder
        self._key = key
        self._limit = limit
        self._lock = threading.Lock()
        with disk_faults("Cannot open the blobs"):
            _make_folder(folder)
            for part in folder.glob(".*.part"):
                part.unlink()
            self._used = sum(file.stat().st_size for file in folder.iterdir())

    def put(self, data: bytes) -> bytes:
        """Keep `data` and return its digest; on disk when this returns.

        Raises StoreFull ("blobs.full") for more than limits.BLOB or beyond the folder's limit.
        """
        digest = hashlib.sha256(data).digest()
        if len(data) > limits.BLOB:
            raise StoreFull(
                "blobs.full",
                f"A blob of {len(data)} bytes is larger than {limits.BLOB}.",
                "Larger things are data: push them as a share.",
            )
        with self._lock:
            if not self.has(digest):
                self._write(digest, self._seal(digest, data))
        return digest

    def get(self, digest: bytes) -> bytes:
        """Return the plain bytes.

        Raises StoreMissing ("blobs.missing"), or StoreFault ("blobs.damaged") if the file was
        altered or sealed under another key.
        """
        if not self.has(digest):
            raise StoreMissing(
                "blobs.missing",
                f"Blob {digest.hex()[:8]} is not kept here.",
                "Fetch it from a member that has it.",
            )
        try:
            with disk_faults("Cannot read a blob"):
                data = self._open(digest, self._path(digest).read_bytes())
        except InvalidTag as error:
            raise _damaged_blob(digest) from error
        if hashlib.sha256(data).digest() != digest:
            raise _damaged_blob(digest)
        return data

    def has(self, digest: bytes) -> bool:
        """Say whether the blob is kept."""
        return self._path(digest).exists()

    def delete(self, digest: bytes) -> bool:
        """Remove the blob. False if there was none."""
        path = self._path(digest)
        with self._lock, disk_faults("Cannot delete a blob"):
            if not path.exists():
                return False
            self._used -= path.stat().st_size
            path.unlink()
            sync_folder(self._folder)
        return True

    def _path(self, digest: bytes) -> Path:
        if len(digest) != 32:
            raise Misuse("a digest has 32 bytes")
        return self._folder / digest.hex()

    def _write(self, digest: bytes, sealed: bytes) -> None:
        if self._used + len(sealed) > self._limit:
            raise StoreFull(
                "blobs.full",
                f"The blobs hold {self._used} of {self._limit} bytes.",
                "Raise limits.disk, or end agreements that are over.",
            )
        with disk_faults("Cannot write a blob"):
            write_durably(self._path(digest), sealed)
        self._used += len(sealed)

    def _seal(self, digest: bytes, data: bytes) -> bytes:
        salt = secrets.token_bytes(_SALT)
        cipher = self._cipher(salt, digest)
        starts = range(0, max(len(data), 1), CHUNK)
        chunks = (
            cipher.encrypt(
                _nonce(start // CHUNK, start + CHUNK >= len(data)),
                data[start : start + CHUNK],
                None,
            )
            for start in starts
        )
        return salt + b"".join(chunks)

    def _open(self, digest: bytes, sealed: bytes) -> bytes:
        """Raise InvalidTag for anything that `_seal` did not make."""
        cipher = self._cipher(sealed[:_SALT], digest)
        body = memoryview(sealed)[_SALT:]
        step = CHUNK + _TAG
        starts = range(0, max(len(body), 1), step)
        return b"".join(
            cipher.decrypt(
                _nonce(start // step, start + step >= len(body)), body[start : start + step], None
            )
            for start in starts
        )

    def _cipher(self, salt: bytes, digest: bytes) -> AESGCM:
        derive = HKDF(SHA256(), length=32, salt=salt, info=b"village/blob/1" + digest)
        return AESGCM(derive.derive(self._key))


class SealedShares:
    """Sealed share streams that an enclave host keeps for its enclave: ciphertext, append-only.

    An unfinished share survives a kill: `begin` resumes after its last whole frame. A complete one
    has a file of its own, or, if it is small, a row among the others.
    """

    def __init__(self, folder: Path, limit: int = DISK) -> None:
        """Open `folder` (0700), which may hold `limit` bytes."""
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()
        self._writing: set[bytes] = set()
        with disk_faults("Cannot open the shares"):
            _make_folder(folder)
            self._small = SmallShares(folder / "small.db")
            for share in self._small.sizes():
                self._part(share).unlink(missing_ok=True)  # a kill came before it was removed
            self._used = sum(self._small.sizes().values()) + sum(
                file.stat().st_size
                for suffix in (_PART, _WHOLE)
                for file in folder.glob(f"*{suffix}")
            )

    def begin(self, share: bytes) -> "ShareWriter":
        """Start a share or resume it after its last whole frame; a torn tail is cut off.

        Raises StoreError "shares.finished", or "shares.busy" while another writer has it.
        """
        with self._lock:
            if self.finished(share):
                raise StoreError(
                    "shares.finished", f"Share {_short(share)} is complete.", "Nothing to do."
                )
            if share in self._writing:
                raise StoreError(
                    "shares.busy",
                    f"Share {_short(share)} is being received already.",
                    "Wait until the other stream ends.",
                )
            writer = ShareWriter(
                self._part(share),
                lambda file: self._complete(share, file),
                self._reserve,
                lambda: self._writing.discard(share),
            )
            self._writing.add(share)
        return writer

    def room(self) -> int:
        """Bytes that may still come."""
        with self._lock:
            return self._limit - self._used

    def open(self, share: bytes) -> BinaryIO:
        """The file of a share, as ShareWriter writes it: to be read. Raises StoreMissing."""
        return self._open(share)

    def finished(self, share: bytes) -> bool:
        """Say whether the share is complete."""
        return self._small.has(share) or self._whole(share).exists()

    def size(self, share: bytes) -> int:
        """Return the bytes of all whole frames, without their lengths. Raises StoreMissing."""
        with self._open(share) as file, disk_faults("Cannot read a share"):
            frames, end = _whole_frames(file)
        return end - frames * _LENGTH.size

    def frames(self, share: bytes) -> Iterator[bytes]:
        """Yield the whole frames; of a share still growing, those that are there by then.

        Raises, at the first frame, StoreMissing ("shares.missing"), and at the end StoreFault
        ("shares.damaged") if a complete share ends within a frame.
        """
        complete = self.finished(share)
        with self._open(share) as file, disk_faults("Cannot read a share"):
            while frame := _next_frame(file):
                yield frame
            if complete and file.read(1):
                raise StoreFault(
                    "shares.damaged",
                    f"Share {_short(share)} is damaged on disk.",
                    "Delete it; its owner pushes it again.",
                )

    def shares(self) -> dict[bytes, bool]:
        """Return all shares here: id -> whether it is complete."""
        with disk_faults("Cannot list the shares"):
            return dict.fromkeys(self._small.sizes(), True) | {
                bytes.fromhex(file.stem): suffix == _WHOLE
                for suffix in (_PART, _WHOLE)
                for file in self._folder.glob(f"*{suffix}")
            }

    def delete(self, share: bytes) -> bool:
        """Remove the share. False if there was none. Raises StoreError "shares.busy"."""
        with self._lock, disk_faults("Cannot delete a share"):
            if share in self._writing:
                raise StoreError(
                    "shares.busy", f"Share {_short(share)} is being received.", "Close its stream."
                )
            size = self._small.delete(share)
            removed = size > 0
            for path in (self._part(share), self._whole(share)):
                if path.exists():
                    size += path.stat().st_size
                    path.unlink()
                    removed = True
            self._used -= size
            sync_folder(self._folder)
        return removed

    def _part(self, share: bytes) -> Path:
        return self._folder / f"{share.hex()}{_PART}"

    def _whole(self, share: bytes) -> Path:
        return self._folder / f"{share.hex()}{_WHOLE}"

    def _complete(self, share: bytes, file: BinaryIO) -> None:
        """Declare the share in `file` complete, durably."""
        with disk_faults("Cannot finish a share"):
            size = os.fstat(file.fileno()).st_size
            if size <= SMALL:
                self._small.put(share, os.pread(file.fileno(), size, 0))
                self._part(share).unlink()
            else:
                os.fsync(file.fileno())
                self._part(share).rename(self._whole(share))
                sync_folder(self._folder)

    def _open(self, share: bytes) -> BinaryIO:
        with disk_faults("Cannot read a share"):
            content = self._small.get(share)
            if content is not None:
                return _memory_file(content)
            for path in (self._whole(share), self._part(share)):
                if path.exists():
                    return path.open("rb")
        raise StoreMissing(
            "shares.missing",
            f"Share {_short(share)} is not kept here.",
            "Its owner pushes it again.",
        )

    def _reserve(self, size: int) -> None:
        """Count `size` bytes more, or raise StoreFull ("shares.full")."""
        with self._lock:
            if self._used + size > self._limit:
                raise StoreFull(
                    "shares.full",
                    f"The shares hold {self._used} of {self._limit} bytes.",
                    "Raise limits.disk, or end agreements that are over.",
                )
            self._used += size


class ShareWriter:
    """The one writer of an unfinished share; `frames` and `size` say where to resume.

    Close it in any case (it is a context manager). What `append` took survives a kill of the
    process; what `finish` returned from survives a power loss.
    """

    def __init__(
        self,
        part: Path,
        complete: Callable[[BinaryIO], None],
        reserve: Callable[[int], None],
        release: Callable[[], None],
    ) -> None:
        """Use `SealedShares.begin`."""
        self._complete = complete
        self._reserve = reserve
        self._release = release
        with disk_faults("Cannot open a share"):
            self._file = part.open("r+b" if part.exists() else "w+b", buffering=0)
            os.fchmod(self._file.fileno(), 0o600)
            self.frames, self._end = _whole_frames(self._file)
            self._cut()

    @property
    def size(self) -> int:
        """Bytes of the frames kept, without their lengths."""
        return self._end - self.frames * _LENGTH.size

    @property
    def descriptor(self) -> int:
        """The open file, at the place where the next frame belongs; see `adopt`."""
        return self._file.fileno()

    def written(self) -> int:
        """Bytes of the file by now, also of what somebody else is writing."""
        return os.fstat(self._file.fileno()).st_size

    def adopt(self) -> None:
        """Count the whole frames that somebody else wrote to `descriptor`. Raises StoreFull."""
        with disk_faults("Cannot read a share"):
            frames, end = _whole_frames(self._file, self._end)
            self._reserve(end - self._end)
            self.frames += frames
            self._end = end
            self._cut()

    def heads(self) -> Iterator[bytes]:
        """The first bytes of each frame, enough for the whole of a segment."""
        with disk_faults("Cannot read a share"):
            end = 0
            for _ in range(self.frames):
                head = os.pread(self._file.fileno(), _LENGTH.size + _HEAD, end)
                yield head[_LENGTH.size :]
                end += _LENGTH.size + _frame_length(head[: _LENGTH.size])

    def keep_first(self, frames: int) -> None:
        """Cut off what follows the first `frames` frames."""
        with disk_faults("Cannot cut a share"):
            self.frames, self._end = _whole_frames(self._file, most=frames)
            self._cut()

    def append(self, frame: bytes) -> None:
        """Keep one frame of 1 to limits.FRAME bytes. Raises StoreFull."""
        if not 0 < len(frame) <= limits.FRAME:
            raise Misuse(f"a frame of {len(frame)} bytes")
        whole = _LENGTH.size + len(frame)
        self._reserve(whole)
        with disk_faults("Cannot write a share"):
            parts = (_LENGTH.pack(len(frame)), frame)
            if os.writev(self._file.fileno(), parts) != whole:
                self._cut()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.frames += 1
        self._end += whole

    def sync(self) -> None:
        """Make all frames taken so far survive a power loss."""
        with disk_faults("Cannot write a share"):
            os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Declare the share complete, durably, and close the writer."""
        self._complete(self._file)
        self.close()

    def close(self) -> None:
        """Let go of the share; repeated calls do nothing."""
        if not self._file.closed:
            self._file.close()
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self) -> None:
        """Cut off what follows the last whole frame."""
        self._file.truncate(self._end)
        self._file.seek(self._end)


def _whole_frames(file: BinaryIO, start: int = 0, most: int | None = None) -> tuple[int, int]:
    """Count whole frames from `start`, and say where the last one ends, without reading them."""
    size = os.fstat(file.fileno()).st_size
    frames, end = 0, start
    while frames != most:
        file.seek(end)
        length = _frame_length(file.read(_LENGTH.size))
        if not length or end + _LENGTH.size + length > size:
            break
        frames += 1
        end += _LENGTH.size + length
    return frames, end


def _next_frame(file: BinaryIO) -> bytes:
    """Return the frame at the file's position; empty, and not moved, if it is not whole."""
    start = file.tell()
    length = _frame_length(file.read(_LENGTH.size))
    frame = file.read(length)
    if length and len(frame) == length:
        return frame
    file.seek(start)
    return b""


def _frame_length(head: bytes) -> int:
    """Return the length, or 0 for a torn or impossible one (a power loss leaves zeros)."""
    if len(head) < _LENGTH.size:
        return 0
    (length,) = _LENGTH.unpack(head)
    return int(length) if length <= limits.FRAME else 0


def _nonce(counter: int, last: bool) -> bytes:
    return counter.to_bytes(11, "big") + bytes([last])


def _memory_file(content: bytes) -> BinaryIO:
    """A file for who reads by descriptor, also in another process."""
    file = os.fdopen(os.memfd_create("share"), "w+b")
    file.write(content)
    file.seek(0)
    return file


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _short(share: bytes) -> str:
    return share.hex()[:8]


def _damaged_blob(digest: bytes) -> StoreFault:
    return StoreFault(
        "blobs.damaged",
        f"Blob {digest.hex()[:8]} was altered on disk, or sealed under another key.",
        "Delete it and fetch it again; check the health of the disk.",
    )
