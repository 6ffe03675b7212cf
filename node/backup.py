"""A backup of a node: one file, sealed with a passphrase, without any key that signs records.

File = magic | keystore | frames of a sealed stream (protocol/sealing/stream.py). Each part stands
behind its length (4 bytes, big endian). The keystore is of the usual format; in it are the key of
the stream and the seeds that no other node could make anew: connections, sealing, store. The stream
holds the identity, the configuration and the journal, each behind its length (8 bytes).

Left out are blobs and sealed shares: peers and owners bring them again. A record key is not in it:
a restored node gets a new one from its root, so what the lost node said after the backup can never
be contradicted in its own feed.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from node.store import StoreError, disk_faults, keystore, open_new
from protocol import limits, shape
from protocol.errors import Refused
from protocol.keys import digest
from protocol.kinds.share import ShareHeader
from protocol.sealing import stream, wrap

MAGIC: Final = b"village-backup/1\n"

SEEDS: Final = ("node", "sealing", "store")
"""What of the keystore is in a backup."""

_PART: Final = limits.CHUNK + 64
_KEY: Final = "backup"
_PARTS: Final = ("identity", "config", "journal")


def write(target: Path, passphrase: bytes, seeds: dict[str, bytes], parts: dict[str, Path]) -> int:
    """Seal `parts` (identity, config, journal) into a new file (0600); its size.

    Raises StoreError (backup.exists, keystore.weak).
    """
    if target.exists():
        raise StoreError("backup.exists", f"{target.name} exists already.", "Name another file.")
    key = secrets.token_bytes(32)
    held = {name: seeds[name] for name in SEEDS} | {_KEY: key}
    sealed = keystore.seal(passphrase, held)
    with disk_faults("Cannot write the backup"), open_new(target) as file:
        file.write(MAGIC)
        _put(file, sealed)
        for frame in _frames(key, parts):
            _put(file, frame)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def read(source: Path, passphrase: bytes, folder: Path) -> dict[str, bytes]:
    """Open a backup: its parts as files in `folder` (0600), the seeds as the answer.

    Raises StoreError (backup.damaged, keystore.passphrase).
    """
    with disk_faults("Cannot read the backup"), source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise _damaged("It is no backup.")
        held = keystore.unseal(_get(file), passphrase)
        if held.keys() != {*SEEDS, _KEY}:
            raise _damaged("Its keys are not those of a node.")
        try:
            _unpack(_plain(file, held.pop(_KEY)), folder)
        except Refused as error:
            raise _damaged("It is cut off or altered.") from error
    return held


def _frames(key: bytes, parts: dict[str, Path]) -> Iterator[bytes]:
    header = _header(key)
    yield header
    sealer = stream.Sealer(key, header)
    left = 0
    waiting = b""
    for piece in _pieces(parts):
        if waiting:
            if left == 0:
                yield sealer.segment(secrets.token_bytes(stream.SALT_BYTES))
                left = limits.SEGMENT_CHUNKS
            yield sealer.chunk(waiting)
            left -= 1
        waiting = piece
    if left == 0:
        yield sealer.segment(secrets.token_bytes(stream.SALT_BYTES))
    yield sealer.chunk(waiting, last=True)
    yield sealer.end()


def _pieces(parts: dict[str, Path]) -> Iterator[bytes]:
    for name in _PARTS:
        with parts[name].open("rb") as file:
            yield parts[name].stat().st_size.to_bytes(8, "big")
            while piece := file.read(limits.CHUNK):
                yield piece


def _header(key: bytes) -> bytes:
    nothing = digest("backup")
    header = ShareHeader(
        agreement=nothing,
        owner=nothing,
        dataset=_KEY,
        contract=nothing,
        commitment=wrap.commitment(key),
        salt=secrets.token_bytes(32),
    )
    return shape.encode(header)


def _plain(file: BinaryIO, key: bytes) -> Iterator[bytes]:
    """The plain bytes of the stream; raises Refused unless it is whole to its end."""
    opener = stream.Opener(key, _get(file))
    while not opener.finished:
        piece = opener.feed(_get(file))
        if piece:
            yield bytes(piece)
    opener.digest()
    if file.read(1):
        raise _damaged("Something follows its end.")


def _unpack(pieces: Iterator[bytes], folder: Path) -> None:
    buffer = bytearray()
    for name in _PARTS:
        size = int.from_bytes(_take(buffer, pieces, 8), "big")
        with open_new(folder / name) as file:
            while size:
                piece = _take(buffer, pieces, min(size, limits.CHUNK))
                file.write(piece)
                size -= len(piece)
    if buffer or next(pieces, None) is not None:
        raise _damaged("Something follows its journal.")


def _take(buffer: bytearray, pieces: Iterator[bytes], size: int) -> bytes:
    while len(buffer) < size:
        piece = next(pieces, None)
        if piece is None:
            raise _damaged("It is cut off.")
        buffer += piece
    found = bytes(buffer[:size])
    del buffer[:size]
    return found


def _put(file: BinaryIO, part: bytes) -> None:
    file.write(len(part).to_bytes(4, "big") + part)


def _get(file: BinaryIO) -> bytes:
    size = int.from_bytes(file.read(4), "big")
    if not 0 < size <= _PART:
        raise _damaged("It is cut off or altered.")
    part = file.read(size)
    if len(part) < size:
        raise _damaged("It is cut off.")
    return part


def _damaged(detail: str) -> StoreError:
    return StoreError("backup.damaged", detail, "Take another backup.")
