"""X.509 paths to a vendor's pinned root (RFC 5280), offline; every fault is reported.

A path is a list of certificates, the root first and the leaf last. What is not checked here is what
the vendors do not use: name constraints and policies. Each is a critical extension by RFC 5280, and
a critical extension that we do not understand is refused.
"""

import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from protocol.attestation.findings import Findings

CERTIFICATE: Final = 8 * 1024
"""Bytes of one certificate, DER or PEM; vendors' have at most 2 KiB."""

CRL: Final = 128 * 1024
"""Bytes of one revocation list."""

PATH: Final = 8
"""Certificates of one path: Nitro has five, the others three."""

HASHES: Final = ("sha256", "sha384", "sha512")
"""The hashes that a signature on a certificate may use."""

_UNDERSTOOD: Final = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
}
"""Extensions that may be critical. What a key is used for, the technology's own rules say."""

_E = TypeVar("_E", bound=x509.ExtensionType)


def read(data: bytes, found: Findings, what: str = "certificate") -> x509.Certificate | None:
    """The certificate in DER or PEM; None, with a finding (evidence.chain), if it is none.

    All that later checks look at is parsed here, for hostile bytes may break any of it.
    """
    if not found.check(len(data) <= CERTIFICATE, "evidence.chain", f"{what}: {len(data)} bytes"):
        return None
    try:
        certificate = _load(data)
        _parse(certificate)
    except Exception as error:  # a parser of hostile bytes: whatever breaks in it is a refusal
        found.add("evidence.chain", f"{what}: {type(error).__name__}: {error}")
        return None
    return certificate


def _parse(certificate: x509.Certificate) -> None:
    """Make the library parse now what it would parse when first asked."""
    _ = certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm
    _ = name(certificate), certificate.issuer, life(certificate)


def _load(data: bytes) -> x509.Certificate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # AMD's leaf certificates have the serial number zero
        if data.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)


def read_path(parts: Sequence[bytes], found: Findings) -> list[x509.Certificate] | None:
    """The certificates of a path, root first; None, with findings (evidence.chain), if one is none.

    Nothing of a path that is too long is read.
    """
    if not check_length(parts, found):
        return None
    read_ones = [read(part, found, f"certificate {place}") for place, part in enumerate(parts)]
    path = [certificate for certificate in read_ones if certificate is not None]
    return path if len(path) == len(parts) else None


def verify(
    path: Sequence[x509.Certificate], roots: Collection[bytes], now: int, found: Findings
) -> None:
    """Check a path of at least two certificates; findings are evidence.chain.

    `roots` are SHA-256 fingerprints of the DER of the only roots trusted.
    """
    check_root(path[0], roots, found)
    for issuer, certificate in pairwise(path):
        check_issued(certificate, issuer, found)
    for certificate in path:
        check_dates(certificate, now, found)
        check_encoding(certificate, found)
        check_hash(certificate, found)
        check_key(certificate, found)
        check_critical(certificate, found)
    for below, certificate in enumerate(reversed(path[:-1])):
        check_authority(certificate, found)
        check_path_length(certificate, below, found)
    check_leaf(path[-1], found)


def valid_until(
    path: Sequence[x509.Certificate], crl: x509.CertificateRevocationList | None = None
) -> int:
    """The earliest end of certificates and revocation list, unix seconds."""
    ends = [certificate.not_valid_after_utc for certificate in path]
    if crl is not None and crl.next_update_utc is not None:
        ends.append(crl.next_update_utc)
    return _seconds(min(ends))


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_length(parts: Sequence[bytes], found: Findings) -> bool:
    """A path has from 2 to PATH certificates: a bound on work."""
    return found.check(2 <= len(parts) <= PATH, "evidence.chain", f"{len(parts)} certificates")


def check_root(root: x509.Certificate, roots: Collection[bytes], found: Findings) -> bool:
    """The first certificate is a pinned root, byte for byte."""
    pin = root.fingerprint(hashes.SHA256())
    return found.check(pin in roots, "evidence.chain", f"the root {pin.hex()} is not pinned")


