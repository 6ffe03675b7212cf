"""What a person verifies by itself before any consent. Nothing is taken on a gateway's word.

Each check that holds becomes a line for the person; the first that does not is a refusal. The
anchor is the registrar: the person knows it from a letter, and the agreement must name it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from node.vault import space_terms
from protocol import decision, kinds, limits, record, shape, token, topic
from protocol.attestation import policy as policies
from protocol.attestation.appraise import Appraisal, appraise
from protocol.attestation.evidence import Binding, enclave_id
from protocol.errors import ProtocolError, Refused
from protocol.events import Received
from protocol.identity import History, Participant, learn, open_identity
from protocol.kinds.agreement import Agreement, Dataset, People
from protocol.kinds.algorithm import Bundle
from protocol.kinds.consent import Notice, StopRight
from protocol.kinds.host import EnclaveKeys
from protocol.kinds.identity import Admission, PersonCredential
from protocol.kinds.space import Charter, Review, Terms
from protocol.machines.advisories import Ground
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.election import Elected
from protocol.machines.membership import CHARTER_SLOT
from protocol.machines.space import last_words
from protocol.record import Record
from protocol.sealing import code
from protocol.topic import Opening


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, in words."""

    name: str
    words: str


@dataclass(frozen=True, slots=True)
class Pile:
    """What a gateway handed over, raw; `terms` are records of the space."""

    agreement: bytes
    charter: bytes | None
    charter_votes: tuple[bytes, ...]
    reviews: tuple[bytes, ...]
    records: tuple[bytes, ...]
    terms: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Dossier:
    """A verified agreement: its machine holds every record that verified. Made by `examine`."""

    opening: Opening
    machine: Collaboration
    people: People
    dataset: Dataset
    reviewers: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def id(self) -> bytes:
        """The agreement's id."""
        return self.opening.topic

    @property
    def document(self) -> Agreement:
        """The signed document."""
        return self.machine.document

    @property
    def quorum(self) -> int:
        """How many parties a decision of this agreement takes."""
        return decision.quorum(len(self.document.parties))

    def party_with(self, node: bytes) -> bytes:
        """The participant whose node has this key. Raises Refused (session.audience)."""
        for did, participant in self.machine.audience().items():
            if node in participant.nodes:
                return did
        raise Refused("session.audience", "the gateway is no party or host of the agreement")

    def renewed(self) -> tuple[bytes, ...]:
        """The identities of its participants that are newer than the agreement, raw."""
        named = {one.id for one in self.opening.participants.values()}
        found = self.machine.histories.values()
        return tuple(
            one.raw for history in found for one in history.revisions() if one.id not in named
        )

    def name(self, did: bytes) -> str:
        """What the agreement calls a participant."""
        found = self.machine.audience().get(did)
        return found.name if found else did.hex()[:12]


@dataclass(frozen=True, slots=True)
class Enclave:
    """An enclave that answered the person's own challenge. Made by `verify_enclave`."""

    keys: EnclaveKeys
    host: bytes
    appraisal: Appraisal

    @property
    def id(self) -> bytes:
        """Its short name."""
        return enclave_id(self.keys)


@dataclass(slots=True)
class _Findings:
    checks: list[Check] = field(default_factory=list)

    def add(self, name: str, words: str) -> None:
        self.checks.append(Check(name, words))


def examine(
    pile: Pile, agreement: bytes, *, person: bytes, now: int, known: Iterable[bytes] = ()
) -> Dossier:
    """Verify what a gateway says of an agreement, for the holder of key `person`; `known` are
    identities of its participants that were shown before.

    Raises Refused: topic.opening, agreement.*, credential.issuer, algorithm.review, ...
    """
    shown: dict[bytes, History] = {}
    for one in map(open_identity, known := tuple(known)):
        learn(shown, one)
    opening = topic.read_opening(pile.agreement, shown)
    if opening.type != "agreement" or opening.topic != agreement:
        raise Refused("topic.opening", "the gateway shows another agreement")
    machine = Collaboration(opening, Self(did=person, identity=bytes(32)))
    people, document = machine.document.people, machine.document
    if people is None:
        raise Refused("share.provider", "the agreement takes no people")
    if machine.ended(now) or document.start > now + _TOLERANCE:
        raise Refused("agreement.ended", "its time is over, or has not begun")
    found = _Findings()
    found.add("agreement", f"{len(document.parties)} of {len(document.parties)} parties signed")
    terms = _check_space(pile, document, people, found)
    machine = told(opening, machine.me, pile.records, known)
    machine.election.heed(Ground(floors=terms.attestation))
    reviewers = _check_reviews(pile.reviews, machine, found)
    return Dossier(opening, machine, people, _dataset(document), reviewers, tuple(found.checks))


