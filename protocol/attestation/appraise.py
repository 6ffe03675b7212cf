"""Appraisal: is this the enclave that the agreement asks for? Every relying peer answers itself.

RFC 9334: the verifier is this library inside each node and vault; reference values and policy stand
in the signed agreement. All faults are reported, not only the first. What is particular to a
technology is examined in its module; what holds for all is checked here, once.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from protocol import limits, shape
from protocol.attestation import nitro, sgx, simulated, snp, tdx, tpm
from protocol.attestation import policy as policies
from protocol.attestation.advisories import hits
from protocol.attestation.evidence import (
    VERSION,
    Binding,
    Claims,
    EvidenceBundle,
    binding_hash,
    binding_preimage,
)
from protocol.attestation.findings import Findings
from protocol.errors import ProtocolError
from protocol.kinds.advisory import Advisory, Measured
from protocol.kinds.attestation import Attestation, SimulatedTerms
from protocol.kinds.host import EnclaveKeys

Examine = Callable[[bytes, Mapping[str, bytes], Any, int, Findings], Claims | None]
"""(evidence, endorsements, terms or None, now, findings) -> claims; see contract of a technology:
adds every fault to the findings, and returns claims if the evidence could be read at all.
"""

EXAMINERS: Final[Mapping[str, Examine]] = {
    nitro.TECHNOLOGY: nitro.examine,
    sgx.TECHNOLOGY: sgx.examine,
    simulated.TECHNOLOGY: simulated.examine,
    snp.TECHNOLOGY: snp.examine,
    tdx.TECHNOLOGY: tdx.examine,
    tpm.SOFTWARE: tpm.examine_software,
    tpm.TECHNOLOGY: tpm.examine,
}
"""The technologies that this version can verify, under the vendors' pinned roots."""

TPM: Final = frozenset({tpm.TECHNOLOGY, tpm.SOFTWARE})
"""Technologies whose key is proven to be the machine's by an answered credential, not by a chain.
"""


FAMILY: Final = {"sev-snp": "generation", "sgx": "fmspc", "tdx": "fmspc"}
"""Technology -> the fact that says for which processors its security versions are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a verifier concludes about one bundle.

    `reasons` are refusal codes, empty if accepted; `details` the same in words; `claims` what the
    evidence says, for people; `digest` the bundle's SHA-256. `keys` and `software` are there only
    if accepted: nothing of a refused bundle may be used; `measured` also if an advisory is the only
    reason. The result may be relied on until `valid_until` (unix seconds): the policy's maximum age
    or the earliest end of what the evidence rests on.
    """

    accepted: bool
    reasons: tuple[str, ...]
    details: tuple[str, ...]
    claims: Mapping[str, str]
    digest: bytes
    keys: EnclaveKeys | None
    software: bytes | None
    measured: Measured | None
    valid_until: int


def appraise(
    raw_bundle: bytes,
    policy: Attestation,
    expected: Binding,
    now: int,
    *,
    advisories: Iterable[Advisory] = (),
    activated: bool = False,
    examiners: Mapping[str, Examine] = EXAMINERS,
) -> Appraisal:
    """Appraise a bundle by `policy`; never raises on hostile bytes.

    `expected` is what the verifier knows by itself: its own nonce, id and agreement, and the keys
    and software of the host's candidacy. A bundle that is bound to anything else is refused, so
    accepted `keys` are the expected ones. `activated`: the TPM opened the verifier's credential.
    `examiners` is an argument for tests only.
    """
    found = Findings()
    for fault in policies.lint(policy):
        found.add("evidence.policy", fault)
    bundle = _read(raw_bundle, found)
    claims = None
    if bundle is not None:
        _check_binding(bundle, expected, found)
        claims = examine(
            bundle.technology,
            bundle.evidence,
            bundle.endorsements,
            policy,
            now,
            examiners,
            found,
        )
        if claims is not None:
            _check_claims(bundle, claims, policy, now, found)
            _check_advisories(bundle, claims, advisories, found)
        if bundle.technology in TPM:
            detail = "the TPM opened no credential: its key may be another machine's"
            found.check(activated, "evidence.binding", detail)
    return _conclude(raw_bundle, bundle, claims, policy, now, found)


def _conclude(
    raw: bytes,
    bundle: EvidenceBundle | None,
    claims: Claims | None,
    policy: Attestation,
    now: int,
    found: Findings,
) -> Appraisal:
    accepted = bundle is not None and claims is not None and not found.codes
    genuine = found.codes.keys() <= {"evidence.withdrawn"}
    return Appraisal(
        accepted=accepted,
        reasons=tuple(found.codes),
        details=tuple(found.details),
        claims=_in_words(claims) if claims else {},
        digest=hashlib.sha256(raw).digest(),
        keys=bundle.binding.keys if bundle and accepted else None,
        software=bundle.binding.software if bundle and accepted else None,
        measured=_measured(bundle, claims) if bundle and claims and genuine else None,
        valid_until=_valid_until(claims, policy, now) if claims and accepted else now,
    )


