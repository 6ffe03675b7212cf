"""TPM 2.0: a quote over platform configuration registers, and the certificate of the TPM's own key.

A TPM says which software started, and nothing about who can read memory meanwhile. The quote is
signed by an attestation key. That this key lives in the TPM whose endorsement key is certified
shows only when the TPM opens a credential (tpm_credential): evidence alone cannot prove it.
"swtpm" is the same format by a software TPM, for tests; it never passes as "tpm".
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from protocol import limits
from protocol.attestation import chain, tpm_credential
from protocol.attestation import tpm_structures as tpm
from protocol.attestation.evidence import Claims
from protocol.attestation.findings import Findings
from protocol.errors import ProtocolError, Refused
from protocol.kinds.attestation import TpmTerms
from protocol.strict_json import no_repeats

TECHNOLOGY: Final = "tpm"
SOFTWARE: Final = "swtpm"
PARTS: Final = ("message", "signature", "pcrs", "ak_public", "ek_certificate")
"""The five texts of evidence, each in base64."""

CHAIN: Final = "ek_chain"
"""The one endorsement: certificates in PEM, from the endorsement key's issuer up to a root."""

MUST: Final = {1: "fixedTPM", 4: "fixedParent", 5: "sensitiveDataOrigin", 16: "restricted"}
"""Attributes (by bit) of a key that was made in its TPM, stays there, and signs no forged quote."""

SIGN, DECRYPT = 18, 17
SOFTWARE_MAKER: Final = "id:00001014"
"""The manufacturer that certificates of swtpm name."""

