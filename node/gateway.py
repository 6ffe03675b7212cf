"""The gateway: stores and forwards for light peers. It decides nothing and sees no plain text.

A light peer verifies by itself whatever it gets here, and what it sends is sealed to enclaves. A
gateway can be silent or slow, and then the person takes another; it cannot lie with success.
"""

import logging
import secrets
from dataclasses import dataclass, field
from typing import Final

import trio

from node import people_wire as pw
from node import stops, wire
from node.challenge import SLOW_ROUND_TIME
from node.door import Bounds, Door
from node.leaves import fetch_leaves
from node.net.transport import Stream, Transport, TransportError
from node.pipeline import Pipeline
from node.session import Session
from node.share_relay import ShareRelay
from node.spread import Spread
from node.store import StoreFull
from node.talk import ask, ask_first
from protocol import record, token
from protocol.dialogue import Done
from protocol.errors import ProtocolError, Refused
from protocol.kinds.agreement import Agreement, People, models_of
from protocol.kinds.consent import Stop
from protocol.kinds.run import Missing
from protocol.machines.agreement import Collaboration
from protocol.machines.membership import proves_terms
from protocol.machines.space import Space

BOUNDS: Final = Bounds(
    streams=8,
    all_streams=256,
    requests=20.0,
    burst=200.0,
    bytes=8 * 1024.0 * 1024,
    bytes_burst=64 * 1024.0 * 1024,
)
"""A light peer asks some dozens of questions for one consent, and uploads one small share."""

SEEN_BY_PEOPLE: Final = frozenset(
    {"keys", "candidacy", "verdict", "vote", "lapse", "run", "suspension", "resumption"}
)
"""What a person may see: enough to verify host and runs; no organization's share, no statement."""

TERMS: Final = frozenset({"keys", "change", "vote"})
"""What of a space may prove an agreement's terms."""

PAGE: Final = 512 * 1024
"""Bytes of records in one page."""

REVIEWS: Final = 64
"""Reviews of one algorithm shown to people."""

STOP_TIME: Final = 5.0
"""Seconds that a party may take to answer a stop."""

MAIL_PAGE: Final = 100
"""Items listed at once."""

log = logging.getLogger("village.gateway")


