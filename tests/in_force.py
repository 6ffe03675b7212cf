"""An agreement in force, told to one machine record by record, through the gate."""

import hashlib
from dataclasses import dataclass

import pytest

from protocol import keys, record, shape
from protocol.attestation import policy
from protocol.attestation.evidence import enclave_id
from protocol.effects import Effect, Publish
from protocol.errors import Refused
from protocol.events import Received
from protocol.kinds.agreement import Agreement, AgreementOpening
from protocol.kinds.common import Vote
from protocol.kinds.host import Appointment, Candidacy, EnclaveKeys, Lapse, Verdict
from protocol.kinds.run import Order, Run, Started, Statement, Summons
from protocol.machines import election, runs
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.runs import consents_root
from protocol.record import Place, Record
from protocol.topic import Feeds, read_opening
from tests.agreements import (
    AT,
    CAST,
    DOCUMENT,
    MEASURED,
    NEGOTIATION,
    PARTIES,
    Actor,
    Pen,
    identities,
    seed,
)

ZERO = bytes(32)
AGREED = '{"covariates":["age"]}'
VOTERS = [party.name for party in PARTIES]
QUORUM = VOTERS[:4]


def opening(document: Agreement = DOCUMENT, parties: tuple[Actor, ...] = PARTIES) -> bytes:
    """The agreement, signed by all its parties."""
    raw = shape.encode(document)
    votes = []
    for party in parties:
        vote = Vote(
            slot="agreement",
            subject=hashlib.sha256(raw).digest(),
            choice="yes",
            identity=party.participant.id,
        )
        votes.append(
            record.sign(
                party.signing,
                topic=NEGOTIATION.topic,
                author=party.did,
                kind="vote",
                body=vote,
                place=Place(),
                at=AT,
                salt=bytes(16),
            ).raw
        )
    return shape.encode(
        AgreementOpening(document=raw, votes=tuple(votes), identities=identities(document))
    )


OPENING = opening()


@dataclass(frozen=True)
class Enclave:
    """What a pen needs to know of one boot of an enclave."""

    name: str

    @property
    def signing(self) -> bytes:
        return seed(f"enclave {self.name}")

    @property
    def did(self) -> bytes:
        return keys.public(self.signing)

    @property
    def keys(self) -> EnclaveKeys:
        return EnclaveKeys(signing=self.did, sealing=bytes(1216))


