"""What an enclave released on its way to its recipients: page by page, batch by batch.

Of a run with thousands of people there are as many sealed outputs. Those for one node go together,
and who is away holds up nobody else.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import trio

from node import wire
from node.net.transport import Transport
from node.pipeline import Pipeline
from node.share_intake import Asks
from node.talk import ask_first
from protocol import enclave_wire as enclave
from protocol import limits
from protocol.dialogue import Done
from protocol.errors import ProtocolError
from protocol.kinds.run import Delivery

BATCH: Final = limits.CHUNK
"""Bytes of deliveries in one request; one delivery alone may be larger."""

RETRY: Final = 1.0
"""Seconds before what was not taken is brought again; each further pause is twice as long."""

LONGEST_RETRY: Final = 30.0
"""Seconds between attempts at a recipient who stays away."""

log = logging.getLogger("village.host")


@dataclass(frozen=True, slots=True)
class Carrying:
    """Carries the outputs of a run until every recipient, or its gateway, has them."""

    pipeline: Pipeline
    transport: Transport
    link: Asks

    async def run(self, agreement: bytes, run: bytes, certificate: bytes) -> None:
        """Carry what the enclave hands out under this certificate; once all of it arrived, it is
        never asked for again. In memory are one page, and what nobody took yet.

        Raises Refused (run.votes, run.slot), EnclaveUnreachable.
        """
        mark = f"carried/{agreement.hex()}/{run.hex()}"
        if self.pipeline.journal.state(mark) is not None:
            return
        left: list[Delivery] = []
        after, more = 0, True
        while more:
            question = enclave.Release(agreement=agreement, certificate=certificate, after=after)
            page = await self.link.ask(question, enclave.Released)
            left += await self._bring(agreement, page.deliveries)
            after += len(page.deliveries)
            more = page.more and bool(page.deliveries)
        await self._bring_again(agreement, left)
        self.pipeline.journal.put_state(mark, b"\x01")
        with suppress(ProtocolError):  # a courtesy: it may forget them
            await self.link.ask(enclave.Carried(agreement=agreement, run=run), Done)

    async def _bring_again(self, agreement: bytes, left: list[Delivery]) -> None:
        pause = RETRY
        while left:
            await trio.sleep(pause)
            before, left = len(left), await self._bring(agreement, left)
            pause = RETRY if len(left) < before else min(2 * pause, LONGEST_RETRY)

    async def _bring(self, agreement: bytes, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Bring each to the node where it belongs, all nodes at once; those that were not taken."""
        left: list[Delivery] = []
        by_node: dict[bytes, list[Delivery]] = {}
        for one in deliveries:
            by_node.setdefault(_node_of(one), []).append(one)
        async with trio.open_nursery() as nursery:
            for did, theirs in by_node.items():
                nursery.start_soon(self._bring_to, agreement, did, theirs, left)
        return left

    async def _bring_to(
        self, agreement: bytes, did: bytes, theirs: list[Delivery], left: list[Delivery]
    ) -> None:
        for batch in batches(theirs):
            left += await self._send(agreement, did, batch)

    async def _send(
        self, agreement: bytes, did: bytes, batch: tuple[Delivery, ...]
    ) -> list[Delivery]:
        """Those of a batch that the node did not take."""
        question = wire.Deliver(agreement=agreement, deliveries=batch)
        answer = await ask_first(
            self.transport,
            self.pipeline.world.peers_of(did),
            wire.SESSION,
            wire.SESSION_WIRE,
            question,
            wire.Delivered,
            about=f"{len(batch)} deliveries",
        )
        if answer is None:
            return list(batch)
        lacking = set(answer.lacking)
        return [one for place, one in enumerate(batch) if place in lacking]


def batches(deliveries: Iterable[Delivery]) -> Iterator[tuple[Delivery, ...]]:
    """The deliveries in order, as many at once as one request takes."""
    batch: list[Delivery] = []
    size = 0
    for one in deliveries:
        if batch and (size + one.size > BATCH or len(batch) == limits.ITEMS):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(one)
        size += one.size
    if batch:
        yield tuple(batch)


def _node_of(delivery: Delivery) -> bytes:
    """The did of the party, or of the person's gateway."""
    return delivery.gateway if delivery.person and delivery.gateway else delivery.to
