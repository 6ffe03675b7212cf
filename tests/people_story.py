"""What was signed before people are asked: a space, an agreement, an election; and an enclave that
opens people's envelopes for real but runs no sandbox.
"""

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from enclave_host.parties import read_agreement
from enclave_host.people import Consents
from enclave_host.shares import Shares, open_person_share
from enclave_host.shares import Vault as EnclaveVault
from node import wire
from node.keyring import Keyring
from protocol import keys, merkle, record, shape
from protocol.attestation import simulated
from protocol.attestation.evidence import VERSION, Binding, EvidenceBundle, binding_hash, enclave_id
from protocol.identity import open_identity
from protocol.kinds import agreement as k
from protocol.kinds import run as r
from protocol.kinds.algorithm import Bundle, Entry, Manifest
from protocol.kinds.attestation import Attestation, Floors, SimulatedTerms
from protocol.kinds.common import Vote
from protocol.kinds.consent import Notice
from protocol.kinds.host import Appointment, Candidacy, EnclaveKeys
from protocol.kinds.identity import Identity, RecordKey
from protocol.kinds.share import Receipt
from protocol.kinds.space import Charter, Founder, Review, Terms
from protocol.machines.membership import CHARTER_SLOT
from protocol.record import Place, Record
from protocol.sealing import stream, wrap
from protocol.terms import DIRECTIONS
from protocol.topic import read_opening
from tests.agreements import DOCUMENT, identities, seed

PARTIES = ("hospital-a", "hospital-b", "hospital-c", "biostat-lab", "sponsor")
FOUNDERS = ("hospital-a", "hospital-b", "hospital-c", "sponsor", "registrar")
HOSTS = ("host-1", "host-2")
NAMES = (*PARTIES, "registrar", *HOSTS)
QUORUM = 4
NOTICE = shape.encode(Notice(language="en", text="May your record help?"))
CONTRACT = Path("configs/demo/contracts/lung-v1.odcs.yaml").read_bytes()
ROW = b"person,inst,time,status,age,sex,ph_ecog\nrow-224,12,105,0,75,2,2\n"
PASSPHRASE = b"correct horse battery"
SOFTWARE = seed("software")


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _bundle() -> bytes:
    manifest = Manifest(
        name="cox-ph",
        version="1.0.0",
        kind="python",
        author="biostat-lab",
        licence="Apache-2.0",
        environment=seed("environment"),
        inputs=("lung-v1",),
        entries=(Entry(name="fit", function="cox:fit", parameters=(), outputs=("model",)),),
        description="Cox model",
    )
    return shape.encode(Bundle(manifest=manifest, files={"cox.py": b"def fit(): ...\n"}))


BUNDLE = _bundle()


def keyring(name: str) -> Keyring:
    """A participant that is the same in every test; its address follows from its name."""
    root, signing, node = (seed(f"{what} {name}") for what in ("root", "record", "node"))
    sealing, now = seed(f"sealing {name}"), int(time.time())
    body = Identity(
        revision=0,
        name=name,
        nodes=(keys.public(node),),
        records=(RecordKey(key=keys.public(signing), vote=True, until=now + 10**6),),
        sealing=wrap.public_key(sealing),
        until=now + 10**6,
    )
    signed = record.sign(
        root,
        topic=keys.digest("identity", keys.public(root)),
        author=keys.public(root),
        kind="identity",
        body=body,
        place=Place(),
        at=now,
        salt=bytes(16),
    )
    return Keyring(
        node=node, record=signing, sealing=sealing, store=seed(name), me=open_identity(signed.raw)
    )


RINGS = {name: keyring(name) for name in NAMES}


@dataclass
class Scribe:
    """Signs records of everybody in one topic."""

    topic: bytes
    places: dict[bytes, Place] = field(default_factory=dict)

    def write(self, signing: bytes, author: bytes, kind: str, body: object) -> Record:
        key = keys.public(signing)
        made = record.sign(
            signing,
            topic=self.topic,
            author=author,
            kind=kind,
            body=body,
            place=self.places.get(key, Place()),
            at=int(time.time()),
            salt=seed(f"{key.hex()} {len(self.places)}")[:16],
        )
        self.places[key] = Place(seq=made.seq + 1, prev=made.id)
        return made

    def by(self, name: str, kind: str, body: object) -> Record:
        ring = RINGS[name]
        return self.write(ring.record, ring.did, kind, body)

    def yes(self, name: str, slot: str, subject: bytes, document: bytes | None = None) -> bytes:
        vote = Vote(
            slot=slot,
            subject=subject,
            choice="yes",
            identity=RINGS[name].me.id,
            document=document,
        )
        return self.by(name, "vote", vote).raw


