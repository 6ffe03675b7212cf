"""AWS Nitro Enclaves: an attestation document, COSE_Sign1 by a certificate under the root of AWS.

Format: aws-nitro-enclaves-nsm-api, docs/attestation_process.md. The enclave binds by `user_data`;
`nonce` and `public_key` are for other protocols, and are checked where a document has them.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from protocol import codec, limits
from protocol.attestation import chain
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.attestation.roots import aws
from protocol.errors import Refused
from protocol.kinds.attestation import NitroTerms

TECHNOLOGY: Final = "nitro"

Roots = Collection[bytes]
"""SHA-256 fingerprints of the roots trusted."""

PINNED: Final[Roots] = frozenset([bytes.fromhex(aws.FINGERPRINT)])
"""The root of AWS. Another is given by tests only, as an argument."""

DOCUMENT: Final = 0x3000
"""Bytes of a document: what the Nitro Secure Module's driver passes at most."""

_ES384: Final = {1: -35}
_LENGTHS: Final = {"public_key": 1024, "user_data": 512, "nonce": 512}
_CODE_REGISTERS: Final = (0, 1, 2)


@dataclass(frozen=True, slots=True)
class Signed:
    """The four parts of a COSE_Sign1 (RFC 9052 section 4.2)."""

    protected: bytes
    unprotected: Any
    payload: bytes
    signature: bytes


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: NitroTerms | None,
    now: int,
    found: Findings,
    roots: Roots = PINNED,
) -> Claims | None:
    """Check a document at `now`; the claims if it can be read, every fault in `found`.

    `terms` say nothing beyond what appraise asks of all technologies. Never raises.
    """
    check_endorsements(endorsements, found)
    signed = _read_signed(evidence, found)
    document = _read_document(signed.payload, found) if signed else None
    if signed is None or document is None:
        return None
    check_algorithm(signed, found)
    check_unprotected(signed, found)
    _check_document(document, now, found)
    path = chain.read_path([*document["cabundle"], document["certificate"]], found)
    if path is not None:
        chain.verify(path, roots, now, found)
        check_leaf_key(path[-1], found)
        check_signature(signed, path[-1], found)
        check_dated(document, path[-1], found)
    return _claims(document, chain.valid_until(path) if path else None)


def check_bound(claims: Claims, nonce: bytes, public_key: bytes, found: Findings) -> None:
    """A document that has a nonce or a public key too must have the verifier's own."""
    if "nonce" in claims.facts:
        good = claims.facts["nonce"] == nonce.hex()
        found.check(good, "evidence.stale", "the document has another nonce")
    if "public_key" in claims.facts:
        good = claims.facts["public_key"] == public_key.hex()
        found.check(good, "evidence.binding", "the document has another public key")


def _check_document(document: Mapping[str, Any], now: int, found: Findings) -> None:
    check_digest(document, found)
    check_module(document, found)
    check_registers(document, found)
    check_lengths(document, found)
    check_not_ahead(document, now, found)
    check_debug(document, found)


# --- reading -------------------------------------------------------------------------------------


def _read_signed(evidence: bytes, found: Findings) -> Signed | None:
    """COSE_Sign1; documents have no tag, though some tools put the tag 18 before them."""
    try:
        parts = codec.decode_foreign(evidence.removeprefix(b"\xd2"), DOCUMENT, 4)
    except Refused as error:
        found.add("evidence.malformed", f"the document: {error}")
        return None
    if not isinstance(parts, list) or len(parts) != 4:
        found.add("evidence.malformed", "the document is no COSE_Sign1")
        return None
    protected, unprotected, payload, signature = parts
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        found.add("evidence.malformed", "the document is no COSE_Sign1")
        return None
    return Signed(protected, unprotected, payload, signature)


def _read_document(payload: bytes, found: Findings) -> Mapping[str, Any] | None:
    """The payload, each field of its type."""
    try:
        document = codec.decode_foreign(payload, DOCUMENT, 4)
    except Refused as error:
        found.add("evidence.malformed", f"the payload: {error}")
        return None
    if not isinstance(document, dict):
        found.add("evidence.malformed", "the payload is no map")
        return None
    wrong = [name for name, good in _FIELDS.items() if not good(document.get(name))]
    if wrong:
        found.add("evidence.malformed", f"missing or of a wrong type: {', '.join(wrong)}")
        return None
    return document


def _text(value: object) -> bool:
    return isinstance(value, str)


def _time(value: object) -> bool:
    return type(value) is int and 0 < value < 2**53


def _bytes(value: object) -> bool:
    return isinstance(value, bytes)


def _maybe(value: object) -> bool:
    return value is None or isinstance(value, bytes)


def _list(value: object) -> bool:
    return isinstance(value, list) and all(map(_bytes, value))


def _registers(value: object) -> bool:
    return isinstance(value, dict) and all(
        type(index) is int and isinstance(register, bytes) for index, register in value.items()
    )


_FIELDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "module_id": _text,
    "digest": _text,
    "timestamp": _time,
    "pcrs": _registers,
    "certificate": _bytes,
    "cabundle": _list,
    "public_key": _maybe,
    "user_data": _maybe,
    "nonce": _maybe,
}


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_endorsements(endorsements: Mapping[str, bytes], found: Findings) -> bool:
    """Nothing comes beside a document: it has its certificates in itself."""
    return found.check(not endorsements, "evidence.malformed", "nitro has no endorsements")


def check_algorithm(signed: Signed, found: Findings) -> bool:
    """The protected header says ES384 (RFC 9053 section 2.1), and nothing else."""
    try:
        header = codec.decode_foreign(signed.protected, 64, 2)
    except Refused:
        header = None
    return found.check(header == _ES384, "evidence.signature", "the algorithm is not ES384")


def check_unprotected(signed: Signed, found: Findings) -> bool:
    """Nothing is outside the signature."""
    return found.check(signed.unprotected == {}, "evidence.malformed", "an unprotected header")


def check_digest(document: Mapping[str, Any], found: Findings) -> bool:
    """Registers are SHA-384."""
    digest = document["digest"]
    return found.check(digest == "SHA384", "evidence.malformed", f"the digest is {digest!r}")


def check_module(document: Mapping[str, Any], found: Findings) -> bool:
    """The document names its enclave."""
    return found.check(document["module_id"] != "", "evidence.malformed", "no module_id")


def check_registers(document: Mapping[str, Any], found: Findings) -> bool:
    """One to 32 registers, numbered 0 to 31, of 48 bytes each."""
    registers = document["pcrs"]
    good = 1 <= len(registers) <= 32 and all(
        0 <= index < 32 and len(value) == 48 for index, value in registers.items()
    )
    return found.check(good, "evidence.malformed", "the registers are not 1 to 32 of 48 bytes")


def check_lengths(document: Mapping[str, Any], found: Findings) -> bool:
    """What an enclave may add is bounded."""
    long = [name for name, most in _LENGTHS.items() if len(document.get(name) or b"") > most]
    return found.check(not long, "evidence.malformed", f"too long: {', '.join(long)}")


def check_not_ahead(document: Mapping[str, Any], now: int, found: Findings) -> bool:
    """The document is not of the future."""
    ahead = document["timestamp"] // 1000 - now
    return found.check(ahead <= limits.CLOCK_SKEW, "evidence.stale", f"dated {ahead} s ahead")


def check_debug(document: Mapping[str, Any], found: Findings) -> bool:
    """In debug mode the registers of code are zero, and the host reads the enclave's console."""
    zero = [f"PCR{i}" for i in _CODE_REGISTERS if not any(document["pcrs"].get(i, b""))]
    return found.check(not zero, "evidence.debug", f"debug mode: {', '.join(zero)} zero")


def check_leaf_key(leaf: x509.Certificate, found: Findings) -> bool:
    """The signing key is of P-384."""
    key = leaf.public_key()
    good = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1)
    return found.check(good, "evidence.chain", "the key of the document's certificate is not P-384")


def check_signature(signed: Signed, leaf: x509.Certificate, found: Findings) -> bool:
    """The leaf's key signed the payload: raw r and s of 48 bytes (RFC 9053 section 2.1)."""
    key, raw = leaf.public_key(), signed.signature
    if not isinstance(key, ec.EllipticCurvePublicKey) or len(raw) != 96:
        return found.check(False, "evidence.signature", "the signature is not one of ES384")
    signature = encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:]))
    said = codec.encode(["Signature1", signed.protected, b"", signed.payload])
    try:
        key.verify(signature, said, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return found.check(False, "evidence.signature", "the document's signature is wrong")
    return True


def check_dated(document: Mapping[str, Any], leaf: x509.Certificate, found: Findings) -> bool:
    """The document is dated within the life of the leaf, some three hours."""
    then = document["timestamp"] // 1000
    first, last = chain.life(leaf)
    why = "the document is dated outside of its certificate's life"
    return found.check(first <= then <= last, "evidence.chain", why)


# --- claims --------------------------------------------------------------------------------------


def _claims(document: Mapping[str, Any], valid_until: int | None) -> Claims:
    instance, separator, _ = document["module_id"].partition("-enc")
    registers = {
        f"pcr{index}": value for index, value in sorted(document["pcrs"].items()) if any(value)
    }
    facts = {"module_id": ascii(document["module_id"][:200])[1:-1], "debug": _debug(document)}
    for name in ("nonce", "public_key"):
        if document.get(name) is not None:
            facts[name] = document[name][: _LENGTHS[name]].hex()
    return Claims(
        report_data=document.get("user_data") or b"",
        registers=registers,
        platform=instance if separator and instance.startswith("i-") else None,
        tcb={},
        issued=document["timestamp"] // 1000,
        valid_until=valid_until,
        facts=facts,
    )


def _debug(document: Mapping[str, Any]) -> str:
    return "no" if check_debug(document, Findings()) else "yes"
