"""The light peer's side of its two wires: one stream to a gateway, one question to a registrar."""

import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from node import people_wire as pw
from node import wire
from node.net.address import parse
from node.net.peer_id import public_key_of
from node.net.transport import Stream, Transport
from node.share_upload import Parcel, upload
from node.talk import ask
from node.vault.checks import Pile
from protocol import keys, limits, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.identity import Participant, open_identity
from protocol.kinds.identity import PersonCredential
from protocol.kinds.run import Delivery
from protocol.shape import decode

T = TypeVar("T")

Connect = Callable[[bytes], AbstractAsyncContextManager[Transport]]
"""Opens a network under the PeerId of a 32-byte seed, outbound only."""

RECORDS: Final = 2000
"""Records of one agreement that a vault takes from a gateway."""

ANSWER_TIME: Final = 30.0
"""Seconds for one answer of a gateway; it may have to ask others first."""


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """One conversation with a gateway, on one stream. Whatever it answers is to be verified."""

    transport: Transport
    peer: str
    stream: Stream

    async def offers(self) -> tuple[pw.Offer, ...]:
        """Agreements that take people, in the gateway's words."""
        return (await self._ask(pw.ListOffers(), pw.Offers)).offers

    async def pile(self, agreement: bytes) -> Pile:
        """Everything needed to verify an agreement, raw."""
        found = await self._ask(pw.GetDossier(agreement=agreement), pw.Dossier)
        records = await self._records(agreement)
        terms: list[bytes] = []
        if found.charter is not None:
            terms = await self._records(hashlib.sha256(found.charter).digest())
        return Pile(
            agreement=found.agreement,
            charter=found.charter,
            charter_votes=found.charter_votes,
            reviews=found.reviews,
            records=tuple(records),
            terms=tuple(terms),
        )

    async def _records(self, topic: bytes) -> list[bytes]:
        """All records that the gateway shows of a topic. Raises Refused (codec.too-large)."""
        records: list[bytes] = []
        after, more = 0, True
        while more:
            page = await self._ask(pw.GetRecords(agreement=topic, after=after), pw.RecordsPage)
            records += page.records
            more = page.more and page.next > after and bool(page.records)
            after = page.next
            if len(records) > RECORDS:
                raise Refused("codec.too-large", f"more than {RECORDS} records")
        return records

    async def blob(self, agreement: bytes, digest: bytes) -> bytes:
        """A blob that the agreement names, or leaves by their root; the caller checks it."""

        async def piece(offset: int) -> wire.BlobPiece:
            question = pw.GetBlob(agreement=agreement, digest=digest, offset=offset)
            return await self._ask(question, wire.BlobPiece)

        return await _whole(piece)

    async def evidence(self, candidacy: bytes, challenge: wire.Challenge) -> wire.Evidence:
        """What the enclave behind a candidacy answers to the caller's own question."""
        question = pw.RelayChallenge(candidacy=candidacy, challenge=challenge)
        return await self._ask(question, wire.Evidence)

    async def upload(self, parcel: Parcel) -> bytes:
        """Send a share to the elected host through the gateway; the enclave's raw receipt."""
        stream = await self.transport.open(self.peer, pw.GATEWAY_SHARE)
        return (await upload(stream, parcel, lambda _: None)).receipt

    async def stop(self, raw: bytes) -> tuple[bytes, ...]:
        """Send a stop to all parties; the raw receipts of those that were reached."""
        return (await self._ask(pw.SendStop(token=raw), pw.StopReceipts)).receipts

    async def open_mail(self, gateway: bytes, signing: bytes) -> None:
        """Open the mailbox of the key of `signing` on this stream. Raises Refused."""
        greeting = await self._ask(pw.Greet(), pw.Greeting)
        if greeting.gateway != gateway:
            raise Refused("mailbox.proof", "the gateway is another than the consent names")
        proof = pw.MailboxProof(gateway=gateway, nonce=greeting.nonce)
        await self._ask(pw.OpenMail(proof=token.sign(signing, "mailbox", proof)), Done)

    async def mail(self, after: int) -> tuple[pw.MailItem, ...]:
        """What waits in the open mailbox with a number above `after`."""
        return (await self._ask(pw.ListMail(after=after), pw.Mail)).items

    async def delivery(self, number: int) -> Delivery:
        """One item of the open mailbox. Raises Refused (codec.*, shape.mismatch)."""

        async def piece(offset: int) -> wire.BlobPiece:
            return await self._ask(pw.ReadMail(number=number, offset=offset), wire.BlobPiece)

        return decode(Delivery, await _whole(piece), limits.BLOB + limits.FRAME)

    async def acknowledge(self, upto: int) -> None:
        """Let the gateway delete what is safe at home."""
        await self._ask(pw.AckMail(upto=upto), Done)

    async def lacking(self, agreement: bytes, number: int) -> None:
        """Say that an own result of a run never came."""
        await self._ask(pw.Lacking(agreement=agreement, number=number), Done)

    async def _ask(self, request: object, answer: type[T]) -> T:
        with trio.fail_after(ANSWER_TIME):
            await self.stream.send(pw.GATEWAY_WIRE.pack_request(request))
            return pw.GATEWAY_WIRE.read_answer(await self.stream.receive(), answer)


