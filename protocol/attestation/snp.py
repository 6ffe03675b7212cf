"""AMD SEV-SNP: a report signed by a key of the chip (VCEK) or of its cloud provider (VLEK).

Formats: AMD 56860 (report), AMD 57230 (certificates). The certificate says what generation it is
of, for which security versions and, a VCEK, for which chip: all must be those of the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from protocol.attestation import chain, revocation, snp_certificate, snp_report
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.attestation.roots import amd
from protocol.attestation.snp_report import Report
from protocol.kinds.attestation import SevSnpTerms, SnpFloor

TECHNOLOGY: Final = "sev-snp"


@dataclass(frozen=True, slots=True)
class Roots:
    """Per generation the SHA-256 fingerprint of the root, its DER, and the DER of what it issued.

    Keys: milan, genoa, turin; of `issuers` with the kind of leaf: ("milan", "vcek").
    """

    fingerprints: Mapping[str, bytes]
    certificates: Mapping[str, bytes]
    issuers: Mapping[tuple[str, str], bytes]


PINNED: Final = Roots(
    {name: bytes.fromhex(pin) for name, pin in amd.FINGERPRINTS.items()}, amd.ARK, amd.ASK
)
"""AMD's roots. Others are given by tests only, as an argument."""

_POLICY: Final = 0x08
_PLATFORM: Final = 0x40
_RESERVED_ONE, _MIGRATION, _DEBUG = 17, 18, 19
_PLATFORM_BITS: Final = {
    "smt": 0, "tsme": 1, "ecc": 2, "rapl-off": 3, "ciphertext-hiding": 4, "alias-check": 5,
}  # fmt: skip
_PROTECTIONS: Final = {
    "alias-check": ("alias-check", True),
    "no-smt": ("smt", False),
    "ecc": ("ecc", True),
    "ciphertext-hiding": ("ciphertext-hiding", True),
}
_LEVELS: Final = 3
"""The highest VMPL that a guest has."""


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: SevSnpTerms | None,
    now: int,
    found: Findings,
    roots: Roots = PINNED,
) -> Claims | None:
    """Check a report at `now`; the claims if it has the right size, every fault in `found`.

    `endorsements`: `vcek` or `vlek`; optionally `ask` in place of the one known, and `crl` by the
    root. Never raises.
    """
    if not check_size(evidence, found):
        return None
    report = Report(evidence)
    _check_report(report, terms, found)
    check_endorsements(endorsements, found)
    leaf = _read_leaf(endorsements, found)
    origin = snp_certificate.origin(leaf) if leaf else None
    if leaf is None or origin is None:
        found.check(leaf is None, "evidence.chain", "the certificate's issuer is of no generation")
        return _claims(report, report.generation(), None, leaf)
    generation, kind = origin
    _check_leaf(report, leaf, generation, kind, found)
    _check_versions(report, generation, terms, found)
    end = _check_path(leaf, generation, kind, endorsements, terms, now, found, roots)
    return _claims(report, generation, end, leaf)


def _check_report(report: Report, terms: SevSnpTerms | None, found: Findings) -> None:
    check_version(report, found)
    check_algorithm(report, found)
    check_padding(report, found)
    check_policy(report, found)
    check_debug(report, found)
    check_migration(report, found)
    check_level(report, _LEVELS if terms is None else min(terms.vmpl, _LEVELS), found)
    for name in () if terms is None else terms.require:
        check_protection(report, name, found)


def _check_leaf(
    report: Report, leaf: x509.Certificate, generation: str, kind: str, found: Findings
) -> None:
    check_leaf_key(leaf, found)
    check_signature(report, leaf, found)
    check_signer(report, kind, found)
    check_product(leaf, generation, found)
    check_certified_versions(report, leaf, generation, found)
    if kind == "vcek":
        check_chip(report, leaf, generation, found)


def _check_versions(
    report: Report, generation: str, terms: SevSnpTerms | None, found: Findings
) -> None:
    check_generation(report, generation, found)
    check_order(report, generation, found)
    if terms is not None:
        floors = [floor for floor in terms.generations if floor.generation == generation]
        check_named(floors, generation, found)
        for floor in floors:
            check_floor(report, floor, found)