class Story:
    """What was signed before people are asked: space, review, agreement, election."""

    def __init__(
        self,
        floors: Floors | None = None,
        registrars: tuple[bytes, ...] | None = None,
        **changes: Any,
    ) -> None:
        """`floors`: what the charter asks of attestation; `registrars`: whom it trusts, the usual
        one if None; `changes` to the agreement's document.
        """
        charter = Charter(
            name="lung",
            purpose="survival",
            founders=tuple(
                Founder(identity=RINGS[n].me.raw, roles=("data-provider",)) for n in FOUNDERS
            ),
            terms=Terms(
                registrars=(RINGS["registrar"].did,) if registrars is None else registrars,
                advisors=(),
                recovery_delay=3600,
                attestation=floors,
            ),
            salt=bytes(32),
        )
        self.charter = shape.encode(charter)
        self.space = Scribe(sha(self.charter))
        self.space_records = [self.space.yes(n, CHARTER_SLOT, self.space.topic) for n in FOUNDERS]
        review = Review(bundle=sha(BUNDLE), verdict="approved", text="read and understood")
        self.space_records.append(self.space.by("hospital-a", "review", review).raw)
        self.document = replace(self._document(), **changes)
        raw = shape.encode(self.document)
        talks = Scribe(self.document.negotiation)
        votes = tuple(talks.yes(n, "agreement", sha(raw)) for n in PARTIES)
        named = identities(self.document, (ring.me for ring in RINGS.values()))
        signed = k.AgreementOpening(document=raw, votes=votes, identities=named)
        self.opening = shape.encode(signed)
        self.id = read_opening(self.opening).topic
        self.scribe = Scribe(self.id)
        self.enclaves = {n: Enclave(self, n) for n in HOSTS}
        self.records: list[bytes] = []
        self.receipts: list[bytes] = []
        self.candidacies = {n: self._candidacy(n) for n in HOSTS}

    def _document(self) -> k.Agreement:
        people = DOCUMENT.people
        assert people is not None
        registrar = RINGS["registrar"]
        return replace(
            DOCUMENT,
            space=self.space.topic,
            start=int(time.time()) - 10,
            parties=tuple(
                replace(
                    p,
                    did=RINGS[p.name].did,
                    vote_key=RINGS[p.name].me.vote_key,
                    identity=RINGS[p.name].me.id,
                )
                for p in DOCUMENT.parties
            ),
            people=replace(
                people,
                registrar=registrar.did,
                registrar_keys=(registrar.me.vote_key,),
                notice=sha(NOTICE),
            ),
            datasets=(
                replace(
                    DOCUMENT.datasets[0],
                    contract=sha(CONTRACT),
                    sources=(
                        k.Source(did=RINGS["hospital-a"].did, legal_basis="law", waits=True),
                        k.Source(legal_basis="eu-gdpr:A9-2-a", waits=False),
                    ),
                ),
            ),
            algorithm=replace(
                DOCUMENT.algorithm,
                bundle=sha(BUNDLE),
                provider=RINGS["biostat-lab"].did,
                reviewers=(RINGS["hospital-a"].did, RINGS["hospital-b"].did),
            ),
            outputs=(
                k.Output(name="model", schema=seed("s"), to=(RINGS["sponsor"].did,), subject=False),
                k.Output(name="own-risk", schema=seed("o"), to=(), subject=True),
            ),
            rule_sources=tuple(
                k.RuleSource(rule=rule, party=RINGS["hospital-b"].did) for rule in DIRECTIONS
            ),
            runs=replace(DOCUMENT.runs, by=(RINGS["sponsor"].did,)),
            attestation=Attestation(
                max_age=86_400, simulated=SimulatedTerms(accept=({"software": SOFTWARE},))
            ),
            hosts=replace(
                DOCUMENT.hosts,
                candidates=tuple(
                    k.Candidate(
                        did=RINGS[n].did,
                        name=n,
                        vote_key=RINGS[n].me.vote_key,
                        identity=RINGS[n].me.id,
                        region="NL",
                    )
                    for n in HOSTS
                ),
            ),
        )

    def _candidacy(self, host: str) -> Record:
        body = Candidacy(
            enclave=self.enclaves[host].keys,
            technology="simulated",
            software=SOFTWARE,
            tier="A",
            region="NL",
            operator=host,
            memory=1,
            addresses=(),
        )
        made = self.scribe.by(host, "candidacy", body)
        self.records.append(made.raw)
        return made

    def elect(self, term: int = 1, host: str = "host-1", voters: int = QUORUM) -> list[bytes]:
        """The votes that elect a host, the other being its standby."""
        standbys = tuple(self.candidacies[n].id for n in HOSTS if n != host)
        appointment = Appointment(
            agreement=self.id,
            term=term,
            host=RINGS[host].did,
            candidacy=self.candidacies[host].id,
            enclave=enclave_id(self.enclaves[host].keys),
            standbys=standbys,
        )
        raw = shape.encode(appointment)
        votes = [self.scribe.yes(n, f"host/{term}", sha(raw), raw) for n in PARTIES[:voters]]
        self.records += votes
        return votes

    def run(
        self, number: int, leaves: Iterable[bytes], host: str = "host-1", term: int = 1
    ) -> tuple[Record, list[bytes], bytes]:
        """A committed run: its record, the records to take, and its leaves."""
        found = sorted(leaves)
        fit = r.OutputDigest(name="own-risk", to=self.id, digest=seed("together"), size=10)
        body = r.Run(
            number=number,
            term=term,
            order=seed("order"),
            entry="fit",
            parameters="{}",
            appointment=seed("appointment"),
            statements=(),
            stops=(),
            shares=(),
            inputs=seed("inputs"),
            consents=seed("consents"),
            leaves=merkle.root(found),
            leaf_count=len(found),
            bundle=sha(BUNDLE),
            environment=seed("environment"),
            evidence=seed("evidence"),
            technology="simulated",
            rules=self.document.rules,
            gate=(),
            outputs=(fit,),
            rows=1,
            contributors=len(found),
            outcome="released",
            at=int(time.time()),
        )
        signing = self.enclaves[host].signing
        made = self.scribe.write(signing, keys.public(signing), "run", body)
        votes = [self.scribe.yes(n, f"run/{number}/{term}", made.id) for n in PARTIES[:QUORUM]]
        self.records += [made.raw, *votes]
        return made, [made.raw, *votes], b"".join(found)


