"""The sealed shares that this node keeps for an enclave, and what is known of each.

Ciphertext lies in SealedShares, append-only, and only frames that the enclave verified. After any
break the enclave starts from nothing and is shown again what the disk has: the disk is the truth.
"""

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeVar

import trio

from node.store.blobs import SealedShares
from node.store.journal import Journal
from protocol import limits, shape
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare
from protocol.shape import Hash, Key, Max, Time

SHARES: Final = 4096
"""Shares kept for one agreement."""

PREFIX: Final = "host-share/"

Raw = Annotated[bytes, Max(limits.RECORD)]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One share kept here: the raw record of a party, or the outer message of a person. `receipt`
    is the raw record of the own enclave, once it checked the share; `at` when that was written.
    """

    agreement: Hash
    share: Hash
    owner: Key
    record: Raw | None = None
    person: PersonShare | None = None
    receipt: Raw | None = None
    at: Time = 0

    def opening(self, enclave: bytes) -> bytes | None:
        """What opens the share in this enclave; None if the share is not sealed to it."""
        if self.record is not None:
            return self.record  # wraps for a later enclave come as rewrap records
        envelopes = self.person.envelopes if self.person is not None else ()
        return next((one.sealed for one in envelopes if one.enclave == enclave), None)


class ShareIndex:
    """All shares kept here, in memory and in the journal."""

    def __init__(self, journal: Journal, files: SealedShares) -> None:
        """Read what the journal knows."""
        self.files = files
        self._journal = journal
        limit = 2 * limits.FRAME
        found = [shape.decode(Kept, raw, limit) for raw in journal.states(PREFIX).values()]
        self._kept = {one.share: one for one in found}

    def get(self, share: bytes) -> Kept | None:
        """What is kept of a share."""
        return self._kept.get(share)

    def of(self, agreement: bytes) -> list[Kept]:
        """The shares of an agreement, in the order in which they were finished."""
        found = [one for one in self._kept.values() if one.agreement == agreement]
        return sorted(found, key=lambda one: (one.at, one.share))

    def all(self) -> list[Kept]:
        """Every share."""
        return list(self._kept.values())

    def put(self, kept: Kept) -> Kept:
        """Write down what is known of a share. Raises Refused (share.full, share.chunk)."""
        if kept.share not in self._kept and len(self.of(kept.agreement)) >= SHARES:
            raise Refused("share.full", f"{SHARES} shares in this agreement")
        kept = replace(kept, at=int(time.time()))
        self._journal.put_state(_place(kept), shape.encode(kept))
        self._kept[kept.share] = kept
        return kept

    def confirm(self, share: bytes, receipt: bytes) -> Kept:
        """Keep the enclave's receipt for a share."""
        return self.put(replace(self._kept[share], receipt=receipt))

    def complete(self, share: bytes) -> bool:
        """Whether every frame is here; never true of a share that was cut off."""
        return self.files.finished(share)

    def frames(self, share: bytes) -> Iterator[bytes]:
        """Its frames, one at a time. Raises StoreMissing."""
        return self.files.frames(share)

    def erase(self, kept: Kept, *, forget: bool = True) -> None:
        """Delete the ciphertext; with `forget` all that is known of the share too."""
        self.files.delete(kept.share)
        if forget:
            self._journal.delete_state(_place(kept))
            self._kept.pop(kept.share, None)


async def in_thread(items: Iterator[T]) -> AsyncIterator[T]:
    """Draw each item in a worker thread: the disk may be slow."""
    while (item := await trio.to_thread.run_sync(next, items, None)) is not None:
        yield item


def _place(kept: Kept) -> str:
    return f"{PREFIX}{kept.agreement.hex()}/{kept.share.hex()}"
