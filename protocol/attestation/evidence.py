"""Evidence: what an enclave shows about itself, and what it must be bound to.

Evidence alone says "some genuine enclave". The binding, hashed into the vendor's report data, says
which: these keys, this host, for this agreement, term and verifier, in answer to this nonce.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from protocol import keys, limits, shape
from protocol.kinds.host import EnclaveKeys
from protocol.shape import Count, Hash, Key, Max, Name

VERSION = 1
"""The format version of a bundle."""

Blob = Annotated[bytes, Max(limits.EVIDENCE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Everything that evidence is bound to.

    `host` and `requester` are root keys; `nonce` is the requester's own, 32 random bytes used once;
    `software` is the digest of the enclave's own files.
    """

    technology: Name
    keys: EnclaveKeys
    host: Key
    requester: Key
    agreement: Hash
    term: Count
    nonce: Hash
    software: Hash


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceBundle:
    """Evidence on its way to a verifier, at most limits.EVIDENCE bytes in all.

    `evidence` are the vendor's raw bytes, never re-encoded; `endorsements` are certificates and
    collateral by name.
    """

    version: Count
    technology: Name
    evidence: Blob
    endorsements: dict[str, Blob]
    binding: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a technology's examination read in evidence; to be believed only without faults.

    `report_data` is what the evidence is bound to; `registers` what was measured, by name;
    `platform` the one machine, where the technology tells; `tcb` security versions by name, for
    floors and advisories; `issued` the time that the evidence itself states and `valid_until` the
    earliest end of all certificates, CRLs and collateral used (unix seconds); `facts` are for
    people.
    """

    report_data: bytes
    registers: Mapping[str, bytes]
    platform: str | None
    tcb: Mapping[str, int]
    issued: int | None
    valid_until: int | None
    facts: Mapping[str, str]


def enclave_id(enclave: EnclaveKeys) -> bytes:
    """The short name of one boot of an enclave: the digest of both its keys."""
    return keys.digest("enclave", enclave.signing, enclave.sealing)


def binding_preimage(binding: Binding) -> bytes:
    """What evidence is bound to, before hashing: a domain tag and the binding."""
    return b"village/attestation/v1\x00" + shape.encode(binding)


def binding_hash(binding: Binding) -> bytes:
    """The 64 bytes of report data: SHA-512 of the preimage. A TPM takes its SHA-256 instead."""
    return hashlib.sha512(binding_preimage(binding)).digest()
