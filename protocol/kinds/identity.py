"""Identity: a root key delegates node, record and sealing keys; registrars vouch for people and
organizations (docs/protocol.md section 2).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import limits
from protocol.shape import Count, Hash, Key, Length, Max, Name, Time

SealingKey = Annotated[bytes, Length(1216)]
"""Public key of HPKE KEM MLKEM768-X25519 (X-Wing): 1184 bytes ML-KEM-768, 32 bytes X25519."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordKey:
    """A delegated signing key. Exactly one of an identity may vote."""

    key: Key
    vote: bool
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """The last record of a retired key that stands in a topic: its place and its id."""

    topic: Hash
    seq: Count
    head: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A record key that was taken back.

    With `pins`, its records up to the pinned heads stand, and all else by it is void, whatever its
    date. Without, all that it signed stands: its owner was the last to hold it.
    """

    key: Key
    reason: Literal["rotated", "lost", "stolen"]
    pins: Annotated[tuple[Pin, ...], Max(limits.PINS)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardians:
    """Who may recover a participant whose root is lost: dids, and how many of them it takes."""

    dids: tuple[Key, ...]
    needed: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a participant says about itself, signed by its root key (kind `identity`).

    `revision` grows by one, and is the place of the record in its feed; `name` is a petname
    proposal for screens; `nodes` are the Ed25519 keys of its nodes (libp2p PeerIds); `sealing` is
    the HPKE key to which results are sealed; `retired` repeats every key that was ever pinned.
    """

    revision: Count
    name: Name
    nodes: tuple[Key, ...]
    records: tuple[RecordKey, ...]
    sealing: SealingKey
    until: Time
    retired: tuple[RetiredKey, ...] = ()
    guardians: Guardians | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A newer identity of the author (kind `keys`): the raw record authorises its own signer."""

    identity: Annotated[bytes, Max(limits.IDENTITY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """A node asks its root to delegate its keys (token `key-request`, signed by `record`).

    `identity` is the newest identity record that the node knows; `old` the record key that it had,
    `pins` the last records by that key that it vouches for.
    """

    identity: Annotated[bytes, Max(limits.IDENTITY)]
    node: Key
    record: Key
    old: Key | None = None
    pins: Annotated[tuple[Pin, ...], Max(limits.PINS)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a registrar found out about an organization.

    `country` is an ISO 3166-1 code of two letters, `lei` a legal entity identifier (ISO 17442),
    `vat` a VAT identification number of the European Union with its country prefix. An
    organization without any of the two has none: its registrar checked that.
    """

    legal_name: Name
    country: Annotated[str, Max(2)]
    lei: Annotated[str, Max(20)] | None = None
    vat: Annotated[str, Max(16)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A registrar's word about an organization (kind `credential`, in the space)."""

    subject: Key
    claims: Claims
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRevocation:
    """Takes a credential back (kind `credential-revocation`)."""

    credential: Hash
    reason: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """An organization shows its credential to somebody outside the space (token `presentation`, by
    its voting key): the raw credential record, the identity records of its registrar and of
    itself, for whom it is meant (`to`), and when.
    """

    credential: Annotated[bytes, Max(8192)]
    registrar: Annotated[bytes, Max(8192)]
    subject: Annotated[bytes, Max(8192)]
    to: Name
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonCredential:
    """A registrar's word that a key belongs to an enrolled person (token `person`)."""

    key: Key
    category: Name
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """One person, one agreement (token `admission`, signed by the registrar's record key).

    `key` is the person's key for this agreement alone; `tag` is the same for one person in one
    agreement whatever the key, and unlinkable between agreements: nobody counts twice. `person` is
    the value of the person column in this person's rows, known to the registrar and the enclave.
    """

    agreement: Hash
    key: Key
    tag: Hash
    person: Name
    category: Name
    until: Time


Country = Annotated[str, Max(2)]
Role = Literal["data-provider", "data-consumer", "code-provider", "enclave-host", "registrar"]
