"""A person's upload on its way through a gateway to the elected host: carried, never read."""

import logging
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node import wire
from node.door import Door
from node.net.transport import Stream, TransportError
from protocol.errors import Refused
from protocol.kinds.consent import PersonShare

PERSON_SHARE: Final = 64 * 1024 * 1024
"""Bytes of one person's upload; a vault holds rows, not databases."""

RELAY_TIME: Final = 600.0
"""Seconds for one person's upload."""

log = logging.getLogger("village.gateway")


class Carrier(Protocol):
    """What a relay needs of its gateway."""

    door: Door

    async def host_stream(self, agreement: bytes) -> Stream:
        """A share stream to the elected host of an agreement. Raises Refused."""
        ...


@dataclass(frozen=True, slots=True)
class ShareRelay:
    """One share stream of a light peer, and its continuation to the host."""

    gateway: Carrier
    stream: Stream

    async def run(self) -> None:
        """Carry one offer, its frames, and what comes back. Raises Refused, TransportError."""
        frame = await self.stream.receive()
        await self.gateway.door.request(self.stream.peer, len(frame))
        offer = wire.SHARE_WIRE.read_request(frame)
        if not isinstance(offer, wire.OfferPersonShare):
            raise Refused("session.request", "a gateway carries people's shares only")
        onward = await self.gateway.host_stream(offer.person.agreement)
        try:
            await self._carry(onward, frame, offer.person)
        finally:
            with trio.move_on_after(1) as scope:
                scope.shield = True
                await onward.close()

    async def _carry(self, onward: Stream, offer: bytes, person: PersonShare) -> None:
        faults: list[Refused] = []
        with trio.move_on_after(RELAY_TIME):
            try:
                await onward.send(offer)
            except TransportError as error:
                raise Refused("host.unreachable", "the share stream broke") from error
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._carry_back, onward, person, nursery.cancel_scope)
                nursery.start_soon(self._carry_on, onward, faults, nursery.cancel_scope)
        if faults:
            raise faults[0]

    async def _carry_on(
        self, onward: Stream, faults: list[Refused], scope: trio.CancelScope
    ) -> None:
        """Frames to the host. Only frames: the stream has had its one offer."""
        total = 0
        try:
            while True:
                frame = await self.stream.receive()
                total += len(frame)
                _check_frame(frame, total)
                await self.gateway.door.bytes(self.stream.peer, len(frame))
                await onward.send(frame)
        except TransportError as error:
            log.info("share of a person: %r", error)
        except Refused as error:
            faults.append(error)
        scope.cancel()

    async def _carry_back(
        self, onward: Stream, person: PersonShare, scope: trio.CancelScope
    ) -> None:
        """Answers of the host; the one that says the share is safe ends the relay."""
        try:
            while True:
                answer = await onward.receive()
                await self.stream.send(answer)
                if _is_taken(answer):
                    break
        except TransportError as error:
            log.info("share of a person: %r", error)
        scope.cancel()


def _check_frame(frame: bytes, total: int) -> None:
    if not isinstance(wire.SHARE_WIRE.read_request(frame), wire.ShareFrame):
        raise Refused("session.request", "after the offer only frames may follow")
    if total > PERSON_SHARE:
        raise Refused("codec.too-large", f"more than {PERSON_SHARE} bytes")


def _is_taken(answer: bytes) -> bool:
    try:
        wire.SHARE_WIRE.read_answer(answer, wire.ShareTaken)
    except Refused:
        return False
    return True
