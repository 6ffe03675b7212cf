"""A person's receipt: which runs used the own share, verified alone, naming nobody else.

It holds the agreement document, and for each run the record with the votes of a quorum, and for
each of the person's consents the proof that its leaf is, or is not, among the leaves of that run.
Left out are votes beyond the quorum, the election (a quorum that votes for a run record has
verified the enclave), and who stands behind the voting keys: the parties' identities and their
signatures on the agreement are in the audit file. Each vote is a record of the topic that the
document's digest names, so whoever knows that digest from a party needs neither. Whoever gets the
receipt gets the consents, and with them the receipt secrets: it is the person's to give.

Size: with five parties and one consent 7.3 kB for one run, and 3.6 kB for each further one; in the
demo (six parties, two consents and a withdrawal) 9.0 to 9.7 kB for one run, 22.2 kB for all four.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from protocol import decision, limits, merkle, record, shape, token
from protocol.audit import bundle
from protocol.audit.findings import Check, Ledger, Report
from protocol.errors import ProtocolError, Refused
from protocol.identity import open_identity
from protocol.kinds import read
from protocol.kinds.agreement import Agreement
from protocol.kinds.consent import Consent, Stop
from protocol.kinds.run import Raw, Run, RunCertificate
from protocol.kinds.space import RawRecord
from protocol.machines.election import voting_rule
from protocol.machines.runs import slot
from protocol.merkle import Absence, Inclusion
from protocol.record import Record
from protocol.shape import Document, Max
from protocol.token import Token
from protocol.topic import party_keys

TYPE = "receipt"
CONSENT = 8192
"""Bytes of one consent token, as in a PersonEnvelope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One of the two."""

    inclusion: Inclusion | None = None
    absence: Absence | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRun:
    """One run: its certificate, and proofs for the receipt secrets of the consents, in their order.

    Consents may share a secret: then one proof is for all of them.
    """

    certificate: RunCertificate
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The file `receipt-NN.village`. `stops` are the person's own withdrawals (raw tokens);
    `identities` are those of parties who voted by a newer key than the agreement names.
    """

    type: Literal["receipt"] = "receipt"
    agreement: Document
    consents: tuple[Annotated[bytes, Max(CONSENT)], ...]
    stops: tuple[Raw, ...]
    identities: tuple[RawRecord, ...]
    runs: tuple[ReceiptRun, ...]


@dataclass(frozen=True, slots=True)
class _Person:
    """What the receipt says of the person: the agreement, the consents in order, the stops."""

    agreement: bytes
    document: Agreement
    rule: decision.Rule
    consents: tuple[Token[Consent], ...]
    stops: tuple[Token[Stop], ...]


def build(
    document: bytes,
    runs: Iterable[tuple[bytes, bytes]],
    consents: Iterable[bytes],
    stops: Iterable[bytes] = (),
    identities: Iterable[bytes] = (),
) -> bytes:
    """The receipt for the holder of `consents` (raw tokens).

    `document` are the exact bytes of the agreement document, `runs` pairs of a run certificate
    (raw) and the leaves of its run. Of the `identities` (raw) those are kept whose key voted.
    Raises Refused if the material does not fit together, as `verify` would say.
    """
    tokens = sorted(
        (token.open_(raw, "consent", Consent) for raw in consents), key=lambda one: one.body.ordinal
    )
    agreement = shape.decode(Agreement, document, limits.DOCUMENT)
    rule = voting_rule(party_keys(agreement))
    receipt = Receipt(
        agreement=document,
        consents=tuple(one.raw for one in tokens),
        stops=tuple(stops),
        identities=(),
        runs=tuple(_receipt_run(certificate, leaves, tokens, rule) for certificate, leaves in runs),
    )
    signers = {record.parse(raw).key for one in receipt.runs for raw in one.certificate.votes}
    signers -= {key for named in rule.voters.values() for key in named}
    needed_too = [raw for raw in identities if open_identity(raw).vote_key in signers]
    data = shape.encode(replace(receipt, identities=tuple(needed_too)))
    fault = next(iter(verify(data).findings), None)
    if fault is not None:
        raise Refused(fault.code, fault.sentence)
    return data


def verify(data: bytes) -> Report:
    """Check a receipt alone. Never raises on hostile bytes."""
    ledger, answers, kept = Ledger(), [], 0
    try:
        receipt = shape.read(Receipt, bundle.decode(data))
        person = _person(receipt, ledger)
        for one in receipt.runs:
            answers.append(_check_run(one, person, ledger))
            kept += 1
        if not answers:
            raise Refused("audit.malformed", "the receipt is about no run")
    except ProtocolError as error:
        where = f"run record {kept + 1} of the receipt" if answers else "the receipt"
        ledger.find(Check.FILE, error.code, f"{where} is refused: {error}")
    ledger.limit("That the leaves are sorted, so that absence is shown: that rests on the enclave.")
    ledger.limit("That the enclave was genuine: a quorum of the parties verified it and says so.")
    return Report(
        kind=TYPE,
        headline=" · ".join(answers) or "nothing is proven",
        findings=tuple(ledger.findings),
        proofs=tuple(ledger.proofs),
        limits=tuple(ledger.limits),
    )


