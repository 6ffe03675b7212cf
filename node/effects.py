"""Effects become IO: one match. Each runs in the background, once at a time; repeating is safe."""

import logging
import time
from typing import Protocol, assert_never

import trio

from node.appraisal import Appraiser
from node.pipeline import Pipeline
from node.spread import Spread
from node.store import StoreFault
from node.world import Room
from protocol import effects as e
from protocol.errors import ProtocolError, Refused
from protocol.events import Appraised
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation

PAUSE = 1.0
"""Seconds before an effect that failed is tried again; each further pause is twice as long."""

LONGEST_PAUSE = 5.0
"""Seconds between attempts at an effect that keeps failing."""

Place = tuple[object, ...]
"""What runs once at a time: an effect, however often it is asked with newer details."""

log = logging.getLogger("village.effects")


class HostDuties(Protocol):
    """What a host's node does for the enclave behind it."""

    async def appoint(self, room: Room, effect: e.Appoint) -> None:
        """Show the enclave its election certificate."""
        ...

    async def summon(self, room: Room, effect: e.Summon) -> None:
        """Have the enclave summon statements."""
        ...

    async def execute(self, room: Room, effect: e.Execute) -> None:
        """Give the enclave what it needs for a run, and publish its record."""
        ...

    async def release(self, room: Room, effect: e.Release) -> None:
        """Have the enclave release, and deliver."""
        ...

    async def inherit(self, room: Room, effect: e.Inherit) -> None:
        """Have the enclave hand the lineage on to its standbys, or say that it lacks it."""
        ...


class OwnerDuties(Protocol):
    """What an owner of shares does."""

    async def rewrap(self, share: bytes, candidacy: bytes) -> None:
        """Wrap the key of an own share to another enclave."""
        ...


class Effects:
    """Performs what machines ask for."""

    def __init__(self, pipeline: Pipeline, spread: Spread, appraiser: Appraiser) -> None:
        """Perform effects of `pipeline`; `host` and `owner` are set where they apply."""
        self.pipeline = pipeline
        self.spread = spread
        self.appraiser = appraiser
        self.host: HostDuties | None = None
        self.owner: OwnerDuties | None = None
        self._nursery: trio.Nursery | None = None
        self._running: set[Place] = set()
        self._done: set[tuple[bytes, e.Effect]] = set()
        self._failed: dict[Place, int] = {}

    async def run(self) -> None:
        """Perform effects, and let time pass for the machines, until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                while True:
                    await self.pipeline.tick()
                    await trio.sleep(0.25)
            finally:
                self._nursery = None  # told to stop: what is due now is asked for at the next start

    def perform(self, room: Room, effect: e.Effect) -> None:
        """Start an effect unless it runs already or is done for this process's life."""
        place = _place(room, effect)
        if self._nursery is None or place in self._running or (room.topic, effect) in self._done:
            return
        self._running.add(place)
        self._nursery.start_soon(self._perform, room, effect)

    async def _perform(self, room: Room, effect: e.Effect) -> None:
        place = _place(room, effect)
        try:
            await self._do(room, effect)
        except StoreFault:
            raise  # nothing may be promised any more: the daemon ends
        except Refused as error:
            self.pipeline.refuse(error, room.topic, None, room.topic)
            await self._pause(place)
        except (ProtocolError, trio.TooSlowError, OSError) as error:
            log.warning("%s failed: %r", type(effect).__name__, error)
            await self._pause(place)
        else:
            self._failed.pop(place, None)
            if isinstance(effect, e.Appoint | e.Release | e.Rewrap):
                self._done.add((room.topic, effect))
        finally:
            self._running.discard(place)

    async def _pause(self, place: Place) -> None:
        failures = self._failed.get(place, 0)
        self._failed[place] = failures + 1
        await trio.sleep(min(PAUSE * 2 ** min(failures, 10), LONGEST_PAUSE))

    async def _do(self, room: Room, effect: e.Effect) -> None:
        match effect:
            case e.Challenge(candidacy, term):
                await self._challenge(room, candidacy, term)
            case e.OpenAgreement(opening):
                await self._open_agreement(room, opening)
            case e.Appoint() | e.Summon() | e.Execute() | e.Release() | e.Inherit():
                await self._for_host(room, effect)
            case e.Rewrap(share, candidacy):
                if self.owner is not None:
                    await self.owner.rewrap(share, candidacy)
            case e.Tell(event, subject):
                self.pipeline.happenings.add(time.time(), event, room.topic, subject)
            case e.Publish():
                await self.pipeline.publish(room.topic, effect.kind, effect.body)
            case _:
                assert_never(effect)

    async def _for_host(
        self, room: Room, effect: e.Appoint | e.Summon | e.Execute | e.Release | e.Inherit
    ) -> None:
        if self.host is None:
            return
        match effect:
            case e.Appoint():
                await self.host.appoint(room, effect)
            case e.Summon():
                await self.host.summon(room, effect)
            case e.Execute():
                await self.host.execute(room, effect)
            case e.Release():
                await self.host.release(room, effect)
            case e.Inherit():
                await self.host.inherit(room, effect)
            case _:
                assert_never(effect)

    async def _open_agreement(self, room: Room, opening: bytes) -> None:
        """Open the agreement's topic here; its audience learns of it by the next pull or push."""
        opened = await self.pipeline.open(opening)
        if isinstance(room.machine, Negotiation):
            room.machine.opened = True
        for peer in self.spread.audience_peers(opened):
            self.spread.announce(peer, opened)

    async def _challenge(self, room: Room, candidacy: bytes, term: int) -> None:
        """Verify a candidate for ourselves: own nonce, own appraisal, own verdict."""
        if not isinstance(room.machine, Collaboration):
            return
        verdict = await self.appraiser.verify(room.machine, candidacy, term)
        await self.pipeline.tell(room.topic, Appraised(verdict))


def _place(room: Room, effect: e.Effect) -> Place:
    """A run is summoned and executed once at a time, whatever statements came in meanwhile."""
    match effect:
        case e.Summon(number, term) | e.Execute(number, term):
            return room.topic, type(effect), number, term
        case _:
            return room.topic, effect