class Gateway:
    """Serves light peers on `transport`; any member can be one."""

    def __init__(
        self, pipeline: Pipeline, spread: Spread, session: Session, transport: Transport
    ) -> None:
        """Serve what `pipeline` knows; `session` takes this node's own stops."""
        self.pipeline = pipeline
        self.world = pipeline.world
        self.journal = pipeline.journal
        self.spread = spread
        self.session = session
        self.transport = transport
        self.door = Door(BOUNDS)
        self._shown: dict[bytes, tuple[int, tuple[bytes, ...]]] = {}
        transport.serve(pw.GATEWAY, self._serve, admit_all=True)
        transport.serve(pw.GATEWAY_SHARE, self._serve_share, admit_all=True)

    async def _serve(self, stream: Stream) -> None:
        try:
            with self.door.stream(stream.peer):
                await _Visit(self, stream).run()
        except Refused as error:
            await stream.send(pw.GATEWAY_WIRE.pack_refusal(error))

    async def _serve_share(self, stream: Stream) -> None:
        try:
            with self.door.stream(stream.peer):
                await ShareRelay(self, stream).run()
        except Refused as error:
            await stream.send(wire.SHARE_WIRE.pack_refusal(error))

    # --- what is offered ----------------------------------------------------------------------

    def offers(self) -> pw.Offers:
        """Every agreement here that takes people."""
        return pw.Offers(
            offers=tuple(
                pw.Offer(
                    agreement=one.id,
                    name=one.document.name,
                    purpose=one.document.purpose.text,
                    category=people.category,
                    registrar=people.registrar,
                )
                for one in self.world.collaborations()
                if (people := one.document.people) is not None
            )
        )

    def offered(self, agreement: bytes) -> Collaboration:
        """An agreement that takes people. Raises Refused (topic.unknown)."""
        found = self.world.collaboration(agreement)
        if found.document.people is None:
            raise Refused("topic.unknown", "the agreement has no people")
        return found

    def dossier(self, agreement: bytes) -> pw.Dossier:
        """The openings, and what of the space concerns the agreement."""
        found = self.offered(agreement)
        space = self._space(found.document.space)
        bundle = found.document.algorithm.bundle
        votes = space.charter_ballot.votes.values() if space else ()
        reviewers = set(found.document.algorithm.reviewers)
        reviews = [
            one.raw
            for one, said in (space.reviews if space else ())
            if said.bundle == bundle and one.author in reviewers
        ]
        return pw.Dossier(
            agreement=found.opening.raw,
            charter=space.opening.raw if space else None,
            charter_votes=tuple(vote.raw for vote in votes),
            reviews=tuple(reviews[:REVIEWS]),
        )

    def _space(self, topic: bytes) -> Space | None:
        room = self.world.rooms.get(topic)
        return room.machine if room is not None and isinstance(room.machine, Space) else None

    def records(self, agreement: bytes, after: int) -> pw.RecordsPage:
        """A page of the records that people may see, by order of arrival here: of an agreement, or
        of the space of one what proves its terms. Raises Refused (topic.unknown).
        """
        if not self._is_space_of_people(agreement):
            self.offered(agreement)
        page: list[bytes] = []
        size = number = 0
        for number, raw in enumerate(self._seen_by_people(agreement), 1):
            if number <= after:
                continue
            if page and size + len(raw) > PAGE:
                return pw.RecordsPage(records=tuple(page), next=number - 1, more=True)
            page.append(raw)
            size += len(raw)
        return pw.RecordsPage(records=tuple(page), next=number, more=False)

    def _seen_by_people(self, agreement: bytes) -> tuple[bytes, ...]:
        """Kept until the next record comes: everybody may ask, and reading a journal costs. Of
        thousands of receipts none is read.
        """
        count = self.world.room(agreement).feeds.count()
        known = self._shown.get(agreement)
        if known is None or known[0] != count:
            if self._space(agreement):
                raws = self.journal.of_kinds(agreement, TERMS)
                known = count, tuple(raw for raw in raws if proves_terms(record.parse(raw)))
            else:
                known = count, tuple(self.journal.of_kinds(agreement, SEEN_BY_PEOPLE))
            self._shown[agreement] = known
        return known[1]

    def _is_space_of_people(self, topic: bytes) -> bool:
        taking = (one.document for one in self.world.collaborations() if one.document.people)
        return any(document.space == topic for document in taking)

    async def blob(self, request: pw.GetBlob) -> wire.BlobPiece:
        """A piece of a blob that the agreement names, or of a committed run's leaves."""
        found = self.offered(request.agreement)
        peers = self.spread.audience_peers(self.world.room(request.agreement))
        runs = [run for _, run in found.runs.committed().values() if run.leaves == request.digest]
        if request.digest in shown_blobs(found.document):
            data = await self.spread.fetch_blob(request.digest, peers)
        elif runs:
            data = await fetch_leaves(self.journal, self.spread, request.digest, peers)
        else:
            raise Refused("session.audience", "the agreement does not show this to people")
        return _piece(data, request.offset)

    # --- relays -------------------------------------------------------------------------------

    async def challenge(self, request: pw.RelayChallenge) -> wire.Evidence:
        """Carry a challenge to the enclave behind a candidacy. Raises Refused."""
        found = self.offered(request.challenge.agreement)
        known = found.election.candidacies.get(request.candidacy)
        if known is None:
            raise Refused("host.candidate", "no such candidacy here")
        for peer in self.world.peers_of(known[0].author):
            try:
                return await ask(
                    self.transport,
                    peer,
                    wire.ENCLAVE,
                    wire.ENCLAVE_WIRE,
                    request.challenge,
                    wire.Evidence,
                    seconds=SLOW_ROUND_TIME,
                )
            except (TransportError, trio.TooSlowError) as error:
                log.info("challenge of %s: %r", peer, error)
        raise Refused("host.unreachable")

    async def host_stream(self, agreement: bytes) -> Stream:
        """A share stream to the elected host. Raises Refused (election.*, host.unreachable)."""
        elected = self.offered(agreement).election.elected()
        if elected is None:
            raise Refused("election.certificate", "no host is elected yet")
        for peer in self.world.peers_of(elected.appointment.host):
            try:
                return await self.transport.open(peer, wire.SHARE)
            except TransportError as error:
                log.info("share stream to %s: %r", peer, error)
        raise Refused("host.unreachable", "the elected host does not answer")

    async def lacking(self, agreement: bytes, number: int) -> Done:
        """A person's word that an own result never came. Whoever says so costs one computation of
        that number in a term, and is not told whether it was true.
        """
        found = self.offered(agreement)
        runs, me = found.runs, self.world.me.did
        run = runs.releasable(number, found.id)
        if run is not None and me in found.parties and me not in runs.lacks.get(run, ()):
            await self.pipeline.publish(agreement, "missing", Missing(number=number, run=run))
        return Done()

    async def stop(self, raw: bytes) -> pw.StopReceipts:
        """Tell all parties of a person's stop at once, this one too; collect their receipts."""
        stop = token.open_(raw, "stop", Stop)
        found = self.offered(stop.body.agreement)
        stops.check(raw, found)
        receipts: list[bytes] = []
        if self.world.me.did in found.parties:
            receipts.append((await self.session.take_stop(raw)).receipt)
        async with trio.open_nursery() as nursery:
            for did in found.parties:
                if did != self.world.me.did:
                    nursery.start_soon(self._tell_stop, did, raw, receipts)
        return pw.StopReceipts(receipts=tuple(receipts))

    async def _tell_stop(self, did: bytes, raw: bytes, receipts: list[bytes]) -> None:
        answer = await ask_first(
            self.transport,
            self.world.peers_of(did),
            wire.SESSION,
            wire.SESSION_WIRE,
            wire.TellStop(token=raw),
            wire.StopAnswer,
            about=f"stop for {self.world.name(did)}",
            seconds=STOP_TIME,
        )
        if answer is not None:
            receipts.append(answer.receipt)