class Telling:
    """One machine behind its gate, and a pen for everybody who writes."""

    def __init__(self, me: str = "hospital-a", raw: bytes = OPENING) -> None:
        found = read_opening(raw)
        who = CAST[me]
        self.me = Self(did=who.did, identity=who.participant.id)
        self.machine = Collaboration(found, self.me)
        self.feeds = Feeds(found.topic, "agreement")
        self.topic = found.topic
        self.pens: dict[str, Pen] = {}
        self.told: list[Record] = []

    @property
    def election(self) -> election.Election:
        return self.machine.election

    @property
    def runs(self) -> runs.Runs:
        return self.machine.runs

    def pen(self, name: str) -> Pen:
        if name not in self.pens:
            self.pens[name] = Pen(CAST.get(name) or Enclave(name), self.topic)
        return self.pens[name]

    def tell(self, made: Record) -> list[Effect]:
        if not self.feeds.check(made, self.machine, made.at):
            return []
        self.feeds.add(made)
        self.told.append(made)
        return self.machine.handle(Received(made), 0.0)

    def say(self, name: str, kind: str, body: object, at: int = AT) -> Record:
        made = self.pen(name).write(kind, body, at)
        self.tell(made)
        return made

    def refused(self, code: str, name: str, kind: str, body: object) -> None:
        pen = self.pen(name)
        place = pen.place
        with pytest.raises(Refused) as caught:
            self.say(name, kind, body)
        assert caught.value.code == code
        pen.place = place

    def owed(self, now: float = 0.0, wall: int = AT) -> list[Effect]:
        return self.machine.duties(now, wall)

    def published(self, kind: str, now: float = 0.0, wall: int = AT) -> list[object]:
        owed = self.owed(now, wall)
        return [e.body for e in owed if isinstance(e, Publish) and e.kind == kind]

    # --- the usual course ---------------------------------------------------------------------

    def offer(self, host: str, enclave: str = "one") -> Record:
        body = Candidacy(
            enclave=Enclave(enclave).keys,
            technology="simulated",
            software=ZERO,
            tier="A",
            region="NL",
            operator=host,
            memory=1,
            addresses=(),
        )
        return self.say(host, "candidacy", body)

    def judge(self, name: str, candidacy: bytes, term: int = 1, why: str | None = None) -> None:
        self.say(name, "verdict", verdict(candidacy, term, why))

    def appointment(self, candidacy: Record, term: int = 1) -> Appointment:
        return Appointment(
            agreement=self.topic,
            term=term,
            host=candidacy.author,
            candidacy=candidacy.id,
            enclave=enclave_id(self.election.candidacies[candidacy.id][1].enclave),
            standbys=(),
        )

    def vote_host(self, name: str, appointment: Appointment, slot: str | None = None) -> Record:
        raw = shape.encode(appointment)
        body = Vote(
            slot=slot or election.slot(appointment.term),
            subject=hashlib.sha256(raw).digest(),
            choice="yes",
            identity=ZERO,
            document=raw,
        )
        return self.say(name, "vote", body)

    def elect(self, host: str = "host-1", enclave: str = "one", term: int = 1) -> Record:
        candidacy = self.offer(host, enclave)
        for name in QUORUM:
            self.vote_host(name, self.appointment(candidacy, term))
        return candidacy

    def lapse(self, term: int, names: list[str] = VOTERS[:2]) -> None:
        for name in names:
            self.say(name, "lapse", Lapse(term=term, reason="silent"))

    def order(self, parameters: str = AGREED) -> Record:
        return self.say("sponsor", "order", Order(entry="fit", parameters=parameters))

    def summon(self, order: Record, number: int = 1, term: int = 1, enclave: str = "one") -> None:
        nonce = seed(f"{number} {term} {enclave}")
        body = Summons(number=number, term=term, order=order.id, nonce=nonce)
        self.say(enclave, "summons", body)

    def state(self, name: str, number: int = 1, term: int = 1, **changes: object) -> Record:
        said = {
            "number": number,
            "term": term,
            "nonce": seed(f"{number} {term} one"),
            "stops": (),
            "suspended": False,
            "attempts": 0,
            "at": AT,
            **changes,
        }
        return self.say(name, "statement", Statement(**said))

    def start(self, number: int = 1, term: int = 1, enclave: str = "one") -> None:
        counts = ("shares", "organizations", "people", "consents", "signatures", "digests")
        body = Started(number=number, term=term, **dict.fromkeys(counts, 0))
        self.say(enclave, "started", body)

    def run(self, order: Record, statements: list[Record], **changes: object) -> Run:
        """A run record that no honest voter would refuse."""
        term = int(changes.get("term", 1))
        elected = self.election.elected(term)
        said = {
            "number": 1,
            "term": term,
            "order": order.id,
            "entry": "fit",
            "parameters": AGREED,
            "appointment": elected.subject if elected else ZERO,
            "statements": tuple(one.id for one in statements),
            "stops": (),
            "shares": (),
            "inputs": ZERO,
            "consents": consents_root([]),
            "leaves": ZERO,
            "leaf_count": 0,
            "bundle": DOCUMENT.algorithm.bundle,
            "environment": DOCUMENT.algorithm.environment,
            "evidence": ZERO,
            "technology": "simulated",
            "rules": DOCUMENT.rules,
            "gate": (),
            "outputs": (),
            "rows": 0,
            "contributors": 0,
            "outcome": "released",
            "at": AT,
            **changes,
        }
        return Run(**said)

    def vote_run(
        self, name: str, made: Record, number: int = 1, term: int = 1, choice: str = "yes"
    ) -> Record:
        reason = None if choice == "yes" else "run.code"
        body = Vote(
            slot=runs.slot(number, term),
            subject=made.id,
            choice=choice,
            identity=ZERO,
            reason=reason,
        )
        return self.say(name, "vote", body)


def verdict(candidacy: bytes, term: int = 1, why: str | None = None) -> Verdict:
    return Verdict(
        candidacy=candidacy,
        term=term,
        eligible=why is None,
        reasons=() if why is None else (why,),
        technology="simulated",
        nonce=ZERO,
        policy=policy.digest(DOCUMENT.attestation),
        measured=MEASURED if why is None else None,
        at=AT,
        until=AT + DOCUMENT.attestation.max_age if why is None else AT,
    )


def retold(records: list[Record], me: str = "hospital-a") -> Telling:
    """Another machine that hears the same records, each tried until its time has come."""
    other = Telling(me)
    waiting = list(records)
    while waiting:
        late = []
        for made in waiting:
            try:
                other.tell(made)
            except Refused:
                late.append(made)
        assert len(late) < len(waiting), "no progress"
        waiting = late
    return other
