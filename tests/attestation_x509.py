"""Certificates of our own making, for test roots: keys of elliptic curves come from their label."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
LAST = datetime(2080, 1, 1, tzinfo=UTC)
SHA384 = hashes.SHA384()
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Party:
    """Who can sign: a key and its certificate."""

    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def fingerprint(self) -> bytes:
        return self.certificate.fingerprint(hashes.SHA256())


@dataclass(frozen=True)
class Style:
    """How a certificate is made; every field is a way to make it wrong."""

    ca: bool | None = None
    path_length: int | None = None
    signs: bool | None = None
    certifies: bool = False
    first: datetime = FIRST
    last: datetime = LAST
    hash: type[hashes.HashAlgorithm] = hashes.SHA384
    extensions: Sequence[tuple[str, bytes, bool]] = ()
    issuer: str | None = None


ROOT = Style(ca=True, certifies=True, signs=False)
LEAF = Style(ca=False, signs=True)


@cache
def ec_key(label: str, curve: type[ec.EllipticCurve] = ec.SECP384R1) -> ec.EllipticCurvePrivateKey:
    seed = hashlib.sha512(label.encode()).digest()
    return ec.derive_private_key(int.from_bytes(seed[:24]) + 1, curve())


@cache
def rsa_key(label: str, size: int = 2048) -> rsa.RSAPrivateKey:
    """One key for each label and process: RSA keys cannot be derived."""
    return rsa.generate_private_key(65537, size)


def common_name(name: str) -> x509.Name:
    parts = [(NameOID.ORGANIZATION_NAME, "Village tests"), (NameOID.COMMON_NAME, name)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


def issue(name: str, key: Any, issuer: Party | None, style: Style) -> Party:
    """A certificate by `issuer`, or by itself."""
    names = issuer.certificate.subject if issuer else common_name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(style.issuer) if style.issuer else names)
        .public_key(key.public_key())
        .serial_number(serial(name))
        .not_valid_before(style.first)
        .not_valid_after(style.last)
    )
    for extension, critical in _extensions(style):
        builder = builder.add_extension(extension, critical)
    signer = issuer.key if issuer else key
    return Party(key, builder.sign(signer, style.hash(), **_signing(signer, style.hash())))


def revoke(
    issuer: Party,
    serials: Sequence[int] = (),
    *,
    first: datetime = FIRST,
    last: datetime = LAST,
    key: Any = None,
    partial: bool = False,
    digest: hashes.HashAlgorithm = SHA384,
) -> bytes:
    """A revocation list, DER; `partial` puts the critical extension of a partial one in it."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(first)
        .next_update(last)
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    for number in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(number).revocation_date(FIRST)
        builder = builder.add_revoked_certificate(entry.build())
    if partial:
        point = x509.IssuingDistributionPoint(
            full_name=None, relative_name=None, only_contains_user_certs=True,
            only_contains_ca_certs=False, only_some_reasons=None, indirect_crl=False,
            only_contains_attribute_certs=False,
        )  # fmt: skip
        builder = builder.add_extension(point, critical=True)
    key = key or issuer.key
    crl = builder.sign(key, digest, **_signing(key, digest))
    return crl.public_bytes(serialization.Encoding.DER)


def serial(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) + 1


def _signing(key: Any, hash_: Any) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return {"rsa_padding": padding.PSS(padding.MGF1(hash_), hash_.digest_size)}
    return {"ecdsa_deterministic": True}


def _extensions(style: Style) -> list[tuple[Any, bool]]:
    found: list[tuple[Any, bool]] = []
    if style.ca is not None:
        found.append((x509.BasicConstraints(style.ca, style.path_length), True))
    if style.signs is not None:
        usage = x509.KeyUsage(
            digital_signature=style.signs, key_cert_sign=style.certifies, crl_sign=style.certifies,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        found.append((usage, True))
    for oid, value, critical in style.extensions:
        found.append((x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical))
    return found
