"""Proof that one machine holds the key that signed evidence and the key that is certified.

Where a vendor certifies the very key that signs evidence (Nitro, SEV-SNP, TDX, SGX), its chain is
that proof. A TPM signs by a key of its own making; so the verifier first asks for evidence, makes a
credential for the keys that it names, and asks again with it. Only their TPM opens it.
"""

import hmac
from dataclasses import dataclass

from protocol import limits, shape
from protocol.attestation import tpm
from protocol.attestation.appraise import TPM
from protocol.attestation.evidence import EvidenceBundle
from protocol.errors import Refused


def needed(technology: str) -> bool:
    """Whether a verifier must ask for the proof."""
    return technology in TPM


@dataclass(frozen=True, slots=True)
class Riddle:
    """A credential on its way, the secret in it, and the keys that it is for."""

    credential: bytes
    secret: bytes
    keys: bytes


def pose(bundle: bytes, secret: bytes, seed: bytes) -> Riddle:
    """A riddle for the keys in a bundle's evidence. Raises Refused (codec.*, evidence.malformed).

    `secret` and `seed` are 32 random bytes each, used once.
    """
    evidence = shape.decode(EvidenceBundle, bundle, limits.EVIDENCE).evidence
    return Riddle(tpm.credential(evidence, secret, seed), secret, tpm.holder(evidence))


def solved(riddle: Riddle, bundle: bytes, answer: bytes | None) -> bool:
    """Whether who sent `bundle` and `answer` holds the keys of the riddle, and they signed it."""
    try:
        evidence = shape.decode(EvidenceBundle, bundle, limits.EVIDENCE).evidence
        same = tpm.holder(evidence) == riddle.keys
    except Refused:
        return False
    return same and answer is not None and hmac.compare_digest(answer, riddle.secret)
