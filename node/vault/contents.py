"""What a vault holds, as documents: one sealed file; larger things are sealed blobs beside it."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from protocol import limits
from protocol.kinds.space import RawRecord
from protocol.shape import Count, Hash, Key, Max, Name, Text, Time

Raw = Annotated[bytes, Max(limits.RECORD)]
Address = Annotated[str, Max(512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The person's own data for one dataset: name of the file it came from, digest of the blob."""

    dataset: Name
    file: Name
    blob: Hash
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """Who vouches for the person: the registrar's identity record, where to reach it, its word."""

    registrar: Key
    identity: RawRecord
    address: Address
    credential: Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Secrets of one agreement alone: signing, sealing, PeerId, and the receipt secret."""

    signing: Hash = field(repr=False)
    sealing: Hash = field(repr=False)
    node: Hash = field(repr=False)
    secret: Hash = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentShare:
    """A share that was made under a consent: its id, key, header and raw token; `receipt` is the
    enclave's raw receipt record, once it took the whole. A withdrawal destroys the key, and so
    does a newer share, once the enclave took it.
    """

    id: Hash
    key: Hash | None = field(default=None, repr=False)
    header: Annotated[bytes, Max(1024)]
    token: Annotated[bytes, Max(8192)]
    receipt: Raw | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One consent (raw token), the share under it, its withdrawal and the receipts for that."""

    ordinal: Count
    consent: Annotated[bytes, Max(8192)]
    at: Time
    share: SentShare | None = None
    stop: Raw | None = None
    stop_receipts: tuple[Raw, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An own result: from which run record, under which name, and the blob that holds its JSON."""

    number: Count
    run: Hash
    name: Name
    blob: Hash
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a run did with the share: proven by the run's leaves. `certificate` and `leaves` are
    blobs, for the receipt.
    """

    number: Count
    run: Hash
    outcome: Name
    used: bool
    certificate: Hash
    leaves: Hash
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """One agreement in which the person was asked. `term` is the highest one it sealed to, `right`
    the right to stop that came with the admission, `identities` those that participants renewed
    since the agreement: no gateway can hide them again.
    """

    agreement: Hash
    name: Name
    gateway: Key
    address: Address
    keys: Keys
    opening: Hash
    term: Count = 0
    admission: Annotated[bytes, Max(4096)] | None = None
    right: Annotated[bytes, Max(512)] | None = None
    identities: tuple[RawRecord, ...] = ()
    given: tuple[Given, ...] = ()
    results: tuple[Result, ...] = ()
    uses: tuple[Use, ...] = ()
    refused: Time | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the vault's own diary, for its person."""

    at: Time
    event: Name
    agreement: Hash | None = None
    detail: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything but the larger blobs. `announced` names the ends that were said ahead."""

    type: Literal["vault"] = "vault"
    name: Name
    rows: tuple[Row, ...] = ()
    enrolment: Enrolment | None = None
    participations: tuple[Participation, ...] = ()
    diary: tuple[Line, ...] = ()
    announced: tuple[Name, ...] | None = None
