"""The registrar's node: enrols people by one-time codes, and admits each once to an agreement.

It knows who is who, and could link a person's agreements; nobody else learns either. It keeps codes
only as digests. The tag of a person under an agreement is an HMAC, so it is the same whatever key
or vault the person has, and tells nothing to who lacks the registrar's secret.
"""

import base64
import hmac
import secrets
import time
from dataclasses import dataclass, replace
from typing import Final

import trio

from node import people_wire as pw
from node.door import Bounds, Door
from node.net.transport import Stream, Transport
from node.pipeline import Pipeline
from protocol import keys, shape, token
from protocol.errors import ProtocolError, Refused
from protocol.kinds.identity import Admission, PersonCredential
from protocol.sealing import wrap
from protocol.shape import Hash, Key, Name, Time

DAY: Final = 24 * 3600
CREDENTIAL_DAYS: Final = 365
"""Days for which a person's credential holds."""

AGREEMENTS: Final = 256
"""Agreements to which one person may be admitted: bounds what one person makes us keep."""

BOUNDS: Final = Bounds(
    streams=4, all_streams=64, requests=2.0, burst=20.0, bytes=64 * 1024.0, bytes_burst=512 * 1024.0
)
"""A vault asks a few times in its life; guessing 100 random bits at this rate is hopeless."""