SOFTWARE_MODELS: Final = ("swtpm", "sw tpm", "simulator")
_EK: Final = x509.ObjectIdentifier("2.23.133.8.1")
_WORDS: Final = {
    "2.23.133.2.1": "manufacturer",
    "2.23.133.2.2": "model",
    "2.23.133.2.3": "version",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    message: bytes
    quote: tpm.Quote
    signature: tpm.Signature
    key: tpm.Public
    bank: int
    selection: tuple[int, ...]
    values: tuple[bytes, ...]
    certificate: x509.Certificate


def examine(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: TpmTerms | None,
    now: int,
    found: Findings,
) -> Claims | None:
    """The claims of a TPM's evidence; None if it cannot be read. Every fault goes into `found`.

    `terms` None asks for no authority: then the endorsement key's certificate is its sender's word,
    and that it is of hardware too; the claims say so.
    """
    read = _read(evidence, found)
    if read is None:
        return None
    if terms is not None:
        check_hardware(read.certificate, found)
    return _examine(read, endorsements, terms, now, found)


def examine_software(
    evidence: bytes,
    endorsements: Mapping[str, bytes],
    terms: TpmTerms | None,
    now: int,
    found: Findings,
) -> Claims | None:
    """As `examine`, for a software TPM."""
    read = _read(evidence, found)
    return None if read is None else _examine(read, endorsements, terms, now, found)


def holder(evidence: bytes) -> bytes:
    """One name for the endorsement key and the attestation key in evidence. Raises Refused."""
    endorsement, name = _keys(evidence)
    return tpm.qualified_name(endorsement, name)


def credential(evidence: bytes, secret: bytes, seed: bytes) -> bytes:
    """A credential that opens where both keys of `evidence` are. Raises Refused.

    `secret` and `seed` are 32 random bytes each, used once.
    """
    endorsement, name = _keys(evidence)
    return tpm_credential.make(endorsement, name, secret, seed)


def _examine(
    read: _Evidence,
    endorsements: Mapping[str, bytes],
    terms: TpmTerms | None,
    now: int,
    found: Findings,
) -> Claims:
    check_generated(read.quote, found)
    check_key(read.key, found)
    check_scheme(read.key, read.signature, found)
    check_signature(read.key, read.signature, read.message, found)
    check_holder(read, found)
    check_selection(read, found)
    check_values(read, found)
    check_endorsements(endorsements, found)
    path = _path(read.certificate, endorsements.get(CHAIN), found)
    _check_path(path, None if terms is None else terms.authorities, now, found)
    return _claims(read, path, terms)


def _read(evidence: bytes, found: Findings) -> _Evidence | None:
    try:
        parts = _parts(evidence)
        certificate = chain.read(parts["ek_certificate"], found, "endorsement key")
        bank, selection, values = tpm.read_registers(parts["pcrs"])
        quote, signature = tpm.read_quote(parts["message"]), tpm.read_signature(parts["signature"])
        key = tpm.read_public(parts["ak_public"])
        if certificate is not None:
            tpm.qualified_name(_endorsement(certificate), key.name)
    except ProtocolError as error:
        found.add(error.code, str(error))
        return None
    if certificate is None:
        return None
    return _Evidence(
        message=parts["message"],
        quote=quote,
        signature=signature,
        key=key,
        bank=bank,
        selection=selection,
        values=values,
        certificate=certificate,
    )


def _keys(evidence: bytes) -> tuple[tpm.PublicKey, bytes]:
    """The endorsement key, and the name of the attestation key. Raises Refused."""
    found = Findings()
    read = _read(evidence, found)
    if read is None:
        raise Refused("evidence.malformed", "; ".join(found.details))
    return _endorsement(read.certificate), read.key.name


def _parts(evidence: bytes) -> dict[str, bytes]:
    """The five parts of the JSON. Raises Refused (evidence.malformed)."""
    if len(evidence) > limits.EVIDENCE:
        raise Refused("evidence.malformed", f"evidence of {len(evidence)} bytes")
    try:
        document = json.loads(evidence.decode(), object_pairs_hook=no_repeats)
    except (ValueError, RecursionError) as error:
        raise Refused("evidence.malformed", f"no JSON: {error}") from error
    if not isinstance(document, dict) or document.keys() != set(PARTS):
        raise Refused("evidence.malformed", f"the JSON must have exactly {', '.join(PARTS)}")
    return {name: _base64(name, document[name]) for name in PARTS}


def _base64(name: str, text: object) -> bytes:
    try:
        found = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (ValueError, binascii.Error):
        found = None
    if found is None or base64.b64encode(found).decode() != text:  # one text for the same bytes
        raise Refused("evidence.malformed", f"{name} is no base64")
    return found


def _endorsement(certificate: x509.Certificate) -> tpm.PublicKey:
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise Refused("evidence.malformed", "the endorsement key is of an unknown kind")
    return key


def _claims(read: _Evidence, path: list[x509.Certificate], terms: TpmTerms | None) -> Claims:
    quote, maker = read.quote, _maker(read.certificate)
    spki = _endorsement(read.certificate).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    facts = {
        "activation": "that one TPM holds both keys, a credential shows; this evidence cannot",
        "authority": "none asked" if terms is None else path[0].subject.rfc4514_string()[:200],
        "clock": f"{quote.clock} ms, {'safe' if quote.safe else 'may have gone back'}",
        "firmware": f"{quote.firmware:016x}",
        "hardware": "no: a software TPM" if _is_software(read.certificate) else "as certified",
        "resets": str(quote.resets),
        "restarts": str(quote.restarts),
    }
    return Claims(
        report_data=quote.extra,
        registers={
            f"pcr{place}": value for place, value in zip(read.selection, read.values, strict=True)
        },
        platform=hashlib.sha256(spki).hexdigest(),
        tcb={},
        issued=None,
        valid_until=chain.valid_until(path),
        facts=facts | maker,
    )


def _maker(certificate: x509.Certificate) -> dict[str, str]:
    """Manufacturer, model and version of the TPM (EK credential profile, 3.1.2)."""
    names = chain.extension(certificate, x509.SubjectAlternativeName)
    directories = names.get_values_for_type(x509.DirectoryName) if names else []
    return {
        _WORDS[part.oid.dotted_string]: str(part.value)[:64]
        for directory in directories
        for part in directory
        if part.oid.dotted_string in _WORDS
    }


def _path(
    certificate: x509.Certificate, pem: bytes | None, found: Findings
) -> list[x509.Certificate]:
    """Root first; only the endorsement key's certificate if nothing leads to it."""
    mark = b"-----END CERTIFICATE-----"
    *parts, rest = (pem or b"").split(mark, chain.PATH)
    if not found.check(not rest.strip(), "evidence.chain", f"{CHAIN} is no list of certificates"):
        return [certificate]
    read = [chain.read(part.strip() + b"\n" + mark, found, CHAIN) for part in reversed(parts)]
    issuers = [issuer for issuer in read if issuer is not None]
    return [*issuers, certificate]


def _check_path(
    path: list[x509.Certificate],
    authorities: Collection[bytes] | None,
    now: int,
    found: Findings,
) -> None:
    leaf, issuers = path[-1], path[:-1]
    if authorities is not None:
        check_led(issuers, found)
        chain.check_root(path[0], authorities, found)
    for issuer, issued in zip(issuers, path[1:], strict=True):
        chain.check_issued(issued, issuer, found)
    for certificate in path:
        chain.check_dates(certificate, now, found)
        chain.check_hash(certificate, found)
        chain.check_key(certificate, found)
    for below, certificate in enumerate(reversed(issuers)):
        chain.check_critical(certificate, found)
        chain.check_authority(certificate, found)
        chain.check_path_length(certificate, below, found)
    check_endorsement(leaf, found)


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_generated(quote: tpm.Quote, found: Findings) -> bool:
    """A TPM made the message itself: no other begins so."""
    detail = "the quote does not begin with TPM_GENERATED"
    return found.check(quote.magic == tpm.GENERATED, "evidence.signature", detail)


def check_key(key: tpm.Public, found: Findings) -> bool:
    """The attestation key is restricted, signs only, and cannot leave its TPM."""
    missing = [word for bit, word in MUST.items() if not key.attributes >> bit & 1]
    signs = key.attributes >> SIGN & 1 and not key.attributes >> DECRYPT & 1
    missing += [] if signs and key.symmetric == tpm.NULL else ["sign only"]
    detail = f"the attestation key lacks {', '.join(missing)}"
    return found.check(not missing, "evidence.signature", detail)


def check_scheme(key: tpm.Public, signature: tpm.Signature, found: Findings) -> bool:
    """RSASSA or ECDSA with SHA-256, the same for the key and its signature."""
    scheme = tpm.RSASSA if isinstance(key.key, rsa.RSAPublicKey) else tpm.ECDSA
    wanted = (scheme, tpm.SHA256)
    good = (key.scheme, key.scheme_hash) == wanted == (signature.scheme, signature.hash)
    return found.check(good, "evidence.signature", "the scheme is not RSASSA or ECDSA, SHA-256")


def check_signature(
    key: tpm.Public, signature: tpm.Signature, message: bytes, found: Findings
) -> bool:
    """The attestation key signed the message."""
    good = _verifies(key.key, signature.parts, message)
    return found.check(good, "evidence.signature", "the attestation key did not sign this quote")


def check_holder(read: _Evidence, found: Findings) -> bool:
    """The quote names a signer right under the certified endorsement key."""
    wanted = tpm.qualified_name(_endorsement(read.certificate), read.key.name)
    detail = "the attestation key is not under the endorsement key"
    return found.check(read.quote.signer == wanted, "evidence.signature", detail)


def check_selection(read: _Evidence, found: Findings) -> bool:
    """The quote covers exactly the registers given, of the SHA-256 bank."""
    wanted = (tpm.SHA256, read.selection)
    good = (read.quote.bank, read.quote.selection) == wanted and read.bank == tpm.SHA256
    detail = "the quote covers other registers than those given, or another bank"
    return found.check(good, "evidence.signature", detail)


def check_values(read: _Evidence, found: Findings) -> bool:
    """The values given are those that were signed."""
    good = all(len(value) == 32 for value in read.values)
    good = good and hashlib.sha256(b"".join(read.values)).digest() == read.quote.digest
    detail = "the quote signs other values of the registers than those given"
    return found.check(good, "evidence.signature", detail)


def check_endorsements(endorsements: Mapping[str, bytes], found: Findings) -> bool:
    """Nothing comes with the evidence that is not looked at."""
    unknown = endorsements.keys() - {CHAIN}
    return found.check(not unknown, "evidence.malformed", f"unknown endorsements {sorted(unknown)}")


def check_led(issuers: list[x509.Certificate], found: Findings) -> bool:
    """Something leads from the endorsement key's certificate to an authority."""
    return found.check(bool(issuers), "evidence.chain", f"no {CHAIN} to an authority")


def check_endorsement(certificate: x509.Certificate, found: Findings) -> bool:
    """The certificate is for an endorsement key, and nothing else (EK credential profile, 3.2)."""
    constraints = chain.extension(certificate, x509.BasicConstraints)
    usage = chain.extension(certificate, x509.KeyUsage)
    purposes = chain.extension(certificate, x509.ExtendedKeyUsage)
    good = (
        not (constraints and constraints.ca)
        and usage is not None
        and (usage.key_encipherment or usage.key_agreement)
        and (purposes is None or _EK in purposes)
    )
    return found.check(good, "evidence.chain", "the certificate is not for an endorsement key")


def check_hardware(certificate: x509.Certificate, found: Findings) -> bool:
    """The certificate says which TPM it is for, and that is no software."""
    software, named = _is_software(certificate), {"manufacturer", "model"}
    detail = "a software TPM is no hardware" if software else "the certificate names no TPM"
    good = not software and named <= _maker(certificate).keys()
    return found.check(good, "evidence.technology", detail)


def _is_software(certificate: x509.Certificate) -> bool:
    maker = _maker(certificate)
    said = f"{maker.get('model', '')} {certificate.issuer.rfc4514_string()}".lower()
    known = maker.get("manufacturer", "").lower() == SOFTWARE_MAKER
    return known or any(mark in said for mark in SOFTWARE_MODELS)


def _verifies(key: tpm.PublicKey, parts: tuple[bytes, ...], message: bytes) -> bool:
    try:
        match key, parts:
            case rsa.RSAPublicKey(), (signature,):
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            case ec.EllipticCurvePublicKey(), (r, s):
                numbers = int.from_bytes(r, "big"), int.from_bytes(s, "big")
                signature = utils.encode_dss_signature(*numbers)
                key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
            case _:
                return False
    except InvalidSignature:
        return False
    return True
