"""The host's side of shares: take the frames, have the enclave verify each, keep the ciphertext,
bring copies to the standbys, spread the receipt.

A share counts only after its final frame, the copies and the enclave's good receipt. Whatever
breaks before goes on at the next offer: the enclave is shown again what the disk has.
"""

import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import trio

from node import wire
from node.bulk_lane import Lanes
from node.enclave_link import EnclaveUnreachable
from node.net.transport import Stream, Transport
from node.pipeline import Pipeline
from node.share_frames import Tally
from node.share_index import Kept, ShareIndex
from node.share_intake import Asks, Intake
from node.share_offer import read_offer
from node.share_replica import Replicas
from node.share_way import LINGER, refuse, tell_resume
from node.store import StoreError, StoreFault, StoreFull
from node.store.blobs import SealedShares
from protocol import enclave_wire as enclave
from protocol import kinds, record
from protocol.errors import ProtocolError, Refused
from protocol.kinds.algorithm import CODE
from protocol.kinds.share import Receipt
from protocol.machines.agreement import Collaboration
from protocol.machines.election import Elected

UPLOADS: Final = 32
"""Shares that stream in at once."""

UPLOADS_OF_ONE: Final = 16
"""Of these, from one peer: a gateway carries many people."""

OFFER_TIME: Final = 20.0
"""Seconds for the first frame of a stream."""

CHECK_TIME: Final = 1800.0
"""Seconds for the enclave to check a whole share against its contract."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks for shares that lack a receipt or a copy."""

LATER: Final = 10.0
"""Seconds before such a share is tried again."""

NEVER_AGAIN: Final = frozenset({"consent.withdrawn", "consent.scope", "share.binding"})
"""How an enclave refuses a share that it took before: its consent ended, or another took its place.
"""

KEPT: Final = "kept"
"""The verdict of a receipt for a share that keeps its contract."""

WIRE: Final = wire.SHARE_WIRE

T = TypeVar("T")

log = logging.getLogger("village.shares")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredShare:
    """A share that a run may use: its id, and what opens it in the elected enclave."""

    share: bytes
    person: bool
    opening: bytes
    code: bool = False


@dataclass(slots=True)
class _Turn:
    """One stream's hold on one share; a newer stream for the same share ends it."""

    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)


