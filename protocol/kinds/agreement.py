"""The agreement: the one object that all parties sign, and the records of its negotiation.

Its identity is the SHA-256 of its deterministic CBOR. Everything that can matter later is in it, by
digest where it is large. Participants are named by root key; `name` is for people.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import limits
from protocol.kinds.algorithm import CODE, Parameter
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


Overlap = Literal["keep", "vault", "refuse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Data under one ODCS contract; `person` names the column that says who a row is about.

    `overlap`: where one person is in two shares, all rows are kept; or, of people who give their
    own, their own alone (vault); or the run is held (refuse).
    """

    id: Name
    contract: Hash
    person: Name
    sources: tuple[Source, ...]
    overlap: Overlap = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreedEntry:
    """An entry point that may be run, with parameters no wider than the manifest's."""

    name: Name
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """The approved code, by digest. `sealed` is the digest of its SealedBundle, if it is
    confidential: then only reviewers and enclaves see its text, and its provider sends it to the
    elected enclave as a share.
    """

    bundle: Hash
    environment: Hash
    provider: Key
    entries: tuple[AgreedEntry, ...]
    reviews_needed: Count
    reviewers: tuple[Key, ...]
    sealed: Hash | None = None

    @property
    def shown(self) -> bytes:
        """The digest of what every party fetches: the bundle, or its sealed form."""
        return self.bundle if self.sealed is None else self.sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A derived data product: its form, the model that says all that may leave, who may get it.

    `format`: json by a closed JSON Schema, arrow by a closed data contract (ODCS), or state: opaque
    bytes that the next run reads and nobody gets. `schema` is the model's digest; only a state has
    none. `context` is the digest of a JSON-LD context that says what a JSON result means. `to` are
    parties; `subject` means each person gets the own part, if that person asked to.
    """

    name: Name
    format: Literal["json", "arrow", "state"] = "json"
    schema: Hash | None = None
    context: Hash | None = None
    to: tuple[Key, ...]
    subject: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """Who gets the algorithm's log of each run that it started in, and how much of it.

    `errors`: where it failed, as class of the exception and lines of the bundle; `all`: the last
    `bytes` bytes of what it printed.
    """

    to: tuple[Key, ...]
    what: Literal["errors", "all"]
    bytes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """The most that one run of the algorithm may use: see protocol.ceilings.

    `memory` bytes of address space, `cpu` and `wall` seconds, `processes` threads (of one process),
    `files` open descriptors, `tmp` bytes of private files in memory, `output` bytes of all outputs
    together, `log` bytes kept of what it prints. What is computed is shown only at whole `quantum`
    seconds after the start, so that its exact duration says nothing.
    """

    memory: Count = 4 * 2**30
    cpu: Count = 300
    wall: Count = 600
    processes: Count = 64
    files: Count = 256
    tmp: Count = 64 * 2**20
    output: Count = limits.OUTPUT
    log: Count = limits.LOG
    quantum: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Output rules; each has a declared direction in protocol.terms, strictest wins.

    `precision` is the number of decimals that may leave, `output_rows` the rows or items of one
    output. `noise` is the mechanism of differential privacy, its budget in protocol.budget:
    `epsilon` of one run and `epsilon_total` of all runs, in millionths, and `delta` (gaussian
    only) in 10^-12.
    """

    min_contributors: Count
    min_change: Count
    small_cells: Literal["refuse", "suppress"]
    precision: Annotated[int, Range(0, 15)]
    output_bytes: Count
    output_rows: Count | None = None
    noise: Literal["gaussian", "laplace"] | None = None
    epsilon: Count | None = None
    epsilon_total: Count | None = None
    delta: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSource:
    """Which party decided the value of a rule: what refusals name as `set_by`."""

    rule: Name
    party: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What gives cause for orders: a time table (`cron`, in UTC) or a typed `event`; never both.

    `parameters` is the JSON text of an object. Of an event, parameters that do not stand there come
    from its payload, a JSON object valid under `schema`: from the property of the same name.
    `missed` says what becomes of due times at which nobody could order: once, the last of them is
    made up for; skip, a due time ends with the next one.
    """

    name: Name
    cron: Name | None = None
    event: Name | None = None
    schema: Hash | None = None
    entry: Name
    parameters: Text
    by: tuple[Key, ...]
    missed: Literal["once", "skip"] = "once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Who may order runs on demand (`by`), how many numbers, how many attempts (terms) for one.

    `deadline`: seconds from its date within which an order must start, else it expires. `within`:
    seconds in which a number that started must have its run record, else its term is given up.
    """

    by: tuple[Key, ...]
    at_most: Count
    attempts: Count
    deadline: Count | None = None
    within: Count | None = None
    triggers: tuple[Trigger, ...] = ()


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
    logs: Logs | None = None
    limits: RunLimits | None = None
    rules: Rules
    rule_sources: tuple[RuleSource, ...]
    runs: Runs
    attestation: Attestation
    hosts: Hosts
    retention: Count
    salt: Hash


def provision(document: Agreement, name: str) -> tuple[bytes, frozenset[bytes | None]] | None:
    """What a share under this name must hold, by digest, and who provides it (None: people): of a
    dataset its data contract, of confidential code the bundle. None if there is no such name.
    """
    algorithm = document.algorithm
    if name == CODE and algorithm.sealed is not None:
        return algorithm.bundle, frozenset({algorithm.provider})
    for dataset in document.datasets:
        if dataset.id == name:
            return dataset.contract, frozenset(source.did for source in dataset.sources)
    return None


def recipients_of(document: Agreement) -> frozenset[bytes]:
    """Every party that gets something: a result, or a log."""
    logs = () if document.logs is None else document.logs.to
    return frozenset({did for output in document.outputs for did in output.to} | {*logs})


def models_of(document: Agreement) -> list[bytes]:
    """Digests of what says all that may leave, and what it means: output models and contexts."""
    outputs = document.outputs
    named = [digest for output in outputs for digest in (output.schema, output.context)]
    return [digest for digest in named if digest is not None]


def events_of(document: Agreement) -> list[bytes]:
    """Digests of the schemas of the events that give cause for runs."""
    return [one.schema for one in document.runs.triggers if one.schema is not None]


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
