"""A whole true history, signed by everyone with fixed keys: a space, an agreement, two runs.

`Story` tells it; `alter` may change any document before it is signed, so that the rest of the
history still fits: what an insider with real keys could do. What others do is done to the bytes.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from protocol import decision, keys, merkle, record, shape, token
from protocol.attestation import policy, simulated
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_hash, enclave_id
from protocol.audit import bundle
from protocol.audit.bundle import TopicMaterial
from protocol.identity import identity_topic, open_identity
from protocol.kinds import agreement as k
from protocol.kinds import host as h
from protocol.kinds import run as r
from protocol.kinds.common import Vote
from protocol.kinds.consent import Consent, Stop, sealing_digest
from protocol.kinds.identity import Claims, Credential, Identity, RecordKey
from protocol.kinds.share import Receipt, Share, ShareHeader, Wrap
from protocol.kinds.space import Artifact, Charter, Founder, Invite, Join, Review, Terms
from protocol.machines.chain import admission_slot
from protocol.machines.runs import consents_root
from protocol.machines.runs import slot as run_slot
from protocol.record import Place, Record
from tests import agreements
from tests.agreements import AT, NAMES, UNTIL, Actor, seed, with_rules

NOW = AT + 10_000
Alter = Callable[[str, str, object], object]
"""(author, kind, document) -> the document that is signed instead, or None for no record."""


def as_it_was(who: str, kind: str, body: object) -> object:
    return body


def noise(text: str, size: int = 1216) -> bytes:
    """Bytes that look like a public key, so that sizes are true."""
    return hashlib.shake_256(text.encode()).digest(size)


def actor(name: str) -> Actor:
    """A participant with the keys of tests.agreements and a sealing key of true size."""
    root, signing = seed(f"root {name}"), seed(f"record {name}")
    did = keys.public(root)
    body = Identity(
        revision=0,
        name=name,
        nodes=(keys.public(seed(f"node {name}")),),
        records=(RecordKey(key=keys.public(signing), vote=True, until=UNTIL),),
        sealing=noise(f"sealing {name}"),
        until=UNTIL,
    )
    signed = record.sign(
        root,
        topic=identity_topic(did),
        author=did,
        kind="identity",
        body=body,
        place=Place(),
        at=AT,
        salt=bytes(16),
    )
    return Actor(name, root, signing, open_identity(signed.raw))


CAST = {name: actor(name) for name in NAMES}
A, B, C, LAB, SPONSOR, HOST_1, HOST_2, REGISTRAR = (CAST[name] for name in NAMES)
PARTIES = (A, B, C, LAB, SPONSOR)
FOUNDERS = (A, B, C, SPONSOR, REGISTRAR)
GUESTS = (LAB, HOST_1, HOST_2)
HOSTS = (HOST_1, HOST_2)
QUORUM = decision.quorum(len(PARTIES))


@dataclass(frozen=True)
class Enclave:
    """The keys of one host's enclave."""

    name: str

    @property
    def signing(self) -> bytes:
        return seed(f"enclave {self.name}")

    @property
    def keys(self) -> h.EnclaveKeys:
        return h.EnclaveKeys(
            signing=keys.public(self.signing), sealing=noise(f"enclave sealing {self.name}")
        )


ENCLAVES = {host.name: Enclave(host.name) for host in HOSTS}


