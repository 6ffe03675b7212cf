"""Everything around an enclave, with real keys: identities, an agreement, votes, shares.

`Rig` is the world: parties, people, the agreement, and all that they sign. tests/enclave_drive.py
has `Door`, which asks an enclave, and `Host`, which does what a host's node does with it.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from protocol import decision, keys, record, shape, token
from protocol.attestation.evidence import enclave_id
from protocol.identity import Participant, identity_topic, open_identity
from protocol.kinds import agreement as k
from protocol.kinds import algorithm, consent, host, run
from protocol.kinds.attestation import Attestation, SimulatedTerms
from protocol.kinds.common import Vote
from protocol.kinds.identity import Admission, Identity, RecordKey
from protocol.kinds.share import Rewrap, Share, ShareHeader, Wrap
from protocol.record import Place, Record
from protocol.sealing import stream, wrap
from protocol.terms import DIRECTIONS
from protocol.topic import read_opening
from tests.enclave_vitals import CODE, CONTRACT, COVARIATES, ENTRIES, SCHEMAS

AT, UNTIL = 1_800_000_000, 2_000_000_000
NAMES = (
    "hospital-a",
    "hospital-b",
    "hospital-c",
    "lab",
    "sponsor",
    "host-1",
    "host-2",
    "registrar",
)
PROJECT = Path(__file__).parent.parent
SCIENTIFIC = PROJECT / ".cache/environments/scientific"


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


@dataclass(frozen=True)
class Actor:
    """An organization with all its keys."""

    name: str
    signing: bytes
    sealing: bytes
    participant: Participant

    @property
    def did(self) -> bytes:
        return self.participant.did


def actor(name: str) -> Actor:
    root, signing, sealing = (seed(f"{what} {name}") for what in ("root", "record", "sealing"))
    did = keys.public(root)
    body = Identity(
        revision=0,
        name=name,
        nodes=(keys.public(seed(f"node {name}")),),
        records=(RecordKey(key=keys.public(signing), vote=True, until=UNTIL),),
        sealing=wrap.public_key(sealing),
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
    return Actor(name, signing, sealing, open_identity(signed.raw))


@dataclass(frozen=True)
class Patient:
    """A person with a vault: `value` is what the person column says."""

    value: str

    @property
    def seed(self) -> bytes:
        return seed(f"person {self.value}")

    @property
    def key(self) -> bytes:
        return keys.public(self.seed)

    @property
    def sealing(self) -> bytes:
        return seed(f"vault {self.value}")

    @property
    def secret(self) -> bytes:
        return seed(f"secret {self.value}")


@dataclass
class Pen:
    """Signs an actor's records in one topic."""

    who: Actor
    topic: bytes
    place: Place = field(default_factory=Place)

    def write(self, kind: str, body: object, at: int = AT) -> Record:
        signed = record.sign(
            self.who.signing,
            topic=self.topic,
            author=self.who.did,
            kind=kind,
            body=body,
            place=self.place,
            at=at,
            salt=seed(f"{self.who.name} {self.place.seq}")[:16],
        )
        self.place = Place(seq=signed.seq + 1, prev=signed.id)
        return signed


@dataclass(frozen=True)
class Sealed:
    """A sealed share: what the host gets. `opener` is the record, or the envelope by enclave."""

    id: bytes
    person: bool
    opener: dict[bytes, bytes]
    frames: tuple[bytes, ...]
    consent: bytes = b""
    key: bytes = b""
    header: bytes = b""


def arrow(rows: list[dict[str, Any]]) -> bytes:
    """Rows as one Arrow stream in the contract's columns."""
    kinds = {"person": pa.string(), "site": pa.int64(), "value": pa.float64()}
    names = list(rows[0]) if rows else list(kinds)
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in names}
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def rows_of(*numbers: int, site: int = 1) -> list[dict[str, Any]]:
    """One row for each number: person row-NNN."""
    return [{"person": f"row-{n:03}", "site": site, "value": float(n)} for n in numbers]