def told(
    opening: Opening, me: Self, raws: Iterable[bytes], known: tuple[bytes, ...]
) -> Collaboration:
    """A machine that took every record that verifies, may stand in its topic, and is not void."""
    found = [one for raw in raws if (one := _parse(raw, opening.topic)) is not None]
    ids = {(one.key, one.seq): one.id for one in found}
    while True:
        machine = Collaboration(opening, me)
        for raw in known:
            machine.introduce(open_identity(raw))
        _fill(machine, found)
        ends = machine.ends(lambda key, seq: ids.get((key, seq)))
        rest = [one for one in found if one.seq < ends.get(one.key, limits.FEED)]
        if len(rest) == len(found):
            return machine
        found = rest


def _fill(machine: Collaboration, waiting: list[Record]) -> None:
    """Records come in any order and not all feeds are whole, so there is no gate of feeds here:
    each is checked alone, again as long as others make progress. What never fits is left out.
    """
    progress = True
    while progress:
        late = [found for found in waiting if not _take(machine, found)]
        progress = len(late) < len(waiting)
        waiting = late


def check_credential(people: People, registrar: bytes, raw: bytes, category: str, now: int) -> None:
    """Hold the person's own credential against the agreement: same registrar, same category.

    Which key the registrar signed it with is between the two: it may have rotated it since. Raises
    Refused (credential.*).
    """
    credential = token.open_(raw, "person", PersonCredential)
    if people.registrar != registrar:
        raise Refused("credential.issuer", "the agreement names another registrar than yours")
    if credential.body.category != category:
        raise Refused("credential.subject", f"the agreement is for people of {category!r}")
    if credential.body.until <= now:
        raise Refused("credential.expired")


def check_admission(raw: bytes, dossier: Dossier, person: bytes, now: int) -> Admission:
    """The registrar's admission of this person. Raises Refused (credential.*)."""
    admission = token.open_(raw, "admission", Admission)
    body = admission.body
    if admission.key not in dossier.people.registrar_keys:
        raise Refused("credential.issuer")
    if (body.agreement, body.key, body.category) != (
        dossier.id,
        person,
        dossier.people.category,
    ):
        raise Refused("credential.subject", "the admission is for another key or agreement")
    if body.until <= now:
        raise Refused("credential.expired")
    return body


def check_right(raw: bytes, dossier: Dossier, person: bytes) -> None:
    """The right to stop is of this key: without it no party would take a withdrawal.

    Raises Refused (credential.*).
    """
    right = token.open_(raw, "stop-right", StopRight)
    if right.key not in dossier.people.registrar_keys:
        raise Refused("credential.issuer")
    if right.body != StopRight(agreement=dossier.id, key=person):
        raise Refused("credential.subject", "the right to stop is of another key or agreement")


def elected(dossier: Dossier, lowest: int) -> Elected:
    """Who holds the newest term. Raises Refused (election.certificate, term.fenced, host.*).

    `lowest` is the highest term this vault ever sealed to: no gateway may lead it back.
    """
    election = dossier.machine.election
    found = election.elected()
    if found is None:
        raise Refused("election.certificate", "no host is elected yet")
    if found.term < lowest:
        raise Refused("term.fenced", f"the gateway shows term {found.term}, known is {lowest}")
    offered = election.candidacies[found.appointment.candidacy][0]
    if found.appointment.host != offered.author or offered.author not in dossier.machine.candidates:
        raise Refused("election.certificate", "the appointment and the candidacy do not agree")
    if enclave_id(found.candidacy.enclave) != found.appointment.enclave:
        raise Refused("election.certificate", "the candidacy has other enclave keys")
    return found


def expected_binding(
    dossier: Dossier, candidacy: bytes, *, person: bytes, term: int, nonce: bytes
) -> Binding:
    """What the enclave of a candidacy must prove. Raises Refused (host.candidate)."""
    known = dossier.machine.election.candidacies.get(candidacy)
    if known is None or known[0].author not in dossier.machine.candidates:
        raise Refused("host.candidate", "the candidacy was not shown")
    offered, offer = known
    return Binding(
        technology=offer.technology,
        keys=offer.enclave,
        host=offered.author,
        requester=person,
        agreement=dossier.id,
        term=term,
        nonce=nonce,
        software=offer.software,
    )


def verify_enclave(
    dossier: Dossier, evidence: bytes, expected: Binding, now: int, *, activated: bool
) -> Enclave:
    """The enclave that answered, if its evidence holds. Raises Refused with its first reason.

    The policy is the agreement's, as strict as the floors of the charter that the person checked.
    """
    policy = dossier.machine.election.policy
    found = appraise(evidence, policy, expected, now, activated=activated)
    if not found.accepted or found.keys is None:
        raise Refused(found.reasons[0], "; ".join(found.details))
    return Enclave(found.keys, expected.host, found)


def enclave_check(dossier: Dossier, enclave: Enclave, *, standby: bool) -> Check:
    """The line about a verified enclave."""
    label = policies.exposed(policies.named(dossier.document.attestation))
    role = "standby" if standby else "host"
    words = f"{role} {dossier.name(enclave.host)} answered my own challenge"
    return Check("enclave", f"{words} · {label}" if label else words)