@dataclass
class Topic:
    """Records of one topic in the order in which they were written."""

    opening: bytes
    id: bytes
    alter: Alter
    records: list[Record] = field(default_factory=list)
    places: dict[bytes, Place] = field(default_factory=dict)

    def write(self, who: Actor | Enclave, kind: str, body: object, at: int = AT) -> Record | None:
        """Sign `body`, or what `alter` makes of it, at the end of the author's feed."""
        told = self.alter(who.name, kind, body)
        if told is None:
            return None
        key = keys.public(who.signing)
        signed = record.sign(
            who.signing,
            topic=self.id,
            author=who.did if isinstance(who, Actor) else key,
            kind=kind,
            body=told,
            place=self.places.get(key, Place()),
            at=at,
            salt=seed(f"salt {who.name} {len(self.records)}")[:16],
        )
        self.places[key] = Place(seq=signed.seq + 1, prev=signed.id)
        self.records.append(signed)
        return signed

    def must(self, who: Actor | Enclave, kind: str, body: object, at: int = AT) -> Record:
        """`write`, where the rest of the story needs the record."""
        signed = self.write(who, kind, body, at)
        assert signed is not None
        return signed

    def vote(self, who: Actor, slot: str, subject: bytes, **more: object) -> Record | None:
        body = Vote(
            slot=slot,
            subject=subject,
            choice="yes",
            identity=who.participant.id,
            **more,  # type: ignore[arg-type]
        )
        return self.write(who, "vote", body)

    def material(self) -> TopicMaterial:
        return TopicMaterial(opening=self.opening, records=tuple(one.raw for one in self.records))


@dataclass
class Person:
    """Somebody with a key for this agreement, and consents in order."""

    number: int
    consents: list[bytes] = field(default_factory=list)
    stops: list[bytes] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        return seed(f"person {self.number}")

    def secret(self, ordinal: int) -> bytes:
        return seed(f"secret {self.number} {ordinal}")

    def consent(self, agreement: bytes, document: k.Agreement, first: int = 1) -> bytes:
        assert document.people is not None
        ordinal = len(self.consents) + 1
        body = Consent(
            agreement=agreement,
            ordinal=ordinal,
            notice=document.people.notice,
            purpose=document.purpose.term,
            categories=("lung-v1",),
            recipients=document.outputs[0].to,
            first=first,
            last=12,
            until=UNTIL,
            told=False,
            sealing=sealing_digest(noise(f"person sealing {self.number}")),
            secret=self.secret(ordinal),
            gateway=A.did,
        )
        self.consents.append(token.sign(self.key, "consent", body))
        return self.consents[-1]

    def withdraw(self, agreement: bytes) -> bytes:
        last = token.open_(self.consents[-1], "consent", Consent).id
        body = Stop(agreement=agreement, what="withdrawal", consent=last, right=b"")
        self.stops.append(token.sign(self.key, "stop", body))
        return self.stops[-1]


