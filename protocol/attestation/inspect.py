"""Evidence looked at by hand, without a node: what it says, what that proves, and what it cannot.

The same examination as of every peer (appraise), without what only a peer has: its own nonce and
the keys that the evidence should be bound to.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from protocol.attestation import appraise, nitro, sgx, snp, tdx, tpm
from protocol.attestation import policy as policies
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.errors import RULES
from protocol.kinds.attestation import Attestation

TECHNOLOGIES: Final = (
    nitro.TECHNOLOGY,
    snp.TECHNOLOGY,
    tdx.TECHNOLOGY,
    sgx.TECHNOLOGY,
    tpm.TECHNOLOGY,
)
"""Technologies whose evidence can be looked at."""

_MAKERS: Final[Mapping[str, str]] = {
    nitro.TECHNOLOGY: "AWS",
    snp.TECHNOLOGY: "AMD",
    tdx.TECHNOLOGY: "Intel",
    sgx.TECHNOLOGY: "Intel",
}

_NEVER: Final = (
    "freshness: no nonce of yours is in it, so it may be a recording",
    "binding: whose keys stand behind its report data, only who knows those keys can say",
    "custody: who holds the machine in hands; attacks on its hardware forge clean evidence",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What can be said about one piece of evidence at the time `at` (unix seconds).

    `reasons` are refusal codes, empty if accepted, and `details` the same in words. `policy` says
    by what was judged. `claims` is what the evidence says, to be believed only if it is accepted.
    """

    technology: str
    at: int
    policy: str
    accepted: bool
    reasons: tuple[str, ...]
    details: tuple[str, ...]
    claims: Mapping[str, Any]
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]


def inspect(
    technology: str,
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    policy: Attestation | None,
    now: int,
    examiners: Mapping[str, appraise.Examine] = appraise.EXAMINERS,
) -> Inspection:
    """Judge evidence by `policy`, or by the baseline; never raises on hostile bytes.

    `examiners` is an argument for tests only.
    """
    found = Findings()
    for fault in () if policy is None else policies.lint(policy):
        found.add("evidence.policy", fault)
    claims = appraise.examine(technology, evidence, endorsements, policy, now, examiners, found)
    if claims is not None and policy is not None:
        appraise.check_claims(technology, claims, policy, now, found)
    accepted = claims is not None and not found.codes
    return Inspection(
        technology=technology,
        at=now,
        policy="baseline" if policy is None else "own",
        accepted=accepted,
        reasons=tuple(found.codes),
        details=tuple(found.details),
        claims={} if claims is None else said(claims),
        proven=_proven(technology, policy, now) if accepted else (),
        not_proven=_not_proven(technology, endorsements, policy),
    )


def refused(technology: str, policy: str, code: str, detail: str, now: int) -> Inspection:
    """What is said about something that cannot even be looked at."""
    return Inspection(
        technology=technology,
        at=now,
        policy=policy,
        accepted=False,
        reasons=(code,),
        details=(detail,),
        claims={},
        proven=(),
        not_proven=_NEVER,
    )


def said(claims: Claims) -> dict[str, Any]:
    """Claims as JSON has them: hexadecimal for bytes, ISO 8601 for times."""
    return {
        "report_data": claims.report_data.hex(),
        "registers": {name: value.hex() for name, value in sorted(claims.registers.items())},
        "platform": claims.platform,
        "tcb": dict(claims.tcb),
        "issued": None if claims.issued is None else time(claims.issued),
        "valid_until": None if claims.valid_until is None else time(claims.valid_until),
        "facts": dict(claims.facts),
    }


def as_json(inspection: Inspection) -> dict[str, Any]:
    """The answer for programs."""
    return {
        "verdict": "accepted" if inspection.accepted else "refused",
        "reasons": list(inspection.reasons),
        "claims": dict(inspection.claims),
        "details": list(inspection.details),
        "technology": inspection.technology,
        "policy": inspection.policy,
        "at": time(inspection.at),
        "proven": list(inspection.proven),
        "not_proven": list(inspection.not_proven),
    }


def lines(inspection: Inspection) -> list[str]:
    """The answer for people."""
    verdict = "ACCEPTED" if inspection.accepted else "REFUSED"
    by = "the baseline, for inspection only" if inspection.policy == "baseline" else "your policy"
    out = [f"{verdict}  {inspection.technology}, as of {time(inspection.at)}, by {by}"]
    for code in inspection.reasons:
        out += [f"  {code}  {RULES[code].sentence}", f"      {RULES[code].fix}"]
    out += _listed("What was found", inspection.details)
    out += _listed("Proven", inspection.proven or ("nothing",))
    out += _listed("Not proven", inspection.not_proven)
    return out + _claimed(inspection)


def time(seconds: int) -> str:
    """Unix seconds as ISO 8601 in UTC; the number itself beyond the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def _listed(title: str, items: tuple[str, ...]) -> list[str]:
    return ["", title, *(f"  - {item}" for item in items)] if items else []


def _claimed(inspection: Inspection) -> list[str]:
    if not inspection.claims:
        return ["", "It cannot be read: it says nothing."]
    believed = "" if inspection.accepted else " (not to be believed)"
    claims = dict(inspection.claims)
    tcb, facts, registers = (claims.pop(name) for name in ("tcb", "facts", "registers"))
    claims["machine"] = claims.pop("platform")
    versions = ", ".join(f"{name} {version}" for name, version in tcb.items())
    rows = [*claims.items(), *registers.items(), ("security versions", versions), *facts.items()]
    shown = [(name.replace("_", " "), value) for name, value in rows if value not in (None, "")]
    width = max(len(name) for name, _ in shown)
    return ["", f"What it says{believed}", *(f"  {name:<{width}}  {it}" for name, it in shown)]


def _proven(technology: str, policy: Attestation | None, now: int) -> tuple[str, ...]:
    maker = _MAKERS.get(technology)
    if maker is None and policy is None:
        genuine = "the quote is signed by the key that stands in it"
    elif maker is None:
        genuine = "a TPM certified by an authority of your policy has the key that stands in it"
    else:
        genuine = f"genuine hardware: the signatures lead to the pinned root of {maker}"
    proven = [f"{genuine}, as of {time(now)}"]
    if maker is not None:
        proven.append("its debug mode is off")
    if technology in (tdx.TECHNOLOGY, sgx.TECHNOLOGY):
        proven.append("its firmware is as good as the TCB status says, by the collateral given")
    if policy is not None:
        proven.append("measurement, firmware, machine and age are as your policy asks")
    return tuple(proven)


def _not_proven(
    technology: str, endorsements: Mapping[str, bytes], policy: Attestation | None
) -> tuple[str, ...]:
    missing = []
    if policy is None:
        missing.append("measurement: the baseline lets any software pass; compare it yourself")
    if technology == snp.TECHNOLOGY and policy is None:
        missing.append("firmware: the baseline has no floor for versions, and no rule for VMPL")
    if technology == snp.TECHNOLOGY and "crl" not in endorsements:
        missing.append("revocation: no revocation list was given")
    if technology == tpm.TECHNOLOGY:
        missing.append("possession: only a challenge shows that the key lives in that TPM")
        missing.append("confidentiality: a TPM says what started, and does not encrypt memory")
    if technology == tpm.TECHNOLOGY and policy is None:
        missing.append("maker: the baseline knows no authority, so anyone can certify such a TPM")
    return (*missing, *_NEVER)
