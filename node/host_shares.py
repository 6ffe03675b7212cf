"""The stored shares of an agreement on their way into a run: shown by name, then frame by frame.

Of small shares there are thousands: what the enclave knows is not shown again, and many frames go
in one request.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from node.pipeline import Pipeline
from node.share_index import in_thread
from node.share_intake import Asks
from node.share_lane import ShareLane, StoredShare
from protocol import enclave_wire as enclave
from protocol import limits
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.machines.agreement import Collaboration

LOAD: Final = 2 * limits.CHUNK
"""Bytes of frames in one request, but for the last frame: far below what a request may have."""


@dataclass(frozen=True, slots=True)
class HostShares:
    """Shows and replays to the enclave what this host keeps for it."""

    pipeline: Pipeline
    link: Asks
    lane: ShareLane

    async def show(self, machine: Collaboration) -> None:
        """Name every stored share to the enclave that is new to it: after a fail-over all are.

        Raises EnclaveUnreachable, Refused (term.fenced, election.certificate).
        """
        stored = {one.share: one for one in self.lane.stored(machine.id)}
        for share in [one.share for one in stored.values() if one.code]:
            await self._show_code(machine, share)
            del stored[share]
        for page in pages(tuple(stored)):
            question = enclave.Compare(agreement=machine.id, shares=page)
            answer = await self.link.ask(question, enclave.Lacking)
            for share in answer.shares:
                if share in stored:
                    await self._begin(machine, stored[share])

    async def load(self, agreement: bytes, number: int, shares: Iterable[bytes]) -> None:
        """Replay the stored ciphertext of these shares; each frame is verified again.

        Raises EnclaveUnreachable, Refused (share.*), StoreMissing.
        """
        async with aclosing(in_thread(batches(self.lane.frames, shares))) as drawn:
            async for frames in drawn:
                question = enclave.Load(agreement=agreement, number=number, frames=frames)
                await self.link.ask(question, Done)

    async def _begin(self, machine: Collaboration, stored: StoredShare) -> None:
        rewraps = [r.raw for r in machine.rewrap_records(stored.share)]
        question = enclave.ShareBegin(
            agreement=machine.id,
            share=stored.opening,
            person=stored.person,
            rewraps=tuple(rewraps),
            stored=True,
        )
        try:
            await self.link.ask(question, enclave.ShareReady)
        except Refused as error:
            self.pipeline.refuse(error, stored.share, None, machine.id)

    async def _show_code(self, machine: Collaboration, share: bytes) -> None:
        try:
            await self.lane.show_code(share)
        except Refused as error:
            self.pipeline.refuse(error, share, None, machine.id)


def pages(shares: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """All shares, as many at once as a list takes: older ones are among them."""
    for start in range(0, len(shares), limits.ITEMS):
        yield shares[start : start + limits.ITEMS]


def batches(
    frames_of: Callable[[bytes], Iterator[bytes]], shares: Iterable[bytes]
) -> Iterator[tuple[enclave.StoredFrame, ...]]:
    """The frames of all shares, in order, as many at once as one request takes; in memory are never
    more than these.
    """
    batch: list[enclave.StoredFrame] = []
    size = 0
    for one in _frames(frames_of, shares):
        batch.append(one)
        size += len(one.frame)
        if size >= LOAD or len(batch) == limits.ITEMS:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def _frames(
    frames_of: Callable[[bytes], Iterator[bytes]], shares: Iterable[bytes]
) -> Iterator[enclave.StoredFrame]:
    for share in shares:
        frames = frames_of(share)
        frame = next(frames, None)
        while frame is not None:  # one ahead, so that the last is known
            following = next(frames, None)
            yield enclave.StoredFrame(share=share, frame=frame, end=following is None)
            frame = following
