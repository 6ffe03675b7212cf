"""The registrar's node: enrols people by one-time codes, and admits each once to an agreement.

It knows who is who, and could link a person's agreements; nobody else learns either. The tag of a
person under an agreement is an HMAC, so it is the same whatever key or vault the person has, and
tells nothing to who lacks the registrar's secret.
"""

import hmac
import secrets
import time
from typing import Final

import trio

from node import people_wire as pw
from node.door import PATIENCE, Bounds, Door
from node.enrolments import Enrolled, Enrolments
from node.net.transport import Stream, Transport
from node.pipeline import Pipeline
from protocol import keys, token
from protocol.errors import ProtocolError, Refused
from protocol.kinds.consent import StopRight
from protocol.kinds.identity import Admission, PersonCredential
from protocol.sealing import wrap

DAY: Final = 24 * 3600
CREDENTIAL_DAYS: Final = 365
"""Days for which a person's credential holds."""

BOUNDS: Final = Bounds(
    streams=4,
    all_streams=64,
    requests=2.0,
    burst=20.0,
    bytes=64 * 1024.0,
    bytes_burst=512 * 1024.0,
    all_requests=100.0,
    all_burst=1000.0,
)
"""A vault asks a few times in its life; some thousand may come on the day of the letters."""

GUESSES: Final = Bounds(
    streams=1,
    all_streams=1,
    requests=1 / 60,
    burst=8.0,
    bytes=1.0,
    bytes_burst=1.0,
    all_requests=1.0,
    all_burst=256.0,
)
"""Wrong codes: who gave too many is not heard for a while; beyond those of all together each wrong
answer takes long. A right code is never kept waiting by the guesses of others."""


class Registrar:
    """Serves people on `transport`; the operator makes letters by `enrolments`."""

    def __init__(self, pipeline: Pipeline, transport: Transport) -> None:
        """Keep everything in the journal of `pipeline`."""
        self.pipeline = pipeline
        self.keyring = pipeline.keyring
        self.enrolments = Enrolments(pipeline.journal)
        self._secret = wrap.derive(self.keyring.store, b"village/registrar/1")
        self._door = Door(BOUNDS)
        self._guesses = Door(GUESSES)
        transport.serve(pw.REGISTRAR, self._serve, admit_all=True)

    # --- the operator's side ------------------------------------------------------------------

    def enrol_new(self, person: str, category: str, days: int) -> str:
        """Make a letter: a one-time code for `person`, valid for `days` days.

        The code is returned once and kept only as a digest. Raises Refused (shape.mismatch).
        """
        until = int(time.time()) + days * DAY
        return self.enrolments.write_one(person, category, until, secrets.token_bytes(16))

    # --- the door -----------------------------------------------------------------------------

    async def _serve(self, stream: Stream) -> None:
        try:
            with self._door.stream(stream.peer):
                await self._answer_all(stream)
        except Refused as error:
            await stream.send(pw.REGISTRAR_WIRE.pack_refusal(error))

    async def _answer_all(self, stream: Stream) -> None:
        while True:
            try:
                frame = await stream.receive(pw.REGISTRAR_FRAME)
            except ProtocolError:
                return
            await self._door.request(stream.peer, len(frame))
            try:
                request = pw.REGISTRAR_WIRE.read_request(frame)
                answer = pw.REGISTRAR_WIRE.pack_answer(await self._answer(request, stream.peer))
            except Refused as error:
                # Garbage is not worth a row in the journal; a wrong code or credential is.
                if error.code.startswith(("enrolment.", "credential.", "person.")):
                    self.pipeline.refuse(error, b"", None)
                answer = pw.REGISTRAR_WIRE.pack_refusal(error)
            await stream.send(answer)
            await trio.lowlevel.checkpoint()

    async def _answer(self, request: object, peer: str) -> object:
        """Answer, and count wrong codes. Raises Refused, also (door.busy)."""
        if isinstance(request, pw.Enrol):
            self._guesses.check(peer)
        try:
            return self.answer(request)
        except Refused as error:
            if error.code == "enrolment.code" and self._guesses.count(peer):
                await trio.sleep(PATIENCE)
            raise

    def answer(self, request: object) -> object:
        """Answer one request. Raises Refused (enrolment.code, credential.*, record.*)."""
        match request:
            case pw.Enrol():
                return self._enrol(request)
            case pw.Admit():
                return self._admit(request)
            case _:
                raise Refused("session.request")

    def _enrol(self, request: pw.Enrol) -> pw.Credentialed:
        """Use up a code. The same vault may ask again: its first answer may have been lost."""
        digest = pw.code_digest(request.code)
        proof = token.open_(request.proof, "enrolment", pw.EnrolmentProof)
        if proof.body.code != digest:
            raise Refused("credential.subject", "the proof is for another code")
        now = int(time.time())
        enrolled = self.enrolments.use(digest, proof.key, now + CREDENTIAL_DAYS * DAY, now)
        credential = PersonCredential(
            key=proof.key, category=enrolled.category, until=enrolled.until
        )
        signed = token.sign(self.keyring.record, "person", credential)
        return pw.Credentialed(credential=signed, registrar=self.keyring.me.raw)

    def _admit(self, request: pw.Admit) -> pw.Admitted:
        credential = token.open_(request.credential, "person", PersonCredential)
        if credential.key not in self._own_keys():
            raise Refused("credential.issuer")
        asked = token.open_(request.request, "admission-request", pw.AdmissionRequest)
        if asked.key != credential.body.key or asked.body.registrar != self.keyring.did:
            raise Refused("credential.subject", "the request is not by the key of the credential")
        now = int(time.time())
        if credential.body.until <= now:
            raise Refused("credential.expired")
        enrolled = self.enrolments.person(asked.key, now)
        # Noted before it is signed: whatever happens now, no other key of this person is admitted.
        self.enrolments.admit(enrolled.person, asked.body.agreement, asked.body.key)
        return self._admission(enrolled, asked.body.agreement, asked.body.key)

    def _own_keys(self) -> frozenset[bytes]:
        """The keys by which this registrar speaks, or spoke before it rotated them: whoever has a
        letter from then needs no other. What was taken back with pins counts no more.
        """
        known = self.pipeline.world.histories()[self.keyring.did]
        return known.live_keys | {keys.public(self.keyring.record)}

    def _admission(self, enrolled: Enrolled, agreement: bytes, key: bytes) -> pw.Admitted:
        admission = Admission(
            agreement=agreement,
            key=key,
            tag=self._tag(enrolled.person, agreement),
            person=enrolled.person,
            category=enrolled.category,
            until=enrolled.until,
        )
        right = StopRight(agreement=agreement, key=key)
        return pw.Admitted(
            admission=token.sign(self.keyring.record, "admission", admission),
            right=token.sign(self.keyring.record, "stop-right", right),
        )

    def _tag(self, person: str, agreement: bytes) -> bytes:
        message = keys.digest("person-tag", person.encode(), agreement)
        return hmac.digest(self._secret, message, "sha256")
