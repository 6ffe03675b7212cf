"""Enclave hosts: candidacy, verdicts, appointment, lapse of a term, heartbeats."""

from dataclasses import dataclass
from typing import Annotated

from protocol import limits
from protocol.kinds.advisory import Measured
from protocol.kinds.identity import SealingKey
from protocol.shape import Count, Hash, Key, Max, Name, Text, Time


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveKeys:
    """The public keys of one boot of an enclave. They live only in its memory.

    Its short name is `enclave_id` = keys.digest("enclave", signing, sealing).
    """

    signing: Key
    sealing: SealingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidacy:
    """A host offers an enclave (kind `candidacy`, in the agreement's topic).

    `software` is the measurement that the enclave claims; proof is what each voter asks for.
    """

    enclave: EnclaveKeys
    technology: Name
    software: Hash
    tier: Name
    region: Name
    operator: Name
    memory: Count
    addresses: tuple[Name, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One voter's appraisal of one candidate in one term (kind `verdict`), by its own nonce.

    `reasons` are all codes found, empty if eligible; `evidence` is the digest of the bundle it saw
    (a blob), `policy` of the attestation policy applied: the agreement's, as strict as the space's
    floors. `measured` is what genuine evidence said, `activated` whether a TPM opened the voter's
    credential. Who is eligible is so until `until`; then the voter asks again.
    """

    candidacy: Hash
    term: Count
    eligible: bool
    reasons: tuple[Name, ...]
    technology: Name
    nonce: Hash
    evidence: Hash | None = None
    policy: Hash
    measured: Measured | None = None
    activated: bool | None = None
    at: Time
    until: Time


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """What an election decides: slot "host/TERM". Its digest is the subject of the votes.

    `standbys` are candidacy ids in the agreement's order.
    """

    agreement: Hash
    term: Count
    host: Key
    candidacy: Hash
    enclave: Hash
    standbys: tuple[Hash, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionCertificate:
    """An appointment with the votes for it: what an enclave shows to be served in its term."""

    appointment: Annotated[bytes, Max(limits.DOCUMENT)]
    votes: tuple[Annotated[bytes, Max(limits.RECORD)], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """A voter's word that the lease of a term ran out (kind `lapse`)."""

    term: Count
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The enclave holds its lease (token `heartbeat`, by the enclave's signing key)."""

    agreement: Hash
    term: Count
    beat: Count
