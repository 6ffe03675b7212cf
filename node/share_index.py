"""The sealed shares that this node keeps for an enclave, and what is known of each.

Ciphertext lies in SealedShares, append-only, and only frames that the enclave verified. After any
break the enclave starts from nothing and is shown again what the disk has: the disk is the truth.
"""

import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeVar

import trio

from node.store.blobs import SealedShares
from node.store.journal import Journal
from protocol import limits, shape
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare
from protocol.shape import Hash, Key, Max, Time

OF_PERSON: Final = 16
"""Shares of one person known for one agreement, those that broke their contract among them; older
ones go once a run used a newer one."""

OF_PEOPLE: Final = 4 * limits.PEOPLE
"""Shares of people kept for one agreement, older ones among them."""

OF_PARTIES: Final = limits.ITEMS
"""Shares of organizations kept for one agreement: of these people keep none out."""

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
        self._kept: dict[bytes, Kept] = {}
        self._of: dict[bytes, dict[bytes, Kept]] = {}
        self._counts: Counter[tuple[bytes, bytes | None]] = Counter()
        for one in found:
            self._hold(one)

    def _hold(self, kept: Kept) -> None:
        if kept.share not in self._kept:
            self._counts.update(_counted(kept))
        self._kept[kept.share] = kept
        self._of.setdefault(kept.agreement, {})[kept.share] = kept

    def get(self, share: bytes) -> Kept | None:
        """What is kept of a share."""
        return self._kept.get(share)

    def of(self, agreement: bytes) -> list[Kept]:
        """The shares of an agreement, in the order in which they were finished."""
        found = self._of.get(agreement, {}).values()
        return sorted(found, key=lambda one: (one.at, one.share))

    def agreements(self) -> list[bytes]:
        """Every agreement of which there are shares."""
        return list(self._of)

    def all(self) -> list[Kept]:
        """Every share."""
        return list(self._kept.values())

    def put(self, kept: Kept) -> Kept:
        """Write down what is known of a share. Raises Refused (share.full, share.chunk)."""
        if kept.share not in self._kept:
            self._require_room(kept)
        kept = replace(kept, at=int(time.time()))
        self._journal.put_state(_place(kept), shape.encode(kept))
        self._hold(kept)
        return kept

    def _require_room(self, kept: Kept) -> None:
        of_all, *of_one = _counted(kept)
        most = OF_PARTIES if kept.person is None else OF_PEOPLE
        if self._counts[of_all] >= most:
            raise Refused("share.full", f"{most} such shares in this agreement")
        if any(self._counts[one] >= OF_PERSON for one in of_one):
            raise Refused("share.full", f"{OF_PERSON} shares of one person")

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
            if self._kept.pop(kept.share, None) is not None:
                self._counts.subtract(_counted(kept))
                self._of[kept.agreement].pop(kept.share, None)


async def in_thread(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Draw each item in a worker thread: the disk may be slow."""
    while (item := await trio.to_thread.run_sync(next, items, None)) is not None:
        yield item


def _counted(kept: Kept) -> list[tuple[bytes, bytes | None]]:
    """Where a share is counted: with all organizations'; or with all people's and its owner's."""
    if kept.person is None:
        return [(kept.agreement, None)]
    return [(kept.agreement, b"people"), (kept.agreement, kept.owner)]


def _place(kept: Kept) -> str:
    return f"{PREFIX}{kept.agreement.hex()}/{kept.share.hex()}"