@asynccontextmanager
async def gateway_call(transport: Transport, address: str) -> AsyncIterator[GatewayCall]:
    """Dial a gateway and hold one conversation. Raises Unreachable, NotAdmitted."""
    peer = await transport.dial(address)
    stream = await transport.open(peer, pw.GATEWAY)
    try:
        yield GatewayCall(transport, peer, stream)
    finally:
        with trio.move_on_after(1) as scope:
            scope.shield = True
            await stream.close()


def node_key(address: str) -> bytes:
    """The Ed25519 node key in an address that ends in /p2p/ID. Raises Unreachable."""
    return public_key_of(parse(address).peer)


async def enrol(
    transport: Transport, address: str, code: str, base: bytes
) -> tuple[Participant, bytes]:
    """Use a one-time code: the registrar's verified identity, and its credential token.

    The letter's address names the registrar's node; whoever answers must be the one whose identity
    names that node. Raises Refused (enrolment.code, credential.*, identity.*), TransportError.
    """
    peer = await transport.dial(address)
    proof = pw.EnrolmentProof(code=pw.code_digest(code))
    request = pw.Enrol(code=code, proof=token.sign(base, "enrolment", proof))
    answer = await ask(transport, peer, pw.REGISTRAR, pw.REGISTRAR_WIRE, request, pw.Credentialed)
    registrar = open_identity(answer.registrar)
    if node_key(address) not in registrar.nodes:
        raise Refused("credential.issuer", "another registrar answers at this address")
    credential = token.open_(answer.credential, "person", PersonCredential)
    if credential.key not in registrar.record_keys or credential.body.key != keys.public(base):
        raise Refused("credential.subject", "the credential is for another key")
    return registrar, answer.credential


async def admit(
    transport: Transport,
    address: str,
    credential: bytes,
    request: pw.AdmissionRequest,
    base: bytes,
) -> pw.Admitted:
    """The registrar's admission of the key in `request`; the caller verifies it."""
    peer = await transport.dial(address)
    signed = token.sign(base, "admission-request", request)
    question = pw.Admit(credential=credential, request=signed)
    return await ask(transport, peer, pw.REGISTRAR, pw.REGISTRAR_WIRE, question, pw.Admitted)


def nonce() -> bytes:
    """32 fresh random bytes for a challenge."""
    return secrets.token_bytes(32)


async def _whole(piece: Callable[[int], Awaitable[wire.BlobPiece]]) -> bytes:
    """All pieces of a blob. Raises Refused (codec.too-large)."""
    data = bytearray()
    while True:
        found = await piece(len(data))
        data += found.data
        if found.size > limits.BLOB + limits.FRAME or len(data) > found.size:
            raise Refused("codec.too-large", "a blob of another size than it claims")
        if len(data) == found.size:
            return bytes(data)
        if not found.data:
            raise Refused("codec.too-large", "a blob that stops before its end")