class ShareLane:
    """Takes shares for the enclave that this host was elected with, and keeps them. `used` says for
    an agreement which shares its newest run record here rests on, people's too.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        transport: Transport,
        link: Asks,
        files: SealedShares,
        lanes: Lanes,
    ) -> None:
        """Serve wire.SHARE and wire.REPLICA on `transport`."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.link = link
        self.index = ShareIndex(pipeline.journal, files)
        self.intake = Intake(link, self.index, lanes)
        self.replicas = Replicas(pipeline, transport, self.index, lanes)
        self._streams: list[str] = []
        self._turns: dict[bytes, _Turn] = {}
        self._later: dict[bytes, float] = {}
        self._settled: dict[bytes, tuple[int, set[bytes]]] = {}
        self.used: dict[bytes, tuple[bytes, frozenset[bytes]]] = {}
        transport.serve(wire.SHARE, self._serve)

    async def run(self) -> None:
        """Finish what a crash or an absent standby left open, until cancelled."""
        while True:
            for agreement in self.index.agreements():
                for kept in self._due(agreement):
                    await self._catch_up(kept)
            await trio.sleep(LOOK_EVERY)

    # --- for runs -------------------------------------------------------------------------------

    def stored(self, agreement: bytes) -> list[StoredShare]:
        """The complete shares with a good receipt that the elected enclave can open, oldest first.

        A share that another replaces stays in the list until node/erasing.py erases it.
        """
        collaboration = self.world.collaboration(agreement)
        elected = collaboration.election.elected()
        if elected is None:
            return []
        found = []
        for kept in self.index.of(agreement):
            opening = kept.opening(elected.appointment.enclave)
            if opening is not None and self._counts(collaboration, kept):
                person = kept.person is not None
                shared = collaboration.shares.get(kept.share)
                code = shared is not None and shared[2].dataset == CODE
                stored = StoredShare(share=kept.share, person=person, opening=opening, code=code)
                found.append(stored)
        return found

    def in_office(self, collaboration: Collaboration) -> bool:
        """Whether this host holds the newest term."""
        elected = collaboration.election.elected()
        return elected is not None and elected.appointment.host == self.world.me.did

    async def is_withdrawn(self, kept: Kept) -> bool:
        """Whether the enclave will never use a person's share again: its consent ended, or a newer
        share is here.

        Raises EnclaveUnreachable, Refused (election.certificate).
        """
        office = self._office(self.world.collaboration(kept.agreement))
        opening = kept.opening(office.appointment.enclave)
        if opening is None:
            return False  # not sealed to this enclave: nobody here can tell
        question = enclave.ShareBegin(
            agreement=kept.agreement, share=opening, person=True, stored=True
        )
        try:
            await self.link.ask(question, enclave.ShareReady)
        except Refused as error:
            return error.code in NEVER_AGAIN
        return False

    def frames(self, share: bytes) -> Iterator[bytes]:
        """The ciphertext frames of a stored share, one at a time. Raises StoreMissing."""
        return self.index.frames(share)

    async def show_code(self, share: bytes) -> None:
        """Show the enclave all of its confidential code, unless it has it: a new one holds none.

        Raises Refused (share.*, run.code), EnclaveUnreachable.
        """
        kept = self.index.get(share)
        if kept is not None:
            async with self._turn(share):
                await self.intake.show_again(kept, await self._begin(kept))
                await self._receipt(kept)

    def _counts(self, collaboration: Collaboration, kept: Kept) -> bool:
        receipt = collaboration.receipts.get(kept.share)
        if receipt is None and kept.receipt is not None:
            receipt = kinds.read(Receipt, record.parse(kept.receipt))
        good = receipt is not None and receipt.verdict == KEPT
        return good and self.index.complete(kept.share)

    # --- one stream -----------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        try:
            with self._place(stream.peer):
                with trio.fail_after(OFFER_TIME):
                    request = WIRE.read_request(await stream.receive())
                await self._take(stream, request)
        except StoreFault:
            raise  # the daemon ends: nothing more may be promised
        except (ProtocolError, trio.TooSlowError) as error:
            refused = _as_refusal(error)
            if refused is None:
                log.info("share from %s: %s", stream.peer, error)
            else:
                await self._refuse(stream, refused)

    @contextmanager
    def _place(self, peer: str) -> Iterator[None]:
        if len(self._streams) >= UPLOADS or self._streams.count(peer) >= UPLOADS_OF_ONE:
            raise Refused("share.busy", f"{len(self._streams)} shares are on their way")
        self._streams.append(peer)
        try:
            yield
        finally:
            self._streams.remove(peer)

    async def _refuse(self, stream: Stream, error: Refused) -> None:
        """Say why, to the sender and in the log."""
        log.info("refused a share from %s: %s", stream.peer, error)
        if error.code != "share.busy":
            self.pipeline.refuse(error, b"", self.world.owner_of(stream.peer))
        await refuse(stream, WIRE, error)

    async def _take(self, stream: Stream, request: object) -> None:
        offered = await read_offer(self.pipeline, request, stream.peer)
        self._office(self.world.collaboration(offered.agreement))
        async with self._turn(offered.share) as turn:
            known = self.index.get(offered.share)
            if known is not None:
                offered = replace(offered, receipt=known.receipt)
            if offered.receipt is None:
                await self._receive(stream, offered)
                offered = await self._settle(offered)
            else:
                await tell_resume(stream, WIRE, Tally(bytes(32), ended=True))
            taken = wire.ShareTaken(
                receipt=offered.receipt or b"", replicas=await self.replicas.bring(offered)
            )
            await stream.send(WIRE.pack_answer(taken))
        if turn.scope.cancelled_caught:
            await stream.reset()

    @asynccontextmanager
    async def _turn(self, share: bytes) -> AsyncIterator[_Turn]:
        """Hold a share alone. An earlier stream of it is cut off: its sender has come back."""
        before = self._turns.get(share)
        if before is not None:
            before.scope.cancel()
            with trio.move_on_after(LINGER):
                await before.done.wait()
        if share in self._turns:
            raise Refused("share.busy")
        turn = self._turns[share] = _Turn()
        try:
            with turn.scope:
                yield turn
        finally:
            del self._turns[share]
            turn.done.set()

    # --- frames ---------------------------------------------------------------------------------

    async def _receive(self, stream: Stream, offered: Kept) -> None:
        """Take all frames that are not here yet."""
        ready = await self._begin(offered)
        await self.intake.receive(stream, self.index.put(offered), ready)

    async def _begin(self, kept: Kept) -> enclave.ShareReady:
        """Have the enclave open the share's key. Raises Refused (share.*, term.fenced, ...)."""
        collaboration = self.world.collaboration(kept.agreement)
        opening = kept.opening(self._office(collaboration).appointment.enclave)
        if opening is None:
            raise Refused("share.wrap", "nothing is sealed to the elected enclave")
        rewraps = collaboration.rewrap_records(kept.share)
        question = enclave.ShareBegin(
            agreement=kept.agreement,
            share=opening,
            person=kept.person is not None,
            rewraps=tuple(one.raw for one in rewraps),
        )
        ready = await self.link.ask(question, enclave.ShareReady)
        if (ready.share, ready.owner) != (kept.share, kept.owner):
            raise Refused("share.binding", "the envelope holds another share than it says")
        return ready

    def _office(self, collaboration: Collaboration) -> Elected:
        elected = collaboration.election.elected()
        if elected is None or elected.appointment.host != self.world.me.did:
            raise Refused("election.certificate", "this host does not hold the newest term")
        return elected

    # --- the end --------------------------------------------------------------------------------

    async def _settle(self, kept: Kept) -> Kept:
        """Copies first, then the receipt: who sees the receipt knows that the copies are there."""
        await self.replicas.bring(kept)
        kept = self.index.confirm(kept.share, await self._receipt(kept))
        verdict = kinds.read(Receipt, record.parse(kept.receipt or b"")).verdict
        if verdict != KEPT:
            log.info("share %s: %s", kept.share.hex()[:8], verdict)
            self.index.erase(kept, forget=False)
        return kept

    async def _receipt(self, kept: Kept) -> bytes:
        """The enclave's receipt, spread to the audience. Raises Refused."""
        question = enclave.ShareEnd(agreement=kept.agreement, share=kept.share)
        try:
            answer = await self.link.ask(question, enclave.Records, seconds=CHECK_TIME)
        except Refused as error:
            known = await trio.to_thread.run_sync(self._earlier_receipt, kept)
            if error.code != "enclave.sequence" or known is None:
                raise
            return known
        await self.pipeline.relay(answer.records)
        for raw in answer.records:
            found = record.parse(raw)
            if found.kind == "receipt" and kinds.read(Receipt, found).share == kept.share:
                return raw
        raise Refused("enclave.frame", "no receipt")

    def _earlier_receipt(self, kept: Kept) -> bytes | None:
        """The receipt of the enclave of an earlier term, from the topic."""
        for raw in self.pipeline.journal.records(kept.agreement):
            found = record.parse(raw)
            if found.kind == "receipt" and kinds.read(Receipt, found).share == kept.share:
                return raw
        return None

    # --- catching up ----------------------------------------------------------------------------

    def _due(self, agreement: bytes) -> Iterator[Kept]:
        """The complete shares that lack something that this host owes. Of people there are many:
        one that lacked nothing in this term is not looked at again.
        """
        room = self.world.rooms.get(agreement)
        machine = room.machine if room is not None else None
        if not isinstance(machine, Collaboration) or machine.ended(int(time.time())):
            return
        elected = machine.election.elected()
        if elected is None or elected.appointment.host != self.world.me.did:
            return
        term, settled = self._settled.get(agreement, (0, set()))
        if term != elected.term:
            settled = set()
        self._settled[agreement] = elected.term, settled
        for kept in self.index.of(agreement):
            if kept.share in settled or self._waits(kept) or not self.index.complete(kept.share):
                continue
            if kept.share not in machine.receipts or self.replicas.lacking(kept):
                yield kept
            else:
                settled.add(kept.share)

    def _waits(self, kept: Kept) -> bool:
        return trio.current_time() < self._later.get(kept.share, 0) or kept.share in self._turns

    async def _catch_up(self, kept: Kept) -> None:
        self._later[kept.share] = trio.current_time() + LATER
        machine = self.world.collaboration(kept.agreement)
        try:
            async with self._turn(kept.share):
                if kept.receipt is None and kept.share not in machine.receipts:
                    await self.intake.show_again(kept, await self._begin(kept))
                    await self._settle(kept)
                elif kept.receipt is not None and kept.share not in machine.receipts:
                    await self.pipeline.relay([kept.receipt])
                else:
                    await self.replicas.bring(kept)
        except StoreFault:
            raise
        except (ProtocolError, trio.TooSlowError) as error:
            log.info("share %s: %s", kept.share.hex()[:8], error)


def _as_refusal(error: Exception) -> Refused | None:
    """What the sender is told; None where nobody is there to hear it."""
    match error:
        case Refused():
            return error
        case EnclaveUnreachable():
            return Refused("enclave.unreachable", str(error))
        case StoreFull():
            return Refused("share.full", str(error))
        case StoreError():
            return Refused("share.busy", str(error))
        case trio.TooSlowError():
            return Refused("share.unfinished", "the stream stood still, or was too slow")
        case _:
            return None
