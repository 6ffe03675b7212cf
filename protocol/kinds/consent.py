"""A person's explicit consent, its withdrawal, and what only the enclave may read.

People are light peers: these are tokens, never records of a topic. They go end-to-end to the
enclave inside an envelope sealed to the host's enclave and each standby.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import keys
from protocol.kinds.identity import SealingKey
from protocol.shape import Count, Hash, Key, Max, Name, Text, Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Explicit consent (token `consent`, by the person's key of this agreement).

    `ordinal` counts this person's consents in this agreement from 1; `notice` is the digest of the
    full text that was shown; runs `first` to `last` (both included) are covered; `told` asks for
    the own result, sealed to the key whose `sealing_digest` is `sealing`; `secret` is the receipt
    secret that lets only its holder ask whether a run used the share; `gateway` is the participant
    whose mailbox takes answers.
    """

    agreement: Hash
    ordinal: Count
    notice: Hash
    purpose: Name
    categories: tuple[Name, ...]
    recipients: tuple[Key, ...]
    first: Count
    last: Count
    until: Time
    told: bool
    sealing: Hash
    secret: Hash
    gateway: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonEnvelope:
    """What a person sends, sealed to one enclave by HPKE: raw tokens, checked inside.

    `sealing` is the key that the consent names by digest, so that a consent stays small.
    """

    admission: Annotated[bytes, Max(4096)]
    consent: Annotated[bytes, Max(8192)]
    share: Annotated[bytes, Max(8192)]
    sealing: SealingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnvelope:
    """One sealed copy of a PersonEnvelope for one enclave; all that a host ever sees."""

    enclave: Hash
    sealed: Annotated[bytes, Max(32768)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonShare:
    """The outer message of a person's push: opaque but for the owner key and the mailbox.

    `owner` is the person's key of this agreement, `share` the id of the share token within.
    """

    agreement: Hash
    owner: Key
    share: Hash
    envelopes: tuple[SealedEnvelope, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRight:
    """A key is admitted to an agreement, and may stop there (token `stop-right`, by the registrar's
    record key). It says nothing of the person: the admission itself goes to enclaves alone.
    """

    agreement: Hash
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A stop (token `stop`): by a person's key the withdrawal of consent `consent` (token id).

    It ends that consent for ever. `right` is the raw `stop-right` token of the key, so that nobody
    keeps the stops of strangers. Organizations stop by a `suspension` record instead.
    """

    agreement: Hash
    what: Literal["withdrawal"]
    consent: Hash
    right: Annotated[bytes, Max(512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReceipt:
    """A party got a stop (token `stop-receipt`, by its record key).

    `not_voted` is the lowest run number that the signer has not voted for: with q receipts naming a
    number <= N the stop binds run N.
    """

    stop: Hash
    agreement: Hash
    not_voted: Count
    at: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """The consent notice as shown (blob): language and full text."""

    language: Annotated[str, Max(8)]
    text: Text


def sealing_digest(key: bytes) -> bytes:
    """What a consent says of the key to which own results are sealed."""
    return keys.digest("sealing", key)