def check_notice(raw: bytes, people: People) -> Notice:
    """The full text of the consent notice. Raises Refused (audit.altered, shape.mismatch)."""
    check_digest(raw, people.notice, "the notice")
    return shape.decode(Notice, raw)


def check_digest(raw: bytes, digest: bytes, what: str) -> None:
    """Raises Refused (audit.altered)."""
    if hashlib.sha256(raw).digest() != digest:
        raise Refused("audit.altered", f"{what} is not the one that all parties signed")


def check_bundle(raw: bytes, document: Agreement) -> Bundle:
    """The approved code, or what is shown of it if it is confidential.

    Raises Refused (run.code, algorithm.*, shape.mismatch).
    """
    if hashlib.sha256(raw).digest() != document.algorithm.shown:
        raise Refused("run.code")
    return code.interface(raw, document.algorithm)


_TOLERANCE = 300
"""Seconds by which a person's clock may be behind."""


def _check_space(pile: Pile, document: Agreement, people: People, found: _Findings) -> Terms:
    """The space is the one the agreement names, founded by all, and trusts the registrar by the
    terms in force: those of the charter, or of the last change that its voters made final.
    """
    if pile.charter is None:
        raise Refused("topic.opening", "the gateway does not show the space's charter")
    opening = topic.read_opening(pile.charter)
    charter = opening.document
    if not isinstance(charter, Charter) or opening.topic != document.space:
        raise Refused("topic.opening", "the charter is of another space")
    founders: dict[bytes, Participant] = {}
    for founder in charter.founders:
        participant = open_identity(founder.identity)
        founders[participant.did] = participant
    if len(founders) != len(charter.founders) or not founders:
        raise Refused("topic.opening", "a founder stands twice in the charter, or nobody does")
    rule = decision.Rule(
        {did: frozenset((one.vote_key,)) for did, one in founders.items()}, len(founders)
    )
    decision.verify(
        pile.charter_votes,
        topic=opening.topic,
        subject=opening.topic,
        slot=CHARTER_SLOT,
        rule=rule,
    )
    found.add("charter", f"{len(founders)} of {len(founders)} founders signed {charter.name!r}")
    space = space_terms.told(opening, (*pile.charter_votes, *pile.terms))
    if space.epoch.number:
        found.add("terms", f"changed {space.epoch.number} times since, each by a quorum")
    if people.registrar not in space.terms.registrars:
        raise Refused("credential.issuer", "the space does not trust the agreement's registrar")
    known = space.histories.get(people.registrar)
    if known is not None and not set(people.registrar_keys) <= known.record_keys:
        raise Refused("credential.issuer", "the agreement gives the registrar other keys")
    name = known.participant.name if known else "the registrar"
    found.add("registrar", f"{name} is trusted by the space")
    return space.terms


def _check_reviews(
    raws: Iterable[bytes], machine: Collaboration, found: _Findings
) -> tuple[str, ...]:
    """Who of the agreed reviewers approved the code. Raises Refused (algorithm.review)."""
    document = machine.document
    algorithm = document.algorithm
    said: list[tuple[Record, Review]] = []
    for raw in raws:
        signed = _parse(raw, document.space)
        if signed is None or signed.kind != "review" or signed.author not in algorithm.reviewers:
            continue
        reviewer = machine.histories.get(signed.author)
        if reviewer is not None and reviewer.stands(signed):
            said.append((signed, kinds.read(Review, signed)))
    last = last_words(one for one in said if one[1].bundle == algorithm.bundle)
    approved = {machine.parties[did].name for did, one in last.items() if one.verdict == "approved"}
    if len(approved) < algorithm.reviews_needed:
        detail = f"{len(approved)} of {algorithm.reviews_needed} reviews were shown"
        raise Refused("algorithm.review", detail)
    names = tuple(sorted(approved))
    found.add("code", f"approved by {', '.join(names) or 'nobody: no review is asked'}")
    return names


def _dataset(document: Agreement) -> Dataset:
    """The one dataset that people provide. Raises Refused (share.provider)."""
    ours = [d for d in document.datasets if any(source.did is None for source in d.sources)]
    if len(ours) != 1:
        raise Refused("share.provider", f"{len(ours)} datasets are for people")
    return ours[0]


def _parse(raw: bytes, topic_id: bytes) -> Record | None:
    """The record in `raw`, if it is one of this topic: a gateway may send anything."""
    try:
        found = record.parse(raw)
    except ProtocolError:
        return None
    return found if found.topic == topic_id else None


def _take(machine: Collaboration, found: Record) -> bool:
    """Whether the machine took the record."""
    try:
        kinds.check(found, "agreement")
        machine.authorise(found)
        machine.handle(Received(found), 0.0)
    except ProtocolError:
        return False
    return True