@dataclass
class Enclave:
    """Keys and checks of an enclave, with neither sandbox nor memory protection."""

    story: Story
    name: str
    software: bytes = SOFTWARE
    shares: Shares | None = None
    nonces: list[bytes] = field(default_factory=list)

    @property
    def signing(self) -> bytes:
        return seed(f"enclave {self.name}")

    @property
    def sealing(self) -> bytes:
        return seed(f"enclave sealing {self.name}")

    @property
    def keys(self) -> EnclaveKeys:
        return EnclaveKeys(signing=keys.public(self.signing), sealing=wrap.public_key(self.sealing))

    def attest(self, question: wire.Challenge) -> bytes:
        self.nonces.append(question.nonce)
        binding = Binding(
            technology="simulated",
            keys=self.keys,
            host=RINGS[self.name].did,
            requester=question.requester,
            agreement=question.agreement,
            term=question.term,
            nonce=question.nonce,
            software=self.software,
        )
        report = simulated.produce(seed("throw-away"), binding_hash(binding), self.software)
        return shape.encode(
            EvidenceBundle(
                version=VERSION,
                technology="simulated",
                evidence=report,
                endorsements={},
                binding=binding,
            )
        )

    def begin(self, sealed: bytes) -> Any:
        """What the real runtime does with an envelope."""
        if self.shares is None:
            self.shares = Shares(Consents(self.story.id, (RINGS["registrar"].me.vote_key,)))
        parties = read_agreement(self.story.opening)
        vault = EnclaveVault(self.keys, self.sealing)
        return self.shares.begin(open_person_share(parties, vault, sealed), stored=False)

    def take(self, held: Any, frames: list[bytes]) -> bytes:
        opener = stream.Opener(held.share.key, held.share.header)
        self.plain = b"".join(bytes(opener.feed(frame)) for frame in frames)
        held.digest = opener.digest()
        assert self.shares is not None
        self.shares.count(held)
        receipt = Receipt(
            share=held.share.id,
            chunks=opener.chunks,
            bytes=opener.size,
            rows=1,
            people=1,
            excluded=0,
            digest=opener.digest(),
            verdict="kept",
        )
        key = keys.public(self.signing)
        made = self.story.scribe.write(self.signing, key, "receipt", receipt)
        self.story.receipts.append(made.raw)
        return made.raw