def _check_path(
    leaf: x509.Certificate,
    generation: str,
    kind: str,
    endorsements: Mapping[str, bytes],
    terms: SevSnpTerms | None,
    now: int,
    found: Findings,
    roots: Roots,
) -> int | None:
    """Check leaf, issuer and root, and the revocation list; the earliest end of all."""
    issuer = endorsements.get("ask", roots.issuers[generation, kind])
    ask = chain.read(issuer, found, "ask")
    ark = chain.read(roots.certificates[generation], found, "ark")
    if ask is None or ark is None:
        return None
    path = [ark, ask, leaf]
    chain.verify(path, [roots.fingerprints[generation]], now, found)
    raw = endorsements.get("crl")
    if terms is not None and terms.crl:
        check_crl_there(raw, found)
    crl = None if raw is None else revocation.read(raw, found)
    if crl is not None:
        revocation.verify(crl, ark, path, now, found)
    return chain.valid_until(path, crl)


def _read_leaf(endorsements: Mapping[str, bytes], found: Findings) -> x509.Certificate | None:
    raw = endorsements.get("vcek", endorsements.get("vlek"))
    if raw is None:
        found.add("evidence.collateral", "neither a vcek nor a vlek certificate")
        return None
    return chain.read(raw, found, "vcek" if "vcek" in endorsements else "vlek")


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_size(evidence: bytes, found: Findings) -> bool:
    """A report has one size: nothing before it, nothing after it."""
    size = len(evidence)
    return found.check(size == snp_report.SIZE, "evidence.malformed", f"a report of {size} bytes")


def check_endorsements(endorsements: Mapping[str, bytes], found: Findings) -> bool:
    """One leaf, named by its kind; nothing unknown."""
    unknown = set(endorsements) - {*snp_certificate.KINDS, "ask", "crl"}
    good = not unknown and not all(kind in endorsements for kind in snp_certificate.KINDS)
    why = f"endorsements {sorted(endorsements)[:8]}"
    return found.check(good, "evidence.malformed", why)


def check_version(report: Report, found: Findings) -> bool:
    """The layout is one that is known."""
    version = report.version
    return found.check(2 <= version <= 5, "evidence.malformed", f"a report of version {version}")


def check_algorithm(report: Report, found: Findings) -> bool:
    """ECDSA P-384 with SHA-384."""
    why = f"signature algorithm {report.algorithm}"
    return found.check(report.algorithm == 1, "evidence.signature", why)


def check_padding(report: Report, found: Findings) -> bool:
    """Nothing hides where nothing is signed."""
    zero = not any(report.padding)
    return found.check(zero, "evidence.signature", "bytes beside the signature are not zero")


def check_policy(report: Report, found: Findings) -> bool:
    """Bit 17 of a guest's policy is always one."""
    good = report.bit(_POLICY, _RESERVED_ONE)
    return found.check(good, "evidence.malformed", f"impossible guest policy {report.policy:#x}")


def check_debug(report: Report, found: Findings) -> bool:
    """The guest's policy forbids debugging."""
    good = not report.bit(_POLICY, _DEBUG)
    return found.check(good, "evidence.debug", "the guest's policy allows debugging")


def check_migration(report: Report, found: Findings) -> bool:
    """No migration agent may take the guest's memory elsewhere."""
    good = not report.bit(_POLICY, _MIGRATION)
    return found.check(good, "evidence.debug", "the guest's policy allows a migration agent")


def check_level(report: Report, highest: int, found: Findings) -> bool:
    """The report was asked for at a privilege level as high as wanted, and not by the host."""
    why = f"asked for at VMPL {report.vmpl}, accepted are 0 to {highest}"
    return found.check(report.vmpl <= highest, "evidence.measurement", why)


def check_protection(report: Report, name: str, found: Findings) -> bool:
    """The platform says that the protection is on."""
    bit, wanted = _PROTECTIONS[name]
    good = report.bit(_PLATFORM, _PLATFORM_BITS[bit]) is wanted
    return found.check(good, "evidence.platform", f"the platform lacks {name}")


def check_leaf_key(leaf: x509.Certificate, found: Findings) -> bool:
    """The signing key is of P-384."""
    key = leaf.public_key()
    good = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return found.check(good, "evidence.chain", "the key of the report's certificate is not P-384")