@dataclass(slots=True)
class _Visit:
    """One stream of one light peer: its nonce, and the mailbox it proved to own."""

    gateway: Gateway
    stream: Stream
    nonce: bytes | None = None
    box: bytes | None = field(default=None, repr=False)

    async def run(self) -> None:
        """Answer until the peer leaves."""
        door, peer = self.gateway.door, self.stream.peer
        while True:
            try:
                frame = await self.stream.receive()
            except ProtocolError:
                return
            await door.request(peer, len(frame))
            try:
                request = pw.GATEWAY_WIRE.read_request(frame)
                answer = pw.GATEWAY_WIRE.pack_answer(await self._answer(request))
            except Refused as error:
                log.info("refused %s: %s", error.code, error.detail)
                answer = pw.GATEWAY_WIRE.pack_refusal(error)
            except StoreFull as error:
                log.warning("%s", error)
                full = Refused("door.busy", "this gateway has no room left")
                answer = pw.GATEWAY_WIRE.pack_refusal(full)
            await door.bytes(peer, len(answer))
            await self.stream.send(answer)

    async def _answer(self, request: object) -> object:
        match request:
            case pw.ListOffers():
                return self.gateway.offers()
            case pw.GetDossier(agreement=agreement):
                return self.gateway.dossier(agreement)
            case pw.GetRecords(agreement=agreement, after=after):
                return self.gateway.records(agreement, after)
            case pw.GetBlob():
                return await self.gateway.blob(request)
            case pw.RelayChallenge():
                return await self.gateway.challenge(request)
            case pw.SendStop(token=raw):
                return await self.gateway.stop(raw)
            case pw.Lacking(agreement=agreement, number=number):
                return await self.gateway.lacking(agreement, number)
            case _:
                return self._mail(request)

    # --- mailbox ------------------------------------------------------------------------------

    def _mail(self, request: object) -> object:
        journal = self.gateway.journal
        match request:
            case pw.Greet():
                self.nonce = secrets.token_bytes(32)
                return pw.Greeting(gateway=self.gateway.world.me.did, nonce=self.nonce)
            case pw.OpenMail(proof=proof):
                return self._open_mail(proof)
            case pw.ListMail(after=after):
                items = journal.mail_list(self._open_box(), after, MAIL_PAGE)
                return pw.Mail(
                    items=tuple(pw.MailItem(number=n, size=len(item)) for n, item in items)
                )
            case pw.ReadMail(number=number, offset=offset):
                return self._read_mail(number, offset)
            case pw.AckMail(upto=upto):
                journal.mail_delete(self._open_box(), upto)
                return Done()
            case _:
                raise Refused("session.request")

    def _open_mail(self, raw: bytes) -> Done:
        """Open the mailbox of the key that signed this stream's nonce; a nonce works once."""
        proof = token.open_(raw, "mailbox", pw.MailboxProof)
        nonce, self.nonce = self.nonce, None
        if proof.body.gateway != self.gateway.world.me.did or proof.body.nonce != nonce:
            raise Refused("mailbox.proof")
        self.box = proof.key
        return Done()

    def _open_box(self) -> bytes:
        if self.box is None:
            raise Refused("mailbox.proof", "no mailbox is open on this stream")
        return self.box

    def _read_mail(self, number: int, offset: int) -> wire.BlobPiece:
        found = self.gateway.journal.mail_list(self._open_box(), max(number, 1) - 1, 1)
        if not found or found[0][0] != number:
            raise Refused("topic.unknown", "no such item in this mailbox")
        return _piece(found[0][1], offset)


def shown_blobs(document: Agreement) -> set[bytes]:
    """Digests of what the agreement shows to people: notice, code, data contracts, schemas."""
    people: People | None = document.people
    notice = {people.notice} if people is not None else set()
    contracts = {dataset.contract for dataset in document.datasets}
    return notice | contracts | {*models_of(document), document.algorithm.shown}


def _piece(data: bytes, offset: int) -> wire.BlobPiece:
    return wire.BlobPiece(data=data[offset : offset + wire.PIECE], size=len(data))
