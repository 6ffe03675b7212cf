"""The appraisal policy of an agreement: what must be true of it before it appraises anything."""

from typing import Final

from protocol import keys, limits, shape
from protocol.kinds.agreement import Attestation, ReferenceValue

TECHNOLOGIES: Final = {
    "nitro": False,
    "sev-snp": False,
    "sgx": False,
    "simulated": True,
    "tdx": False,
    "tpm": False,
}
"""Technologies that an agreement may name -> whether it is for tests only: it protects nothing."""


def digest(policy: Attestation) -> bytes:
    """The digest of a policy, as verdicts name it."""
    return keys.digest("attestation-policy", shape.encode(policy))


def lint(policy: Attestation) -> list[str]:
    """What is wrong with `policy`, in sentences; empty if nothing. Deny by default, closed."""
    faults = [fault for value in policy.accept for fault in _faults(value)]
    if not policy.accept:
        faults.append("The policy accepts nothing: name technologies and measurements.")
    if len(set(policy.accept)) != len(policy.accept):
        faults.append("The policy names a reference value twice.")
    if not 0 < policy.max_age <= limits.EVIDENCE_AGE:
        faults.append(f"max_age must be from 1 to {limits.EVIDENCE_AGE} seconds.")
    if len({TECHNOLOGIES.get(value.technology, False) for value in policy.accept}) > 1:
        faults.append("A policy that asks for hardware must not accept a technology for tests.")
    return faults


def _faults(value: ReferenceValue) -> list[str]:
    faults = []
    if value.technology not in TECHNOLOGIES:
        faults.append(f"The technology {value.technology!r} is unknown.")
    if not any(value.measurement):
        faults.append(f"The measurement for {value.technology!r} is all zero: that is debug mode.")
    return faults
