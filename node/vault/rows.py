"""The person's own rows on their way into a share: read by a connector, never plain on a disk."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from node.connectors.process import Reading, Source, reading
from node.vault.contents import Row
from protocol.errors import Refused
from protocol.kinds.agreement import Dataset

LIMIT: Final = 32 * 1024 * 1024
"""Bytes of a person's Arrow stream, which is held in memory."""


async def to_arrow(row: Row, data: bytes, contract: bytes, dataset: Dataset) -> bytes:
    """The rows as one Arrow stream in the contract's columns. Raises SourceError, Refused."""
    with _in_memory(data, Path(row.file).suffix.lower()) as file:
        source = Source(file=file, contract=contract, person=dataset.person)
        async with reading(source) as found:
            return await trio.to_thread.run_sync(_all_of, found)


def _all_of(found: Reading) -> bytes:
    plain = bytearray()
    for piece, _ in found.pieces():
        plain += piece
        if len(plain) > LIMIT:
            raise Refused("codec.too-large", f"more than {LIMIT} bytes of own rows")
    return bytes(plain)


@contextmanager
def _in_memory(data: bytes, suffix: str) -> Iterator[Path]:
    """A path with this suffix whose content is in memory alone: only a link stands on the disk."""
    descriptor = os.memfd_create("village-rows", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(data)
        with tempfile.TemporaryDirectory(prefix="village-") as folder:
            link = Path(folder) / f"rows{suffix}"
            link.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
            yield link
    finally:
        os.close(descriptor)
