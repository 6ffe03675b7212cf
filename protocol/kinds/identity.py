"""Identity: a root key delegates node, record and sealing keys; registrars vouch for people and
organizations (docs/protocol.md section 2).
"""

from dataclasses import dataclass
from typing import Annotated, Literal

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
class Identity:
    """What a participant says about itself, signed by its root key (kind `identity`).

    `revision` grows by one; `name` is a petname proposal for screens; `nodes` are the Ed25519 keys
    of its nodes (libp2p PeerIds); `sealing` is the HPKE key to which results are sealed.
    """

    revision: Count
    name: Name
    nodes: tuple[Key, ...]
    records: tuple[RecordKey, ...]
    sealing: SealingKey
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a registrar found out about an organization."""

    legal_name: Name
    country: Annotated[str, Max(2)]
    lei: Annotated[str, Max(20)] | None = None


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