@dataclass
class Story:
    """The history so far. `tell` tells all of it, the steps tell parts of it.

    `adopting`: in term 1 a record of run 2 gets one vote, and the enclave of term 2 repeats it.
    """

    alter: Alter = as_it_was
    adopting: bool = False
    base: k.Agreement = agreements.DOCUMENT
    terms: Terms = field(
        default_factory=lambda: Terms(registrars=(REGISTRAR.did,), advisors=(), recovery_delay=3600)
    )
    evidence: list[bytes] = field(default_factory=list)
    leaves: dict[int, bytes] = field(default_factory=dict)
    people: list[Person] = field(default_factory=lambda: [Person(n) for n in range(1, 13)])
    stops: tuple[bytes, ...] = ()
    appointments: dict[int, bytes] = field(default_factory=dict)
    candidacies: dict[str, bytes] = field(default_factory=dict)
    shares: list[bytes] = field(default_factory=list)

    def tell(self) -> "Story":
        self.begin()
        again = self.order("age")
        self.withdraw()
        self.attempt(2, 1, again)
        for party in (A, B, C, SPONSOR):
            self.agreement.write(party, "lapse", h.Lapse(term=1, reason="no heartbeat"))
        self.elect(2, HOST_2)
        self.run(2, 2, again)
        return self

    def begin(self) -> "Story":
        """Up to the end of run 1."""
        self.found()
        self.negotiate()
        self.offer()
        self.elect(1, HOST_1)
        self.share()
        self.run(1, 1, self.order("sex"))
        return self

    # --- space and agreement ----------------------------------------------------------------

    def found(self) -> None:
        charter = Charter(
            name="lung",
            purpose="survival",
            founders=tuple(
                Founder(identity=one.participant.raw, roles=("data-provider",)) for one in FOUNDERS
            ),
            terms=self.terms,
            salt=seed("charter"),
        )
        raw = shape.encode(charter)
        self.space = Topic(raw, hashlib.sha256(raw).digest(), self.alter)
        for founder in FOUNDERS:
            self.space.vote(founder, "charter", self.space.id)
        for name, member in CAST.items():
            claims = Claims(legal_name=name, country="NL")
            self.space.write(
                REGISTRAR, "credential", Credential(subject=member.did, claims=claims, until=UNTIL)
            )
        for guest in GUESTS:
            self._admit(guest)
        self.space.write(
            LAB,
            "algorithm",
            Artifact(name="cox", version="1", blob=seed("bundle"), size=100),
        )
        review = Review(bundle=seed("bundle"), verdict="approved", text="read it")
        self.space.write(A, "review", review)

    def _admit(self, guest: Actor) -> None:
        invite = Invite(identity=guest.participant.raw, roles=("enclave-host",), until=UNTIL)
        invited = self.space.must(A, "invite", invite)
        joined = self.space.must(guest, "join", Join(invite=invited.id))
        for founder in FOUNDERS:
            self.space.vote(founder, admission_slot(self.space.id, joined.id), joined.id)

    def negotiate(self) -> None:
        opening = k.NegotiationOpening(
            space=self.space.id,
            name="lung-survival",
            members=tuple(one.did for one in PARTIES),
            salt=seed("negotiation"),
        )
        raw = shape.encode(opening)
        self.negotiation = Topic(raw, hashlib.sha256(raw).digest(), self.alter)
        first = replace(
            self.base,
            space=self.space.id,
            negotiation=self.negotiation.id,
            parties=tuple(
                replace(party, identity=CAST[party.name].participant.id)
                for party in self.base.parties
            ),
            hosts=replace(
                self.base.hosts,
                candidates=tuple(
                    replace(host, identity=CAST[host.name].participant.id)
                    for host in self.base.hosts.candidates
                ),
            ),
        )
        named = agreements.identities(first, (one.participant for one in CAST.values()))
        proposed = self.negotiation.must(
            SPONSOR,
            "proposal",
            k.Proposal(document=shape.encode(first), identities=named, changes=()),
        )
        self.document = with_rules(first, B, min_contributors=8)
        raw = shape.encode(self.document)
        counter = k.Proposal(
            document=raw, identities=named, parent=proposed.id, changes=("at least 8 people",)
        )
        self.negotiation.write(B, "proposal", counter)
        id_ = hashlib.sha256(raw).digest()
        votes = [self.negotiation.vote(party, "agreement", id_) for party in PARTIES]
        signed = k.AgreementOpening(
            document=raw, votes=tuple(vote.raw for vote in votes if vote), identities=named
        )
        self.agreement = Topic(shape.encode(signed), id_, self.alter)

    # --- hosts ------------------------------------------------------------------------------

    def offer(self) -> None:
        for host in HOSTS:
            candidacy = h.Candidacy(
                enclave=ENCLAVES[host.name].keys,
                technology="simulated",
                software=seed("files"),
                tier="A",
                region="NL",
                operator=host.name,
                memory=2**30,
                addresses=("/ip4/127.0.0.1/tcp/4001",),
            )
            self.candidacies[host.name] = self.agreement.must(host, "candidacy", candidacy).id

    def elect(self, term: int, host: Actor) -> None:
        for party in PARTIES:
            for candidate in HOSTS:
                self.agreement.write(party, "verdict", self._verdict(party, candidate, term))
        others = [self.candidacies[one.name] for one in HOSTS if one is not host]
        appointment = h.Appointment(
            agreement=self.agreement.id,
            term=term,
            host=host.did,
            candidacy=self.candidacies[host.name],
            enclave=enclave_id(ENCLAVES[host.name].keys),
            standbys=tuple(others),
        )
        raw = shape.encode(appointment)
        self.appointments[term] = hashlib.sha256(raw).digest()
        for party in PARTIES:
            self.agreement.vote(party, f"host/{term}", self.appointments[term], document=raw)
        self.enclave = ENCLAVES[host.name]

    def _verdict(self, party: Actor, host: Actor, term: int) -> h.Verdict:
        nonce = seed(f"nonce {party.name} {host.name} {term}")
        binding = Binding(
            technology="simulated",
            keys=ENCLAVES[host.name].keys,
            host=host.did,
            requester=party.did,
            agreement=self.agreement.id,
            term=term,
            nonce=nonce,
            software=seed("files"),
        )
        shown = simulated.produce(seed("throw-away"), binding_hash(binding), seed("software"))
        raw = shape.encode(
            EvidenceBundle(
                version=VERSION,
                technology="simulated",
                evidence=shown,
                endorsements={},
                binding=binding,
            )
        )
        self.evidence.append(raw)
        return h.Verdict(
            candidacy=self.candidacies[host.name],
            term=term,
            eligible=True,
            reasons=(),
            technology="simulated",
            nonce=nonce,
            evidence=hashlib.sha256(raw).digest(),
            policy=policy.digest(self.document.attestation),
            measured=agreements.MEASURED,
            at=AT,
            until=AT + self.document.attestation.max_age,
        )

    # --- shares and people ------------------------------------------------------------------

    def share(self) -> None:
        for owner in (A, B):
            header = ShareHeader(
                agreement=self.agreement.id,
                owner=owner.did,
                dataset="lung-v1",
                contract=seed("contract"),
                commitment=seed(f"commitment {owner.name}"),
                salt=seed(f"share {owner.name}"),
            )
            wraps = tuple(
                Wrap(enclave=enclave_id(one.keys), sealed=noise(f"wrap {owner.name}", 1168))
                for one in ENCLAVES.values()
            )
            share = Share(header=shape.encode(header), wraps=wraps)
            self.shares.append(self.agreement.must(owner, "share", share).id)
        for share_id in self.shares:
            receipt = Receipt(
                share=share_id,
                chunks=1,
                bytes=100,
                rows=50,
                people=50,
                excluded=0,
                digest=seed("stream"),
                verdict="kept",
            )
            self.agreement.write(self.enclave, "receipt", receipt)
        for person in self.people[:10]:
            person.consent(self.agreement.id, self.document)
        self.patient.withdraw(self.agreement.id)

    @property
    def patient(self) -> Person:
        """Number 7: withdrew before run 1, and consents again before run 2."""
        return self.people[6]

    def withdraw(self) -> None:
        """Between the runs: 7 consents again, two more consent, 3 withdraws."""
        for person in (self.patient, *self.people[10:]):
            person.consent(self.agreement.id, self.document, first=2)
        self.stops = (self.people[2].withdraw(self.agreement.id),)

    def in_run(self, number: int) -> Iterator[tuple[Person, int]]:
        """The contributing people with the ordinal of the consent."""
        for person in self.people:
            used = person.number not in ((7, 11, 12) if number == 1 else (3,))
            if used:
                yield person, len(person.consents)

    # --- runs -------------------------------------------------------------------------------

    def order(self, covariate: str) -> Record:
        parameters = f'{{"covariates":["{covariate}"]}}'
        return self.agreement.must(SPONSOR, "order", r.Order(entry="fit", parameters=parameters))

    def attempt(self, number: int, term: int, order: Record) -> Record | None:
        """Summons, statements and start; with `adopting`, a record with one vote."""
        statements = self.summon(number, term, order)
        self.start(number, term)
        if not self.adopting:
            return None
        self.accepted = self.propose(number, term, order, statements)
        self.agreement.vote(A, run_slot(number, term), self.accepted.id)
        return self.accepted

    def run(self, number: int, term: int, order: Record) -> None:
        statements = self.summon(number, term, order)
        self.start(number, term)
        proposed = self.propose(number, term, order, statements)
        for party in PARTIES:
            self.agreement.vote(party, run_slot(number, term), proposed.id)

    def summon(self, number: int, term: int, order: Record) -> list[Record]:
        nonce = seed(f"summons {number} {term}")
        summons = r.Summons(number=number, term=term, order=order.id, nonce=nonce)
        self.agreement.write(self.enclave, "summons", summons)
        accepted = getattr(self, "accepted", None)
        told = [
            self.agreement.write(
                party,
                "statement",
                r.Statement(
                    number=number,
                    term=term,
                    nonce=nonce,
                    stops=tuple(token.open_(raw, "stop", Stop).id for raw in self.stops),
                    suspended=False,
                    attempts=term - 1,
                    accepted=accepted.raw if accepted and party is A else None,
                    at=AT,
                ),
            )
            for party in PARTIES
        ]
        return [one for one in told if one is not None]

    def start(self, number: int, term: int) -> None:
        started = r.Started(
            number=number,
            term=term,
            shares=12,
            organizations=2,
            people=10,
            consents=10,
            signatures=5,
            digests=3,
        )
        self.agreement.write(self.enclave, "started", started)

    def propose(
        self, number: int, term: int, order: Record, statements: Iterable[Record]
    ) -> Record:
        leaves = sorted(
            merkle.person_leaf(person.secret(ordinal), self.agreement.id, number)
            for person, ordinal in self.in_run(number)
        )
        self.leaves[number] = b"".join(leaves)
        ordered = r.Order(**{name: order.body[name] for name in ("entry", "parameters")})  # type: ignore[index]
        accepted = getattr(self, "accepted", None)
        run = r.Run(
            number=number,
            term=term,
            order=order.id,
            entry=ordered.entry,
            parameters=ordered.parameters,
            appointment=self.appointments[term],
            statements=tuple(one.id for one in statements),
            stops=tuple(token.open_(raw, "stop", Stop).id for raw in self.stops),
            shares=tuple(self.shares),
            inputs=seed(f"inputs {number}"),
            consents=consents_root([seed(f"consents {number}")]),
            leaves=merkle.root(leaves),
            leaf_count=len(leaves),
            bundle=self.document.algorithm.bundle,
            environment=self.document.algorithm.environment,
            evidence=seed("evidence"),
            technology="simulated",
            rules=self.document.rules,
            gate=(
                r.GateCheck(rule="min_contributors", limit=8, measured=100, passed=True),
                r.GateCheck(rule="min_change", limit=1, measured=6, passed=True),
            ),
            outputs=(
                r.OutputDigest(name="model", to=SPONSOR.did, digest=seed("out"), size=900),
                r.OutputDigest(name="model", to=B.did, digest=seed("out b"), size=900),
                r.OutputDigest(name="own-risk", to=self.agreement.id, digest=seed("own"), size=99),
            ),
            rows=100 + len(leaves),
            contributors=100 + len(leaves),
            lineage=seed("lineage"),
            outcome="released",
            adopts=accepted.id if accepted else None,
            at=AT,
        )
        return self.agreement.must(self.enclave, "run", run)

    # --- files ------------------------------------------------------------------------------

    def topics(self) -> list[Topic]:
        return [self.space, self.negotiation, self.agreement]

    def export(self, who: Actor = B, at: int = NOW) -> bytes:
        """The audit file of this history."""
        return bundle.build(
            [one.material() for one in self.topics()],
            evidence=self.evidence,
            leaves=self.leaves.values(),
            seed=who.signing,
            identity=who.participant.raw,
            at=at,
        )

    def certificate(self, number: int) -> bytes:
        """The run certificate of a number, from the topic's records."""
        run = next(
            one
            for one in reversed(self.agreement.records)
            if one.kind == "run" and one.body and one.body["number"] == number
        )
        votes = [
            one.raw
            for one in self.agreement.records
            if one.kind == "vote" and one.body and one.body["subject"] == run.id
        ]
        return shape.encode(r.RunCertificate(run=run.raw, votes=tuple(votes)))