def check_issued(certificate: x509.Certificate, issuer: x509.Certificate, found: Findings) -> bool:
    """`issuer` signed `certificate`, and is named in it (RFC 5280 section 6.1.3 a1, a4)."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception as error:  # also what the library cannot verify is not verified
        why = f"{name(certificate)} is not issued by {name(issuer)}: {type(error).__name__}"
        found.add("evidence.chain", why)
        return False
    return True


def check_dates(certificate: x509.Certificate, now: int, found: Findings) -> bool:
    """The certificate is valid at `now`, both ends included (RFC 5280 section 4.1.2.5)."""
    first, last = life(certificate)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    why = f"{name(certificate)} is valid from {start} to {end}, not at the time asked"
    return found.check(first <= now <= last, "evidence.chain", why)


def check_encoding(certificate: x509.Certificate, found: Findings) -> bool:
    """No bit can be altered: also those outside of what is signed have one form only."""
    der = certificate.public_bytes(Encoding.DER)
    good = one_form(der, certificate.tbs_certificate_bytes, certificate.signature)
    why = f"{name(certificate)} was altered where nothing is signed"
    return found.check(good, "evidence.chain", why)


def check_hash(certificate: x509.Certificate, found: Findings) -> bool:
    """The signature on the certificate uses one of HASHES."""
    algorithm = certificate.signature_hash_algorithm
    used = algorithm.name if algorithm else "none"
    why = f"{name(certificate)} is signed with the hash {used}"
    return found.check(used in HASHES, "evidence.chain", why)


def check_key(certificate: x509.Certificate, found: Findings) -> bool:
    """The certified key is RSA of 2048 bits or elliptic curve of 256 bits, or larger."""
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            good = 2048 <= key.key_size <= 8192
        case ec.EllipticCurvePublicKey():
            good = key.curve.key_size >= 256
        case _:
            good = False
    return found.check(good, "evidence.chain", f"{name(certificate)} has a weak or unknown key")


def check_critical(certificate: x509.Certificate, found: Findings) -> bool:
    """Nothing is critical that is not understood (RFC 5280 section 4.2)."""
    oids = [e.oid for e in certificate.extensions if e.critical and e.oid not in _UNDERSTOOD]
    why = f"{name(certificate)} has critical extensions {[oid.dotted_string for oid in oids]}"
    return found.check(not oids, "evidence.chain", why)


def check_authority(certificate: x509.Certificate, found: Findings) -> bool:
    """An issuer is an authority that may sign certificates (RFC 5280 section 6.1.4 k, n)."""
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    good = constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)
    return found.check(good, "evidence.chain", f"{name(certificate)} is not an authority")


def check_path_length(certificate: x509.Certificate, below: int, found: Findings) -> bool:
    """Below an authority stand no more authorities than it says (RFC 5280 section 6.1.4 m)."""
    constraints = extension(certificate, x509.BasicConstraints)
    limit = constraints.path_length if constraints else None
    why = f"{name(certificate)} allows {limit} authorities below it, there are {below}"
    return found.check(limit is None or below <= limit, "evidence.chain", why)


def check_leaf(certificate: x509.Certificate, found: Findings) -> bool:
    """The last one is no authority, and its key may sign (RFC 5280 section 4.2.1.3)."""
    constraints = extension(certificate, x509.BasicConstraints)
    usage = extension(certificate, x509.KeyUsage)
    good = not (constraints and constraints.ca) and (usage is None or usage.digital_signature)
    return found.check(good, "evidence.chain", f"{name(certificate)} is no certificate to sign by")


# --- small words ---------------------------------------------------------------------------------


def extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    """The value of an extension, None if it is not there."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def life(certificate: x509.Certificate) -> tuple[int, int]:
    """The first and the last second at which the certificate is valid, unix time."""
    return _seconds(certificate.not_valid_before_utc), _seconds(certificate.not_valid_after_utc)


def one_form(der: bytes, signed: bytes, signature: bytes) -> bool:
    """Whether a certificate or list is what was signed, the algorithm named in that once more
    (RFC 5280 section 4.1.1.2), and a signature of whole bytes: the library leaves that open.
    """
    place = _content(signed, 0)
    while signed[place] != 0x30:  # version and serial number stand before the algorithm
        place = _end(signed, place)
    algorithm = signed[place : _end(signed, place)]
    field = der[_content(der, 0) + len(signed) + len(algorithm) :]
    return der[_content(der, 0) :] == signed + algorithm + field and (
        field[_content(field, 0) :] == b"\0" + signature
    )


def _content(der: bytes, place: int) -> int:
    """Where the content of a DER element begins."""
    first = der[place + 1]
    return place + 2 + (first & 0x7F if first & 0x80 else 0)


def _end(der: bytes, place: int) -> int:
    """Where a DER element ends."""
    first, content = der[place + 1], _content(der, place)
    return content + (int.from_bytes(der[place + 2 : content]) if first & 0x80 else first)


@lru_cache(maxsize=4 * PATH)
def name(certificate: x509.Certificate) -> str:
    """Whom the certificate is for; whatever hostile bytes put there is escaped."""
    return ascii(certificate.subject.rfc4514_string()[:200])[1:-1]


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