def _read(raw: bytes, found: Findings) -> EvidenceBundle | None:
    try:
        bundle = shape.decode(EvidenceBundle, raw, limits.EVIDENCE)
    except ProtocolError as error:
        found.add(error.code, str(error))
        return None
    known = bundle.version == VERSION
    detail = f"a bundle of version {bundle.version}"
    return bundle if found.check(known, "evidence.malformed", detail) else None


def _check_binding(bundle: EvidenceBundle, expected: Binding, found: Findings) -> None:
    """Field by field, so that the operator reads what differs; the report data seals the whole."""
    same = bundle.technology == bundle.binding.technology
    detail = "the bundle and its binding name different technologies"
    found.check(same, "evidence.binding", detail)
    for part in fields(Binding):
        same = getattr(bundle.binding, part.name) == getattr(expected, part.name)
        code = "evidence.stale" if part.name == "nonce" else "evidence.binding"
        found.check(same, code, f"bound to another {part.name}")


def examine(
    technology: str,
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    policy: Attestation | None,
    now: int,
    examiners: Mapping[str, Examine],
    found: Findings,
) -> Claims | None:
    """Let the technology's module examine evidence; whatever breaks in it is a finding.

    Without a `policy` it examines by its baseline, which is for inspection only.
    """
    look = examiners.get(technology)
    if look is None:
        found.add("evidence.technology", f"no verifier for {technology[:32]!r} in this version")
        return None
    terms = None if policy is None else policies.named(policy).get(technology)
    try:
        claims = look(evidence, endorsements, terms, now, found)
    except Exception as error:  # parsers of vendors' formats: whatever breaks in one is a refusal
        found.add("evidence.malformed", f"{type(error).__name__}: {error}")
        return None
    if claims is None and not found.codes:
        found.add("evidence.malformed", "the evidence says nothing")
    return claims


def _check_claims(
    bundle: EvidenceBundle, claims: Claims, policy: Attestation, now: int, found: Findings
) -> None:
    bound = claims.report_data == _report_data(bundle.technology, bundle.binding)
    found.check(bound, "evidence.binding", "the report data is not the digest of the binding")
    if bundle.technology == nitro.TECHNOLOGY:
        nitro.check_bound(claims, bundle.binding.nonce, bundle.binding.keys.signing, found)
    check_claims(bundle.technology, claims, policy, now, found)


def check_claims(
    technology: str, claims: Claims, policy: Attestation, now: int, found: Findings
) -> None:
    """Check claims by `policy`: all that holds for every technology, but for the binding."""
    terms = policies.named(policy).get(technology)
    if terms is None:
        found.add("evidence.technology", f"{technology!r} is not accepted")
    else:
        _check_measurement(claims, terms, found)
        if not isinstance(terms, SimulatedTerms) and terms.platforms is not None:
            detail = f"the machine is {claims.platform or 'not named'}"
            found.check(claims.platform in terms.platforms, "evidence.platform", detail)
    if claims.issued is not None:
        young = now - policy.max_age <= claims.issued <= now + limits.CLOCK_SKEW
        found.check(young, "evidence.stale", f"issued {now - claims.issued} s ago")
    if claims.valid_until is not None:
        detail = f"what the evidence rests on ended {now - claims.valid_until} s ago"
        found.check(claims.valid_until > now, "evidence.collateral", detail)


def _report_data(technology: str, binding: Binding) -> bytes:
    if technology in TPM:
        return hashlib.sha256(binding_preimage(binding)).digest()
    return binding_hash(binding)


def _check_measurement(claims: Claims, terms: policies.Terms, found: Findings) -> None:
    """All registers of one accepted environment must be equal; an empty one accepts nothing."""
    accepted = any(
        one and all(claims.registers.get(name) == value for name, value in one.items())
        for one in terms.accept
    )
    named = sorted({name for one in terms.accept for name in one} & claims.registers.keys())
    measured = ", ".join(f"{name} {claims.registers[name].hex()}" for name in named)
    found.check(accepted, "evidence.measurement", f"measured {measured or 'nothing named'}")


def _check_advisories(
    bundle: EvidenceBundle, claims: Claims, advisories: Iterable[Advisory], found: Findings
) -> None:
    measured = _measured(bundle, claims)
    for advisory in advisories:
        found.check(not hits(advisory, measured), "evidence.withdrawn", advisory.reason)


def _measured(bundle: EvidenceBundle, claims: Claims) -> Measured:
    return Measured(
        technology=bundle.technology,
        registers=dict(claims.registers),
        platform=claims.platform,
        family=claims.facts.get(FAMILY.get(bundle.technology, "")),
        tcb=dict(claims.tcb),
    )


def _valid_until(claims: Claims, policy: Attestation, now: int) -> int:
    since = now if claims.issued is None else min(now, claims.issued)
    ends = since + policy.max_age
    return ends if claims.valid_until is None else min(ends, claims.valid_until)


def _in_words(claims: Claims) -> dict[str, str]:
    """What the evidence says, for people: facts first, then what was measured."""
    words = dict(claims.facts)
    if claims.platform is not None:
        words["machine"] = claims.platform
    return words | {name: value.hex() for name, value in sorted(claims.registers.items())}