def _receipt_run(
    certificate: bytes, leaves: bytes, consents: list[Token[Consent]], rule: decision.Rule
) -> ReceiptRun:
    whole = shape.decode(RunCertificate, certificate, limits.FRAME)
    run = read(Run, record.parse(whole.run))
    sorted_leaves = merkle.split(leaves)
    proofs = []
    for leaf in dict.fromkeys(_leaf(one, run) for one in consents):
        found = merkle.prove(sorted_leaves, leaf)
        proofs.append(
            Proof(inclusion=found) if isinstance(found, Inclusion) else Proof(absence=found)
        )
    # Votes by the keys that the agreement names come first: they need no identity beside them.
    votes = sorted(whole.votes, key=lambda raw: _is_newer(record.parse(raw), rule))
    enough = RunCertificate(run=whole.run, votes=tuple(votes[: rule.needed]))
    return ReceiptRun(certificate=enough, proofs=tuple(proofs))


def _is_newer(vote: Record, rule: decision.Rule) -> bool:
    return vote.key not in rule.voters.get(vote.author, ())


def _person(receipt: Receipt, ledger: Ledger) -> _Person:
    agreement = hashlib.sha256(receipt.agreement).digest()
    document = shape.decode(Agreement, receipt.agreement, limits.DOCUMENT)
    consents = tuple(token.open_(raw, "consent", Consent) for raw in receipt.consents)
    stops = tuple(token.open_(raw, "stop", Stop) for raw in receipt.stops)
    signers = {one.key for one in consents} | {one.key for one in stops}
    if not consents or len(signers) != 1:
        raise Refused("consent.signature", "the consents are not those of one person")
    for one in consents:
        if one.body.agreement != agreement:
            raise Refused("consent.scope", "a consent for another agreement")
        if document.people is None or one.body.notice != document.people.notice:
            raise Refused("consent.scope", "a consent on another notice than the agreed one")
    ordinals = [one.body.ordinal for one in consents]
    if ordinals != sorted(set(ordinals)):
        raise Refused("consent.scope", "the consents are not in order, each once")
    rule = voting_rule(_voters(document, receipt.identities))
    ledger.prove(f"Agreement {document.name!r} of {len(document.parties)} parties.")
    ledger.limit(
        "That the voting keys in the agreement are the parties' own: each party knows it by its "
        f"id, {agreement.hex()}."
    )
    return _Person(agreement, document, rule, consents, stops)


def _voters(document: Agreement, identities: Iterable[bytes]) -> dict[bytes, frozenset[bytes]]:
    """The voting keys in the agreement, and those that the parties' own roots delegated since."""
    voters = party_keys(document)
    for raw in identities:
        shown = open_identity(raw)
        if shown.did not in voters:
            raise Refused("agreement.party", "an identity of a stranger")
        voters[shown.did] |= {shown.vote_key}
    return voters


def _check_run(one: ReceiptRun, person: _Person, ledger: Ledger) -> str:
    """The answer for one run: in it or not. Raises Refused if it does not verify."""
    signed = record.parse(one.certificate.run)
    if signed.topic != person.agreement or signed.kind != "run":
        raise Refused("decision.subject", "not a run record of this agreement")
    run = read(Run, signed)
    votes = decision.verify(
        one.certificate.votes,
        topic=person.agreement,
        subject=signed.id,
        slot=slot(run.number, run.term),
        rule=person.rule,
    )
    ledger.prove(f"Run {run.number}: {run.outcome}, by the votes of {len(votes)} parties.")
    leaves = tuple(dict.fromkeys(_leaf(consent, run) for consent in person.consents))
    if len(one.proofs) != len(leaves):
        raise Refused("run.proof", "there is not one proof for each receipt secret")
    there = {
        leaf for leaf, proof in zip(leaves, one.proofs, strict=True) if _is_in(run, leaf, proof)
    }
    used = [consent for consent in person.consents if _leaf(consent, run) in there]
    if not used:
        return f"not in run {run.number}"
    consent = _covering(used, run.number)
    _check_use(run, consent, person, ledger)
    return f"in run {run.number}, under consent #{consent.body.ordinal}"


def _leaf(consent: Token[Consent], run: Run) -> bytes:
    return merkle.person_leaf(consent.body.secret, consent.body.agreement, run.number)


def _is_in(run: Run, leaf: bytes, proof: Proof) -> bool:
    match proof:
        case Proof(inclusion=Inclusion() as inclusion, absence=None):
            merkle.verify_inclusion(inclusion, leaf, run.leaves, run.leaf_count)
            return True
        case Proof(inclusion=None, absence=Absence() as absence):
            merkle.verify_absence(absence, leaf, run.leaves, run.leaf_count)
            return False
        case _:
            raise Refused("run.proof", "a proof says either use or absence")


def _covering(used: list[Token[Consent]], number: int) -> Token[Consent]:
    """The newest consent whose window holds `number`; consents may share one secret."""
    fitting = [one for one in used if one.body.first <= number <= one.body.last]
    return (fitting or used)[-1]


def _check_use(run: Run, consent: Token[Consent], person: _Person, ledger: Ledger) -> None:
    """A use outside the consent's window, or after its withdrawal, incriminates the run."""
    body = consent.body
    if not body.first <= run.number <= body.last:
        window = f"consent #{body.ordinal} covers {body.first} to {body.last}"
        sentence = f"run {run.number} used the share; {window}"
        ledger.find(Check.STOPS, "consent.scope", sentence)
    withdrawn = {stop.id for stop in person.stops if stop.body.consent == consent.id}
    if withdrawn & set(run.stops):
        sentence = f"run {run.number} names the withdrawal of consent #{body.ordinal}, and used it"
        ledger.find(Check.STOPS, "consent.withdrawn", sentence)