def check_signature(report: Report, leaf: x509.Certificate, found: Findings) -> bool:
    """The leaf's key signed the report."""
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return found.check(False, "evidence.signature", "no key to check the report with")
    try:
        signature = encode_dss_signature(*report.signature)
        key.verify(signature, report.raw[: snp_report.SIGNED], ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return found.check(False, "evidence.signature", "the report's signature is wrong")
    return True


def check_signer(report: Report, kind: str, found: Findings) -> bool:
    """The report says that the key of this kind signed, and that signing was not masked."""
    good = report.signer == kind and not report.masked
    why = f"signed by {'a masked key' if report.masked else report.signer}, certified is a {kind}"
    return found.check(good, "evidence.signature", why)


def check_product(leaf: x509.Certificate, generation: str, found: Findings) -> bool:
    """The certificate's product is of its issuer's generation ("Milan-B0")."""
    product = snp_certificate.product(leaf)
    good = product.lower().partition("-")[0] == generation
    return found.check(good, "evidence.chain", f"certified for the product {product!r}")


def check_certified_versions(
    report: Report, leaf: x509.Certificate, generation: str, found: Findings
) -> bool:
    """The certificate is for exactly the security versions that the report reports."""
    reported = report.versions("reported", generation)
    certified = {name: snp_certificate.version(leaf, name) for name in reported}
    why = f"certified for {certified}, reported {reported}"
    return found.check(certified == reported, "evidence.chain", why)


def check_chip(report: Report, leaf: x509.Certificate, generation: str, found: Findings) -> bool:
    """The certificate is for the chip that the report names."""
    size = 8 if generation == "turin" else 64
    chip = snp_certificate.chip(leaf, size)
    good = len(chip) == size and any(chip) and report.chip_id == chip.ljust(64, b"\0")
    return found.check(good, "evidence.chain", "certified for another chip, or the id is masked")


def check_generation(report: Report, generation: str, found: Findings) -> bool:
    """CPUID in the report fits; reports of version 2 have none, and Turin has no such reports."""
    if report.version >= 3:
        good = report.generation() == generation
    else:
        good = generation != "turin" and not any(report.cpu)
    why = f"certified for {generation}, CPUID says {report.generation()}"
    return found.check(good, "evidence.tcb", why)


def check_order(report: Report, generation: str, found: Findings) -> bool:
    """No firmware is older than what it claims: reported and committed are at most current."""
    current = report.versions("current", generation)
    good = all(
        version <= current[component]
        for name in ("reported", "committed")
        for component, version in report.versions(name, generation).items()
    )
    return found.check(good, "evidence.tcb", f"reported or committed above current {current}")


def check_named(floors: Sequence[SnpFloor], generation: str, found: Findings) -> bool:
    """The policy names the generation."""
    why = f"the policy does not accept the generation {generation}"
    return found.check(len(floors) > 0, "evidence.tcb", why)


def check_floor(report: Report, floor: SnpFloor, found: Findings) -> bool:
    """What is reported, what it cannot go back behind and what launched the guest: not too old."""
    low = []
    for name in ("reported", "committed", "launch"):
        for component, version in report.versions(name, floor.generation).items():
            least = getattr(floor, component) or 0
            if version < least:
                low.append(f"{name} {component} {version} below {least}")
    return found.check(not low, "evidence.tcb", ", ".join(low))


def check_crl_there(raw: bytes | None, found: Findings) -> bool:
    """The policy asks for a revocation list."""
    return found.check(raw is not None, "evidence.collateral", "no revocation list (crl)")


# --- claims --------------------------------------------------------------------------------------


def _claims(
    report: Report, generation: str | None, valid_until: int | None, leaf: x509.Certificate | None
) -> Claims:
    switched_on = [name for name, bit in _PLATFORM_BITS.items() if report.bit(_PLATFORM, bit)]
    vcek = report.signer == "vcek" and any(report.chip_id)
    provider = snp_certificate.provider(leaf) if leaf else ""
    return Claims(
        report_data=report.report_data,
        registers=report.registers,
        platform=report.chip_id.hex() if vcek else None,
        tcb=report.versions("reported", generation) if generation else {},
        issued=None,
        valid_until=valid_until,
        facts={
            "generation": generation or "unknown",
            "version": str(report.version),
            "signing_key": report.signer,
            "guest_svn": str(report.number(0x04)),
            "policy": f"{report.policy:#x}",
            "debug": "yes" if report.bit(_POLICY, _DEBUG) else "no",
            "vmpl": str(report.vmpl),
            "platform_flags": ", ".join(switched_on),
            **({"provider": provider[:200]} if provider else {}),
        },
    )
