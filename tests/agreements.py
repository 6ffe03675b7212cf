"""A small cast of participants and a sound agreement among them, for tests."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from protocol import keys, record, shape
from protocol.effects import Publish
from protocol.identity import Participant, identity_topic, open_identity
from protocol.kinds import agreement as k
from protocol.kinds.advisory import Measured
from protocol.kinds.algorithm import Parameter
from protocol.kinds.attestation import Attestation, SimulatedTerms
from protocol.kinds.identity import Identity, Pin, RecordKey, RetiredKey
from protocol.record import Place, Record
from protocol.terms import DIRECTIONS
from protocol.topic import Opening, named, read_opening

NAMES = (
    "hospital-a",
    "hospital-b",
    "hospital-c",
    "biostat-lab",
    "sponsor",
    "host-1",
    "host-2",
    "registrar",
)
UNTIL = 2_000_000_000
AT = 1_800_000_000


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Actor:
    """A participant with its keys, and the feed of records that it signs."""

    name: str
    root: bytes
    signing: bytes
    participant: Participant

    @property
    def did(self) -> bytes:
        return self.participant.did


def actor(name: str, key: bytes | None = None) -> Actor:
    """A participant with fixed keys; `key` is the seed of another record key than usual."""
    root, key = seed(f"root {name}"), key or seed(f"record {name}")
    did = keys.public(root)
    body = Identity(
        revision=0,
        name=name,
        nodes=(keys.public(seed(f"node {name}")),),
        records=(RecordKey(key=keys.public(key), vote=True, until=UNTIL),),
        sealing=bytes(1216),
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
    return Actor(name, root, key, open_identity(signed.raw))


def renewed(
    who: Actor,
    key: bytes,
    reason: Literal["rotated", "lost", "stolen"] = "rotated",
    pins: tuple[Pin, ...] | None = None,
    others: tuple[bytes, ...] = (),
) -> Actor:
    """The participant with its next identity: `key` votes, the seeds `others` may sign as well."""
    last = who.participant
    old = RetiredKey(key=last.vote_key, reason=reason, pins=pins)
    body = Identity(
        revision=last.revision + 1,
        name=who.name,
        nodes=last.nodes,
        records=(
            RecordKey(key=keys.public(key), vote=True, until=UNTIL),
            *(RecordKey(key=keys.public(one), vote=False, until=UNTIL) for one in others),
        ),
        sealing=last.sealing,
        until=UNTIL,
        retired=() if keys.public(key) == last.vote_key else (old,),
    )
    signed = record.sign(
        who.root,
        topic=identity_topic(last.did),
        author=last.did,
        kind="identity",
        body=body,
        place=Place(seq=body.revision, prev=last.id),
        at=AT,
        salt=bytes(16),
    )
    return Actor(who.name, who.root, key, open_identity(signed.raw))


CAST = {name: actor(name) for name in NAMES}
DIDS = {name: one.did for name, one in CAST.items()}
A, B, C, LAB, SPONSOR, HOST_1, HOST_2, REGISTRAR = (CAST[name] for name in NAMES)
PARTIES = (A, B, C, LAB, SPONSOR)
SPACE = seed("space")

NEGOTIATION_RAW = shape.encode(
    k.NegotiationOpening(
        space=SPACE,
        name="lung-survival",
        members=tuple(one.did for one in PARTIES),
        salt=seed("negotiation"),
    )
)
NEGOTIATION: Opening = read_opening(NEGOTIATION_RAW)

ROLES = {
    "hospital-a": ("data-provider",),
    "hospital-b": ("data-provider", "data-consumer"),
    "hospital-c": ("data-provider",),
    "biostat-lab": ("code-provider",),
    "sponsor": ("data-consumer",),
}

RULES = k.Rules(
    min_contributors=5, min_change=1, small_cells="suppress", precision=6, output_bytes=65536
)


def sources(party: Actor) -> tuple[k.RuleSource, ...]:
    return tuple(k.RuleSource(rule=rule, party=party.did) for rule in DIRECTIONS)


DOCUMENT = k.Agreement(
    name="lung-survival-2026",
    space=SPACE,
    negotiation=NEGOTIATION.topic,
    start=AT,
    purpose=k.Purpose(
        text="Who lives longer?",
        term="dpv:AcademicResearch",
        processing=("dpv:Combine", "dpv:Analyse"),
        approvals=("ethics: MEC 2026-114",),
        jurisdiction="EU",
        duration=365 * 86_400,
    ),
    parties=tuple(
        k.Party(
            did=one.did,
            name=one.name,
            vote_key=one.participant.vote_key,
            identity=one.participant.id,
            roles=ROLES[one.name],
            gdpr="dpv:JointDataControllers",
        )
        for one in PARTIES
    ),
    people=k.People(
        registrar=REGISTRAR.did,
        registrar_keys=(REGISTRAR.participant.vote_key,),
        category="patient",
        notice=seed("notice"),
        window=12,
    ),
    datasets=(
        k.Dataset(
            id="lung-v1",
            contract=seed("contract"),
            person="person",
            sources=(
                k.Source(did=A.did, legal_basis="eu-gdpr:A9-2-j", waits=True),
                k.Source(did=B.did, legal_basis="eu-gdpr:A9-2-j", waits=True),
                k.Source(legal_basis="eu-gdpr:A9-2-a", waits=False),
            ),
        ),
    ),
    algorithm=k.Algorithm(
        bundle=seed("bundle"),
        environment=seed("environment"),
        provider=LAB.did,
        entries=(
            k.AgreedEntry(
                name="fit",
                parameters=(Parameter(name="covariates", type="any_of", choices=("age", "sex")),),
            ),
        ),
        reviews_needed=1,
        reviewers=(A.did, B.did),
    ),
    outputs=(
        k.Output(name="model", schema=seed("schema"), to=(SPONSOR.did, B.did), subject=False),
        k.Output(name="own-risk", schema=seed("own"), to=(), subject=True),
    ),
    rules=RULES,
    rule_sources=sources(SPONSOR),
    runs=k.Runs(by=(SPONSOR.did,), at_most=12, attempts=3),
    attestation=Attestation(
        max_age=86_400, simulated=SimulatedTerms(accept=({"software": seed("software")},))
    ),
    hosts=k.Hosts(
        candidates=tuple(
            k.Candidate(
                did=one.did,
                name=one.name,
                vote_key=one.participant.vote_key,
                identity=one.participant.id,
                region="NL",
            )
            for one in (HOST_1, HOST_2)
        ),
        lease=4000,
        standbys=1,
    ),
    retention=30 * 86_400,
    salt=seed("salt"),
)


MEASURED = Measured(technology="simulated", registers={"software": seed("software")}, tcb={})
"""What evidence of an agreed enclave says."""


def identities(
    document: k.Agreement, participants: Iterable[Participant] | None = None
) -> tuple[bytes, ...]:
    """The records that `document` names, of these participants (default: of the cast)."""
    known = (one.participant for one in CAST.values()) if participants is None else participants
    raws = {one.id: one.raw for one in known}
    return tuple(raws[one.identity] for one in named(document))


def with_rules(document: k.Agreement, party: Actor, **changes: object) -> k.Agreement:
    """`document` with other rules, decided by `party`."""
    merged = tuple(
        replace(source, party=party.did) if source.rule in changes else source
        for source in document.rule_sources
    )
    return replace(
        document,
        rules=replace(document.rules, **changes),
        rule_sources=merged,
        salt=seed(f"{party.name} {sorted(changes.items())}"),
    )


class Pen:
    """Signs records of one actor in one topic, in the order of its feed."""

    def __init__(self, who: Actor, topic: bytes = NEGOTIATION.topic) -> None:
        self.who, self.topic, self.place = who, topic, Place()

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

    def publish(self, effects: Iterable[object]) -> list[Record]:
        """The records of all Publish effects."""
        return [self.write(e.kind, e.body) for e in effects if isinstance(e, Publish)]
