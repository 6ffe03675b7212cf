"""The agreement: the one object that all parties sign, and the records of its negotiation.

Its identity is the SHA-256 of its deterministic CBOR. Everything that can matter later is in it, by
digest where it is large. Participants are named by root key; `name` is for people.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import limits
from protocol.kinds.algorithm import Parameter
from protocol.kinds.attestation import Attestation
from protocol.kinds.identity import Role
from protocol.kinds.space import RawRecord
from protocol.shape import Count, Document, Hash, Key, Max, Name, Range, Text, Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose:
    """Why: words, DPV terms, approvals, and for how long (seconds from the agreement's start)."""

    text: Text
    term: Name
    processing: tuple[Name, ...]
    approvals: tuple[Name, ...]
    jurisdiction: Name
    duration: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """An organization that signs and votes, with `vote_key` and no other key.

    `identity` is the id of the identity record that delegates this key.
    """

    did: Key
    name: Name
    vote_key: Key
    identity: Hash
    roles: tuple[Role, ...]
    gdpr: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Natural persons who may take part by consent; `registrar` admits them.

    `registrar_keys` are the record keys whose admission tokens count.
    """

    registrar: Key
    registrar_keys: tuple[Key, ...]
    category: Name
    notice: Hash
    window: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Who provides a dataset: one party (`did`) or people (no did), on which legal basis.

    `waits`: a run is held while this provider's share is missing, instead of running without.
    """

    did: Key | None = None
    legal_basis: Name
    waits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data under one ODCS contract; `person` names the column that says who a row is about."""

    id: Name
    contract: Hash
    person: Name
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedEntry:
    """An entry point that may be run, with parameters no wider than the manifest's."""

    name: Name
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """The approved code, by digest."""

    bundle: Hash
    environment: Hash
    provider: Key
    entries: tuple[AgreedEntry, ...]
    reviews_needed: Count
    reviewers: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A derived data product: its JSON Schema by digest and who may get it.

    `to` are parties; `subject` means each person gets the own part, if that person asked to.
    """

    name: Name
    schema: Hash
    to: tuple[Key, ...]
    subject: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Output rules; each has a declared direction in protocol.terms, strictest wins.

    `precision` is the number of decimals that may leave.
    """

    min_contributors: Count
    min_change: Count
    small_cells: Literal["refuse", "suppress"]
    precision: Annotated[int, Range(0, 15)]
    output_bytes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSource:
    """Which party decided the value of a rule: what refusals name as `set_by`."""

    rule: Name
    party: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Who may order runs, how many numbers, how many attempts (terms) for one number."""

    by: tuple[Key, ...]
    at_most: Count
    attempts: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A host that may be elected: `vote_key` signs its candidacy, `identity` as in Party."""

    did: Key
    name: Name
    vote_key: Key
    identity: Hash
    region: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Candidates in order of preference; `lease` in milliseconds; `standbys` wrapped at sealing."""

    candidates: tuple[Candidate, ...]
    lease: Count
    standbys: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The agreement document. `salt`: 32 random bytes of the author of this version, so that the
    space's commitment hides it. `start` is when the durations begin (unix seconds).
    """

    type: Literal["agreement"] = "agreement"
    name: Name
    space: Hash
    negotiation: Hash
    start: Time
    purpose: Purpose
    parties: tuple[Party, ...]
    people: People | None = None
    datasets: tuple[Dataset, ...]
    algorithm: Algorithm
    outputs: tuple[Output, ...]
    rules: Rules
    rule_sources: tuple[RuleSource, ...]
    runs: Runs
    attestation: Attestation
    hosts: Hosts
    retention: Count
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class NegotiationOpening:
    """The opening document of a negotiation topic: who is in it. Its digest is the topic."""

    type: Literal["negotiation"] = "negotiation"
    space: Hash
    name: Name
    members: tuple[Key, ...]
    salt: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementOpening:
    """The opening of an agreement topic: the document and the votes of all parties on it.

    The topic is SHA-256 of `document`; `votes` come from the negotiation's topic. `identities` are
    the exact records that the document names by id: of its parties, then of its candidates.
    """

    type: Literal["agreement-opening"] = "agreement-opening"
    document: Document
    votes: tuple[Annotated[bytes, Max(limits.RECORD)], ...]
    identities: tuple[RawRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A version of the document (kind `proposal`); a counter-offer names its parent.

    `document` is the exact CBOR of an Agreement, `identities` are its records as in an
    AgreementOpening; `changes` says in words what changed and why.
    """

    document: Document
    identities: tuple[RawRecord, ...]
    parent: Hash | None = None
    changes: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A party refuses a version (kind `rejection`), with reasons from its policy."""

    subject: Hash
    reasons: tuple[Text, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Any signatory stops or resumes all runs at once (kinds `suspension`, `resumption`)."""

    reason: Text