_CODE: Final = "registrar/code/"
_PERSON: Final = "registrar/person/"
_KEY: Final = "registrar/key/"
_ADMITTED: Final = "registrar/admitted/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A one-time code given out: for whom, until when; `key` is the base key that used it."""

    person: Name
    category: Name
    until: Time
    key: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A person with a vault. A newer vault of the same person takes the place of `key`."""

    person: Name
    category: Name
    key: Key
    until: Time
    revoked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """Where the person of a base key is kept."""

    person: Hash


@dataclass(frozen=True, slots=True)
class LetterState:
    """A letter as `enrolments` lists it: `state` is waiting, used or expired; never the code."""

    person: str
    category: str
    state: str
    until: int


class Registrar:
    """Serves people on `transport`; the operator makes letters by `enrol_new`."""

    def __init__(self, pipeline: Pipeline, transport: Transport) -> None:
        """Keep everything in the journal of `pipeline`."""
        self.pipeline = pipeline
        self.journal = pipeline.journal
        self.keyring = pipeline.keyring
        self._secret = wrap.derive(self.keyring.store, b"village/registrar/1")
        self._door = Door(BOUNDS)
        transport.serve(pw.REGISTRAR, self._serve, admit_all=True)

    # --- the operator's side ------------------------------------------------------------------

    def enrol_new(self, person: str, category: str, days: int) -> str:
        """Make a letter: a one-time code for `person`, valid for `days` days.

        The code is returned once and kept only as a digest. Raises Refused (shape.mismatch).
        """
        raw = base64.b32encode(secrets.token_bytes(15)).decode()[:20]
        code = "-".join(raw[start : start + 5] for start in range(0, 20, 5))
        letter = Letter(person=person, category=category, until=int(time.time()) + days * DAY)
        # The same reading as of foreign bytes: a name that is too long fails here, not later.
        checked = shape.read(Letter, shape.write(letter))
        self.journal.put_state(_CODE + pw.code_digest(code).hex(), shape.encode(checked))
        return code

    def enrolments(self) -> list[LetterState]:
        """Every letter ever made, with what became of it."""
        now = int(time.time())
        letters = [shape.decode(Letter, raw) for raw in self.journal.states(_CODE).values()]
        return [
            LetterState(one.person, one.category, _state(one, now), one.until)
            for one in sorted(letters, key=lambda one: one.person)
        ]

    def revoke(self, person: str) -> bool:
        """Admit this person to nothing more. False if the person is not enrolled."""
        name = _PERSON + _person_id(person).hex()
        raw = self.journal.state(name)
        if raw is None:
            return False
        enrolled = shape.decode(Enrolled, raw)
        self.journal.put_state(name, shape.encode(replace(enrolled, revoked=True)))
        return True

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
                answer = pw.REGISTRAR_WIRE.pack_answer(self.answer(request))
            except Refused as error:
                # Garbage is not worth a row in the journal; a wrong code or credential is.
                if error.code.startswith(("enrolment.", "credential.")):
                    self.pipeline.refuse(error, b"", None)
                answer = pw.REGISTRAR_WIRE.pack_refusal(error)
            await stream.send(answer)
            await trio.lowlevel.checkpoint()

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
        raw = self.journal.state(_CODE + digest.hex())
        now = int(time.time())
        letter = shape.decode(Letter, raw) if raw is not None else None
        if letter is None or letter.key not in (None, proof.key) or letter.until <= now:
            raise Refused("enrolment.code")
        if letter.key is None:
            self._keep(digest, letter, proof.key, now + CREDENTIAL_DAYS * DAY)
        enrolled = self._person(proof.key, now)
        credential = PersonCredential(
            key=proof.key, category=enrolled.category, until=enrolled.until
        )
        signed = token.sign(self.keyring.record, "person", credential)
        return pw.Credentialed(credential=signed, registrar=self.keyring.me.raw)

    def _keep(self, digest: bytes, letter: Letter, key: bytes, until: int) -> None:
        """Code, person and key in one transaction: a crash never leaves a code half used."""
        person = _person_id(letter.person)
        enrolled = Enrolled(
            person=letter.person, category=letter.category, key=key, until=until, revoked=False
        )
        self.journal.commit(
            [],
            {
                _CODE + digest.hex(): shape.encode(replace(letter, key=key)),
                _PERSON + person.hex(): shape.encode(enrolled),
                _KEY + key.hex(): shape.encode(_Index(person=person)),
            },
        )

    def _admit(self, request: pw.Admit) -> pw.Admitted:
        credential = token.open_(request.credential, "person", PersonCredential)
        if credential.key != keys.public(self.keyring.record):
            raise Refused("credential.issuer")
        asked = token.open_(request.request, "admission-request", pw.AdmissionRequest)
        if asked.key != credential.body.key or asked.body.registrar != self.keyring.did:
            raise Refused("credential.subject", "the request is not by the key of the credential")
        now = int(time.time())
        if credential.body.until <= now:
            raise Refused("credential.expired")
        enrolled = self._person(asked.key, now)
        self._count(asked.key, asked.body.agreement, asked.body.key)
        admission = Admission(
            agreement=asked.body.agreement,
            key=asked.body.key,
            tag=self._tag(enrolled.person, asked.body.agreement),
            person=enrolled.person,
            category=enrolled.category,
            until=enrolled.until,
        )
        return pw.Admitted(admission=token.sign(self.keyring.record, "admission", admission))

    def _person(self, key: bytes, now: int) -> Enrolled:
        """Who has this base key. Raises Refused (credential.*)."""
        index = self.journal.state(_KEY + key.hex())
        if index is None:
            raise Refused("credential.subject", "the key is not enrolled here")
        person = shape.decode(_Index, index).person
        raw = self.journal.state(_PERSON + person.hex())
        enrolled = shape.decode(Enrolled, raw) if raw is not None else None
        if enrolled is None or enrolled.key != key:
            raise Refused("credential.subject", "a newer vault of this person took its place")
        if enrolled.revoked or enrolled.until <= now:
            raise Refused("credential.expired")
        return enrolled

    def _count(self, base: bytes, agreement: bytes, key: bytes) -> None:
        """Remember the newest key of a person under an agreement. Raises Refused (door.busy)."""
        prefix = f"{_ADMITTED}{base.hex()}/"
        known = self.journal.states(prefix)
        name = prefix + agreement.hex()
        if name not in known and len(known) >= AGREEMENTS:
            raise Refused("door.busy", f"{AGREEMENTS} agreements of one person")
        if known.get(name) != key:
            self.journal.put_state(name, key)

    def _tag(self, person: str, agreement: bytes) -> bytes:
        message = keys.digest("person-tag", person.encode(), agreement)
        return hmac.digest(self._secret, message, "sha256")


def _person_id(person: str) -> bytes:
    return keys.digest("person", person.encode())


def _state(letter: Letter, now: int) -> str:
    if letter.key is not None:
        return "used"
    return "expired" if letter.until <= now else "waiting"
