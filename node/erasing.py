"""Erasure: what nobody may use any more is destroyed, and the node signs that it did.

An owner destroys the key of its share, a host the sealed chunks and the key in its enclave. What is
to be done is written down first and signed last, so that a kill at any moment only delays it.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import trio

from node import stops
from node.pipeline import Pipeline
from node.share_index import Kept
from node.share_lane import ShareLane
from node.store import StoreFault
from protocol import shape
from protocol.dialogue import Done
from protocol.enclave_wire import Forget, Stops
from protocol.errors import ProtocolError, Refused
from protocol.kinds.consent import Stop
from protocol.kinds.share import Erasure, ErasureReason
from protocol.machines.agreement import Collaboration
from protocol.token import Token

EVERY: Final = 5.0
"""Seconds between two looks for what is due."""

BEGUN: Final = "erasing/"
"""State of the journal: erasures that began and are not signed yet."""

HONOURED: Final = "erased-stop/"
"""State: stops whose shares are erased. A share under a new consent comes later, and stays."""

What = Literal["key", "chunks"]

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True)
class _Due:
    """One erasure of this node."""

    agreement: bytes
    said: Erasure

    @property
    def place(self) -> str:
        return f"{BEGUN}{self.agreement.hex()}/{self.said.what}/{self.said.share.hex()}"


class Erasing:
    """Erases own shares, and as a host the shares of others, when their time has come."""

    def __init__(self, pipeline: Pipeline, lane: ShareLane | None) -> None:
        """`lane` is there where this node keeps shares for an enclave."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.journal = pipeline.journal
        self.lane = lane

    async def run(self) -> None:
        """Sweep what a crash left, then look again and again, until cancelled."""
        if self.lane is not None:
            await trio.to_thread.run_sync(sweep, self.lane, set(self.world.rooms))
        while True:
            await self.look()
            await trio.sleep(EVERY)

    async def look(self) -> None:
        """Do all that is due now; what cannot be done waits for the next look."""
        for due in [*self._begun(), *self._due()]:
            await self._try(self._erase, due)
        if self.lane is not None:
            for machine in list(self.world.collaborations()):
                await self._try(self._erase_withdrawn, machine, self.lane)
                await self._try(self._erase_replaced, machine, self.lane)

    async def pull_back(self, agreement: bytes, share: bytes) -> None:
        """Take an own share back: its key is gone when this returns, and every host is told."""
        await self._erase(self._own(self.world.collaboration(agreement), share, "pulled-back"))

    # --- what is due ----------------------------------------------------------------------------

    def _begun(self) -> list[_Due]:
        found = []
        for name, raw in self.journal.states(BEGUN).items():
            agreement = bytes.fromhex(name.removeprefix(BEGUN).partition("/")[0])
            found.append(_Due(agreement, shape.decode(Erasure, raw)))
        return found

    def _due(self) -> Iterator[_Due]:
        now, keys = int(time.time()), self.journal.share_keys().keys()
        for machine in list(self.world.collaborations()):
            reasons = party_reasons(machine, now)
            for share in reasons.keys() & keys:
                yield self._own(machine, share, reasons[share])
            for kept in self.lane.index.of(machine.id) if self.lane is not None else ():
                reason = over(machine, now) if kept.person is not None else reasons.get(kept.share)
                if reason is not None:
                    yield _chunks(machine, kept, reason)

    def _own(self, machine: Collaboration, share: bytes, reason: ErasureReason) -> _Due:
        enclaves = tuple(sorted(machine.wrapped_to(share)))
        said = Erasure(share=share, what="key", reason=reason, enclaves=enclaves)
        return _Due(machine.id, said)

    # --- people ---------------------------------------------------------------------------------

    async def _erase_withdrawn(self, machine: Collaboration, lane: ShareLane) -> None:
        """Erase people's shares whose consent ended. Which these are the elected enclave alone can
        read; a standby follows the word of a host that was elected.
        """
        here = [kept for kept in lane.index.of(machine.id) if kept.person is not None]
        hosts = _hosts(machine)
        for kept in here:
            reason = _was_told(machine, kept.share, hosts)
            if reason is not None:
                await self._erase(_chunks(machine, kept, reason))
        if not lane.in_office(machine):
            return
        new = self._new_stops(machine)
        keys = {stop.key for stop in new}
        asked = [kept for kept in here if kept.owner in keys]
        if asked:
            shown = Stops(agreement=machine.id, stops=tuple(stop.raw for stop in new))
            await lane.link.ask(shown, Done)
        ended = [kept for kept in asked if await lane.is_withdrawn(kept)]
        for kept in ended:
            await self._erase(_chunks(machine, kept, "withdrawn"))
        # A share that comes later is under a new consent, or the enclave refuses it.
        for stop in new:
            self.journal.put_state(f"{HONOURED}{stop.id.hex()}", b"\x01")

    async def _erase_replaced(self, machine: Collaboration, lane: ShareLane) -> None:
        """Erase people's shares once a decided run used a newer one of the same person, and nobody
        lacks an older result. Which is the newer the enclave tells.
        """
        run, used = lane.used.get(machine.id, (b"", frozenset()))
        if not lane.in_office(machine) or machine.runs.decided(run) is None:
            return
        if machine.runs.lacking():
            return
        here = [kept for kept in lane.index.of(machine.id) if kept.person is not None]
        since = {kept.owner: kept.at for kept in here if kept.share in used}
        for kept in here:
            older = kept.share not in used and kept.at <= since.get(kept.owner, -1)
            if older and kept.receipt is not None and await lane.is_withdrawn(kept):
                await self._erase(_chunks(machine, kept, "replaced"))

    def _new_stops(self, machine: Collaboration) -> list[Token[Stop]]:
        return [
            stops.check(raw, machine)
            for id_, raw in machine.runs.stops.items()
            if self.journal.state(f"{HONOURED}{id_.hex()}") is None
        ]

    # --- doing it -------------------------------------------------------------------------------

    async def _try(self, act: Callable[..., Awaitable[None]], *about: object) -> None:
        try:
            await act(*about)
        except StoreFault:
            raise
        except (ProtocolError, trio.TooSlowError) as error:
            log.info("an erasure waits: %s", error)

    async def _erase(self, due: _Due) -> None:
        """Idempotent. Raises Refused, StoreError, TransportError: what is left is done later."""
        self.journal.put_state(due.place, shape.encode(due.said))
        if due.said.what == "key":
            self.journal.delete_share_key(due.said.share)
        elif self.lane is not None:
            await _erase_chunks(self.lane, due)
        await self._sign(due)
        self.journal.delete_state(due.place)

    async def _sign(self, due: _Due) -> None:
        machine = self.world.collaboration(due.agreement)
        mine = (self.world.me.did, due.said.what)
        if mine in machine.erasures.get(due.said.share, {}):
            return
        made = await self.pipeline.publish(machine.id, "erasure", due.said)
        log.info("erased the %s of %s: %s", due.said.what, due.said.share.hex()[:8], made.id.hex())