class Rig:
    """The world of one agreement."""

    def __init__(self, environment_digest: bytes, **changes: Any) -> None:
        """`changes` are fields of Rules, `processing`, `waits`, `at_most`, `attempts`,
        `attestation`, `limits`; `runs`: more fields of Runs; `events`: schemas of their triggers.
        """
        self.actors = {name: actor(name) for name in NAMES}
        self.a, self.b, self.c, self.lab, self.sponsor = (self.actors[n] for n in NAMES[:5])
        self.host_1, self.host_2, self.registrar = (self.actors[n] for n in NAMES[5:])
        self.parties = (self.a, self.b, self.c, self.lab, self.sponsor)
        self.schemas = {name: json.dumps(body).encode() for name, body in SCHEMAS.items()}
        self.bundle = shape.encode(self._bundle(environment_digest))
        self.document = self._document(environment_digest, changes)
        raw = shape.encode(self.document)
        self.id = sha256(raw)
        pens = {one.name: Pen(one, self.document.negotiation) for one in self.parties}
        votes = tuple(
            pens[one.name].write("vote", self._yes(one, "agreement", self.id)).raw
            for one in self.parties
        )
        named = (*self.parties, self.host_1, self.host_2)
        identities = tuple(one.participant.raw for one in named)
        signed = k.AgreementOpening(document=raw, votes=votes, identities=identities)
        self.opening = shape.encode(signed)
        assert read_opening(self.opening).topic == self.id
        self.named: dict[str, tuple[bytes, ...]] = {}
        self.pens = {name: Pen(one, self.id) for name, one in self.actors.items()}
        self.blobs = (self.bundle, CONTRACT, *self.schemas.values(), *changes.get("events", ()))

    # --- the agreement ------------------------------------------------------------------------

    def _bundle(self, environment_digest: bytes) -> algorithm.Bundle:
        entries = tuple(
            algorithm.Entry(
                name=name,
                function=f"vitals:{name.replace('-', '_')}",
                parameters=COVARIATES if name == "fit" else (),
                outputs=outputs,
            )
            for name, outputs in ENTRIES.items()
        )
        manifest = algorithm.Manifest(
            name="vitals",
            version="1.0.0",
            kind="python",
            author="lab",
            licence="Apache-2.0",
            environment=environment_digest,
            inputs=("vitals-v1",),
            entries=entries,
            description="For tests.",
        )
        return algorithm.Bundle(manifest=manifest, files={"vitals.py": CODE})

    def _document(self, environment_digest: bytes, changes: dict[str, Any]) -> k.Agreement:
        negotiation = k.NegotiationOpening(
            space=seed("space"),
            name="vitals",
            members=tuple(one.did for one in self.parties),
            salt=seed("negotiation"),
        )
        rules = {
            "min_contributors": 3,
            "min_change": 2,
            "small_cells": "refuse",
            "precision": 3,
            "output_bytes": 65536,
        }
        rules |= {name: value for name, value in changes.items() if name in DIRECTIONS}
        sources = tuple(k.RuleSource(rule=rule, party=self.b.did) for rule in sorted(DIRECTIONS))
        measured = SimulatedTerms(accept=({"software": seed("software")},))
        return k.Agreement(
            name="vitals",
            space=seed("space"),
            negotiation=sha256(shape.encode(negotiation)),
            start=AT,
            purpose=self._purpose(changes.get("processing", ("dpv:Combine", "dpv:Analyse"))),
            parties=tuple(self._party(one) for one in self.parties),
            people=self._people(),
            datasets=(self._dataset(changes.get("waits", True), changes.get("overlap", "keep")),),
            algorithm=self._algorithm(environment_digest),
            outputs=(
                self._output("model", to=(self.sponsor.did, self.b.did)),
                self._output("own-risk", subject=True),
                self._output("table", to=(self.sponsor.did,)),
            ),
            limits=changes.get("limits"),
            rules=k.Rules(**rules),
            rule_sources=sources,
            runs=k.Runs(
                by=(self.sponsor.did,),
                at_most=changes.get("at_most", 5),
                attempts=changes.get("attempts", 3),
                **changes.get("runs", {}),
            ),
            attestation=changes.get("attestation", Attestation(max_age=86_400, simulated=measured)),
            hosts=self._hosts(),
            retention=86_400,
            salt=seed("salt"),
        )

    def _purpose(self, processing: tuple[str, ...]) -> k.Purpose:
        return k.Purpose(
            text="What is the mean?",
            term="dpv:AcademicResearch",
            processing=processing,
            approvals=(),
            jurisdiction="EU",
            duration=365 * 86_400,
        )

    def _party(self, one: Actor) -> k.Party:
        roles = {
            "hospital-b": ("data-provider", "data-consumer"),
            "lab": ("code-provider",),
            "sponsor": ("data-consumer",),
        }
        return k.Party(
            did=one.did,
            name=one.name,
            vote_key=one.participant.vote_key,
            identity=one.participant.id,
            roles=roles.get(one.name, ("data-provider",)),
            gdpr="dpv:JointDataControllers",
        )

    def _people(self) -> k.People:
        return k.People(
            registrar=self.registrar.did,
            registrar_keys=(self.registrar.participant.vote_key,),
            category="patient",
            notice=seed("notice"),
            window=12,
        )

    def _dataset(self, waits: bool, overlap: k.Overlap) -> k.Dataset:
        return k.Dataset(
            id="vitals-v1",
            contract=sha256(CONTRACT),
            person="person",
            sources=(
                k.Source(did=self.a.did, legal_basis="law", waits=waits),
                k.Source(did=self.b.did, legal_basis="law", waits=waits),
                k.Source(did=self.c.did, legal_basis="law", waits=False),
                k.Source(legal_basis="consent", waits=False),
            ),
            overlap=overlap,
        )

    def _algorithm(self, environment_digest: bytes) -> k.Algorithm:
        entries = tuple(
            k.AgreedEntry(name=name, parameters=COVARIATES if name == "fit" else ())
            for name in ENTRIES
        )
        return k.Algorithm(
            bundle=sha256(self.bundle),
            environment=environment_digest,
            provider=self.lab.did,
            entries=entries,
            reviews_needed=1,
            reviewers=(self.a.did,),
        )

    def _hosts(self) -> k.Hosts:
        candidates = tuple(
            k.Candidate(
                did=h.did,
                name=h.name,
                vote_key=h.participant.vote_key,
                identity=h.participant.id,
                region="NL",
            )
            for h in (self.host_1, self.host_2)
        )
        return k.Hosts(candidates=candidates, lease=4000, standbys=1)

    def _output(self, name: str, to: tuple[bytes, ...] = (), subject: bool = False) -> k.Output:
        return k.Output(name=name, schema=sha256(self.schemas[name]), to=to, subject=subject)

    @property
    def quorum(self) -> int:
        return decision.quorum(len(self.parties))

    def _yes(self, who: Actor, slot: str, subject: bytes, document: bytes | None = None) -> Vote:
        return Vote(
            slot=slot,
            subject=subject,
            choice="yes",
            identity=who.participant.id,
            document=document,
        )

    # --- election -----------------------------------------------------------------------------

    def candidacy(
        self,
        host_: Actor,
        enclave: host.EnclaveKeys,
        technology: str = "simulated",
        software: bytes = seed("software"),
    ) -> Record:
        body = host.Candidacy(
            enclave=enclave,
            technology=technology,
            software=software,
            tier="A",
            region="NL",
            operator=host_.name,
            memory=1,
            addresses=("/ip4/127.0.0.1/tcp/4001",),
        )
        return self.pens[host_.name].write("candidacy", body)

    def certificate(
        self,
        term: int,
        candidacy: Record,
        standbys: tuple[Record, ...] = (),
        voters: int | None = None,
        **changes: Any,
    ) -> bytes:
        """An election certificate; `voters` parties vote (default: a quorum)."""
        body = shape.read(host.Candidacy, dict(candidacy.body or {}))
        appointment = host.Appointment(
            agreement=self.id,
            term=term,
            host=candidacy.author,
            candidacy=candidacy.id,
            enclave=enclave_id(body.enclave),
            standbys=tuple(one.id for one in standbys),
        )
        raw = shape.encode(replace(appointment, **changes))
        voting = self.parties[: self.quorum if voters is None else voters]
        votes = tuple(
            self.pens[one.name].write("vote", self._yes(one, f"host/{term}", sha256(raw), raw)).raw
            for one in voting
        )
        return shape.encode(host.ElectionCertificate(appointment=raw, votes=votes))

    # --- shares -------------------------------------------------------------------------------

    def _header(self, owner: bytes, key: bytes, /, **changes: Any) -> bytes:
        header = ShareHeader(
            agreement=self.id,
            owner=owner,
            dataset="vitals-v1",
            contract=sha256(CONTRACT),
            commitment=wrap.commitment(key),
            salt=seed(f"header {key.hex()}"),
        )
        return shape.encode(replace(header, **changes))

    def _wraps(
        self, key: bytes, header: bytes, enclaves: tuple[host.EnclaveKeys, ...]
    ) -> tuple[Wrap, ...]:
        digest = stream.header_digest(header)
        return tuple(
            Wrap(
                enclave=enclave_id(one),
                sealed=wrap.seal(key, one.sealing, "share-key", digest, enclave_id(one)),
            )
            for one in enclaves
        )

    def share(
        self,
        who: Actor,
        rows: list[dict[str, Any]],
        *enclaves: host.EnclaveKeys,
        key: bytes | None = None,
        replaces: bytes | None = None,
        plain: bytes | None = None,
        **header: Any,
    ) -> Sealed:
        """A party's share, sealed to these enclaves; `plain` are bytes instead of the rows."""
        key = key or seed(f"share {who.name} {rows} {plain!r}")
        head = self._header(who.did, key, **header)
        body = Share(header=head, wraps=self._wraps(key, head, enclaves), replaces=replaces)
        signed = self.pens[who.name].write("share", body)
        openers = {enclave_id(one): signed.raw for one in enclaves}
        self.named[who.name] = (signed.id,)
        found = frames(key, head, arrow(rows) if plain is None else plain)
        return Sealed(signed.id, False, openers, found, key=key, header=head)

    def rewrap(self, who: Actor, share: Sealed, *enclaves: host.EnclaveKeys) -> bytes:
        """The owner wraps the key of a share to more enclaves."""
        wraps = self._wraps(share.key, share.header, enclaves)
        return self.pens[who.name].write("rewrap", Rewrap(share=share.id, wraps=wraps)).raw

    def consent(self, person: Patient, ordinal: int = 1, **changes: Any) -> bytes:
        """A person's consent token."""
        body = consent.Consent(
            agreement=self.id,
            ordinal=ordinal,
            notice=seed("notice"),
            purpose="dpv:AcademicResearch",
            categories=("health",),
            recipients=(self.sponsor.did, self.b.did),
            first=1,
            last=12,
            until=UNTIL,
            told=True,
            sealing=consent.sealing_digest(wrap.public_key(person.sealing)),
            secret=person.secret,
            gateway=self.a.did,
        )
        return token.sign(person.seed, "consent", replace(body, **changes))

    def admission(self, person: Patient, by: bytes | None = None, **changes: Any) -> bytes:
        """The registrar's word for a person."""
        body = Admission(
            agreement=self.id,
            key=person.key,
            tag=seed(f"tag {person.value}"),
            person=person.value,
            category="patient",
            until=UNTIL,
        )
        return token.sign(by or self.registrar.signing, "admission", replace(body, **changes))

    def person_share(
        self,
        person: Patient,
        rows: list[dict[str, Any]],
        *enclaves: host.EnclaveKeys,
        admission: bytes | None = None,
        consent_: bytes | None = None,
        signer: bytes | None = None,
        key: bytes | None = None,
        sealing: bytes | None = None,
    ) -> Sealed:
        """A person's share in its envelopes; `consent_` and `admission` replace the honest ones,
        `sealing` is the seed of another sealing key.
        """
        said = self.consent(person) if consent_ is None else consent_
        key = key or seed(f"share {person.value} {said.hex()}")
        head = self._header(person.key, key)
        body = Share(header=head, wraps=self._wraps(key, head, enclaves))
        share = token.sign(signer or person.seed, "share", body)
        envelope = shape.encode(
            consent.PersonEnvelope(
                admission=admission or self.admission(person),
                consent=said,
                share=share,
                sealing=wrap.public_key(person.sealing if sealing is None else sealing),
            )
        )
        openers = {
            enclave_id(one): wrap.seal(
                envelope, one.sealing, "person-envelope", self.id, enclave_id(one)
            )
            for one in enclaves
        }
        share_id = token.open_(share, "share", Share).id
        return Sealed(share_id, True, openers, frames(key, head, arrow(rows)), consent=said)

    def stop(self, person: Patient, consent_: bytes) -> bytes:
        """The person withdraws this consent."""
        ended = token.open_(consent_, "consent", consent.Consent).id
        right = self.right(person.seed)
        body = consent.Stop(agreement=self.id, what="withdrawal", consent=ended, right=right)
        return token.sign(person.seed, "stop", body)

    def right(self, key: bytes, by: bytes | None = None) -> bytes:
        """The registrar's word that this key may stop here."""
        body = consent.StopRight(agreement=self.id, key=keys.public(key))
        return token.sign(by or self.registrar.signing, "stop-right", body)

    # --- runs ---------------------------------------------------------------------------------

    def order(
        self,
        entry: str = "fit",
        parameters: Any = None,
        by: Actor | None = None,
        **more: Any,
    ) -> Record:
        chosen = {"covariates": ["age"]} if parameters is None and entry == "fit" else parameters
        text = json.dumps({} if chosen is None else chosen)
        who = by or self.sponsor
        return self.pens[who.name].write("order", run.Order(entry=entry, parameters=text, **more))

    def statement(self, who: Actor, summons: bytes, **changes: Any) -> bytes:
        asked = shape.read(run.Summons, dict(record.parse(summons).body or {}))
        body = run.Statement(
            number=asked.number,
            term=asked.term,
            nonce=asked.nonce,
            stops=(),
            shares=self.named.get(who.name, ()),
            suspended=False,
            attempts=0,
            at=AT + 100,
        )
        return self.pens[who.name].write("statement", replace(body, **changes)).raw

    def statements(self, summons: bytes, **changes: Any) -> tuple[bytes, ...]:
        """An equal statement of every party."""
        return tuple(self.statement(one, summons, **changes) for one in self.parties)

    def run_certificate(
        self, raw: bytes, voters: int | None = None, term: int | None = None
    ) -> bytes:
        """Votes for a run record (default: a quorum)."""
        found = record.parse(raw)
        body = shape.read(run.Run, dict(found.body or {}))
        slot = f"run/{body.number}/{body.term if term is None else term}"
        voting = self.parties[: self.quorum if voters is None else voters]
        votes = tuple(
            self.pens[one.name].write("vote", self._yes(one, slot, found.id)).raw for one in voting
        )
        return shape.encode(run.RunCertificate(run=raw, votes=votes))


def frames(key: bytes, header: bytes, plain: bytes, size: int = 512) -> tuple[bytes, ...]:
    """The frames of a share, in chunks of `size` bytes."""
    # The stream does not care whose key this is; a wrong commitment is for the enclave to find.
    honest = shape.encode(
        replace(shape.decode(ShareHeader, header), commitment=wrap.commitment(key))
    )
    sealer = stream.Sealer(key, honest)
    found = [sealer.segment(seed(f"segment {key.hex()}"))]
    pieces = [plain[start : start + size] for start in range(0, len(plain), size)] or [b""]
    for place, piece in enumerate(pieces, 1):
        found.append(sealer.chunk(piece, last=place == len(pieces)))
    return (*found, sealer.end())
