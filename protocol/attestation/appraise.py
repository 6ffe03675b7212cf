"""Appraisal: is this the enclave that the agreement asks for? Every relying peer answers itself.

RFC 9334: the verifier is this library inside each node and vault; reference values and policy stand
in the signed agreement. All faults are reported, not only the first.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from protocol import limits, shape
from protocol.attestation import policy as policies
from protocol.attestation import simulated
from protocol.attestation.evidence import VERSION, Binding, Claims, EvidenceBundle, binding_hash
from protocol.errors import ProtocolError
from protocol.kinds.agreement import Attestation, ReferenceValue
from protocol.kinds.host import EnclaveKeys

Verifier = Callable[[bytes, Mapping[str, bytes], int], Claims]
"""(evidence, endorsements, now) -> claims; raises for evidence that its root does not vouch for."""

VERIFIERS: Final[Mapping[str, Verifier]] = {simulated.TECHNOLOGY: simulated.verify}
"""The technologies that this version can verify."""

_SENTENCE = 500
"""Characters of one detail: hostile evidence may put anything into an error's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """What a verifier concludes about one bundle.

    `reasons` are refusal codes, empty if accepted; `details` the same in words; `claims` what the
    evidence says, for people; `digest` the bundle's SHA-256. `keys` and `software` are there only
    if accepted: nothing of a refused bundle may be used. The result may be relied on until
    `valid_until` (unix seconds).
    """

    accepted: bool
    reasons: tuple[str, ...]
    details: tuple[str, ...]
    claims: Mapping[str, str]
    digest: bytes
    keys: EnclaveKeys | None
    software: bytes | None
    valid_until: int


@dataclass(slots=True)
class _Findings:
    """Faults in the order found; a code counts once, every detail stays, cut to a sentence."""

    codes: dict[str, None] = field(default_factory=dict)
    details: list[str] = field(default_factory=list)

    def add(self, code: str, detail: str) -> None:
        self.codes[code] = None
        self.details.append(detail[:_SENTENCE])


def appraise(
    raw_bundle: bytes,
    policy: Attestation,
    expected: Binding,
    now: int,
    verifiers: Mapping[str, Verifier] = VERIFIERS,
) -> Appraisal:
    """Appraise a bundle by `policy`; never raises on hostile bytes.

    `expected` is what the verifier knows by itself: its own nonce, id and agreement, and the keys
    and software of the host's candidacy. A bundle that is bound to anything else is refused, so
    accepted `keys` are the expected ones.
    """
    found = _Findings()
    for fault in policies.lint(policy):
        found.add("evidence.policy", fault)
    bundle = _read(raw_bundle, found)
    claims = None
    if bundle is not None:
        _check_binding(bundle, expected, found)
        claims = _verify(bundle, now, verifiers, found)
        if claims is not None:
            _check_claims(bundle, claims, policy, now, found)
    accepted = not found.codes
    return Appraisal(
        accepted=accepted,
        reasons=tuple(found.codes),
        details=tuple(found.details),
        claims=claims.facts if claims else {},
        digest=hashlib.sha256(raw_bundle).digest(),
        keys=bundle.binding.keys if bundle and accepted else None,
        software=bundle.binding.software if bundle and accepted else None,
        valid_until=now + policy.max_age if accepted else now,
    )


def _read(raw: bytes, found: _Findings) -> EvidenceBundle | None:
    try:
        bundle = shape.decode(EvidenceBundle, raw, limits.EVIDENCE)
    except ProtocolError as error:
        found.add(error.code, str(error))
        return None
    if bundle.version != VERSION:
        found.add("evidence.signature", f"a bundle of version {bundle.version}")
        return None
    return bundle


def _check_binding(bundle: EvidenceBundle, expected: Binding, found: _Findings) -> None:
    """Field by field, so that the operator reads what differs; the report data seals the whole."""
    if bundle.technology != bundle.binding.technology:
        found.add("evidence.binding", "the bundle and its binding name different technologies")
    for part in fields(Binding):
        if getattr(bundle.binding, part.name) != getattr(expected, part.name):
            code = "evidence.stale" if part.name == "nonce" else "evidence.binding"
            found.add(code, f"bound to another {part.name}")


def _verify(
    bundle: EvidenceBundle, now: int, verifiers: Mapping[str, Verifier], found: _Findings
) -> Claims | None:
    verifier = verifiers.get(bundle.technology)
    if verifier is None:
        found.add("evidence.technology", f"no verifier for {bundle.technology!r} in this version")
        return None
    try:
        return verifier(bundle.evidence, bundle.endorsements, now)
    except Exception as error:  # parsers of vendors' formats: whatever breaks in one is a refusal
        found.add("evidence.signature", f"{type(error).__name__}: {error}")
        return None


def _check_claims(
    bundle: EvidenceBundle, claims: Claims, policy: Attestation, now: int, found: _Findings
) -> None:
    if claims.report_data != binding_hash(bundle.binding):
        found.add("evidence.binding", "the report data is not the digest of the binding")
    accepted = {value.technology for value in policy.accept}
    if bundle.technology not in accepted:
        found.add("evidence.technology", f"{bundle.technology!r} is not accepted")
    elif ReferenceValue(technology=bundle.technology, measurement=claims.measurement) not in set(
        policy.accept
    ):
        found.add("evidence.measurement", f"measured {claims.measurement.hex()}")
    if claims.issued is not None and not (
        now - policy.max_age <= claims.issued <= now + limits.CLOCK_SKEW
    ):
        found.add("evidence.stale", f"issued {now - claims.issued} s ago")