def over(machine: Collaboration, now: int) -> ErasureReason | None:
    """Whether the agreement and its retention are over."""
    document = machine.document
    end = document.start + document.purpose.duration + document.retention
    return "ended" if now > end else None


def party_reasons(machine: Collaboration, now: int) -> dict[bytes, ErasureReason]:
    """The parties' shares that have no use any more, and why."""
    ended, replaced = over(machine, now), machine.replaced_shares()
    found: dict[bytes, ErasureReason] = {}
    for share in machine.shares:
        said = machine.word_of_owner(share)
        if ended is not None:
            found[share] = ended
        elif said is not None:
            found[share] = said.reason
        elif share in replaced:
            found[share] = "replaced"
    return found


def sweep(lane: ShareLane, topics: set[bytes]) -> None:
    """Delete what no agreement of this node names: files that a crash left between two steps."""
    for kept in lane.index.all():
        if kept.agreement not in topics:
            log.warning("share %s is of no agreement here: erased", kept.share.hex()[:8])
            lane.index.erase(kept)
    for share in lane.index.files.shares():
        if lane.index.get(share) is None:
            log.warning("share %s was left over: erased", share.hex()[:8])
            lane.index.files.delete(share)


async def _erase_chunks(lane: ShareLane, due: _Due) -> None:
    kept = lane.index.get(due.said.share)
    if kept is not None:
        lane.replicas.forget(kept)
        await trio.to_thread.run_sync(lane.index.erase, kept)
    forget = Forget(agreement=due.agreement, shares=(due.said.share,))
    try:
        await lane.link.ask(forget, Done)
    except Refused as error:
        if error.code != "topic.unknown":  # an enclave that never joined holds no key
            raise


def _chunks(machine: Collaboration, kept: Kept, reason: ErasureReason) -> _Due:
    if kept.person is not None:
        enclaves = {one.enclave for one in kept.person.envelopes}
    else:
        enclaves = machine.wrapped_to(kept.share)
    named = tuple(sorted(enclaves))
    said = Erasure(share=kept.share, what="chunks", reason=reason, enclaves=named)
    return _Due(machine.id, said)


def _hosts(machine: Collaboration) -> set[bytes]:
    """The hosts that held a term."""
    found = (machine.election.elected(term) for term in machine.election.ballots)
    return {one.appointment.host for one in found if one is not None}


def _was_told(machine: Collaboration, share: bytes, hosts: set[bytes]) -> ErasureReason | None:
    """Why one of these hosts erased this person's share, if one did."""
    words = machine.erasures.get(share, {}).items()
    told = [said.reason for (did, what), (_, said) in words if what == "chunks" and did in hosts]
    return next((reason for reason in told if reason in ("withdrawn", "replaced")), None)
