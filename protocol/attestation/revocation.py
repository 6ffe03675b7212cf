"""Revocation lists (RFC 5280 section 5): signed by the issuer, current, naming none of a path."""

import warnings
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.attestation import chain
from protocol.attestation.findings import Findings


def read(data: bytes, found: Findings) -> x509.CertificateRevocationList | None:
    """The list in DER or PEM; None, with a finding (evidence.collateral), if it is none."""
    code = "evidence.collateral"
    if not found.check(len(data) <= chain.CRL, code, f"a revocation list of {len(data)} bytes"):
        return None
    try:
        pem = data.startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data)
        _ = crl.extensions, crl.signature_hash_algorithm, crl.issuer, len(crl)
    except Exception as error:  # a parser of hostile bytes: whatever breaks in it is a refusal
        found.add(code, f"revocation list: {type(error).__name__}: {error}")
        return None
    return crl


def verify(
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    path: Sequence[x509.Certificate],
    now: int,
    found: Findings,
) -> None:
    """Check a list by `issuer`, and that it names no certificate of `path`.

    Findings are evidence.collateral for the list, evidence.revoked for a certificate.
    """
    check_crl_signature(crl, issuer, found)
    check_crl_encoding(crl, found)
    check_crl_current(crl, now, found)
    check_crl_scope(crl, found)
    check_revoked(crl, path, found)


# --- numbered checks: tests/hooks/mutants.py removes each ----------------------------------------


def check_crl_signature(
    crl: x509.CertificateRevocationList, issuer: x509.Certificate, found: Findings
) -> bool:
    """`issuer` signed the list, and is named in it."""
    key, algorithm = issuer.public_key(), crl.signature_hash_algorithm
    strong = algorithm is not None and algorithm.name in chain.HASHES
    good = strong and crl.issuer == issuer.subject and _signed(crl, key)
    return found.check(good, "evidence.collateral", "the revocation list is not by its issuer")


def check_crl_encoding(crl: x509.CertificateRevocationList, found: Findings) -> bool:
    """No bit can be altered: also those outside of what is signed have one form only."""
    der = crl.public_bytes(Encoding.DER)
    good = chain.one_form(der, crl.tbs_certlist_bytes, crl.signature)
    why = "the revocation list was altered where nothing is signed"
    return found.check(good, "evidence.collateral", why)


def check_crl_current(crl: x509.CertificateRevocationList, now: int, found: Findings) -> bool:
    """thisUpdate <= now < nextUpdate; a list without an end is refused."""
    first, end = crl.last_update_utc, crl.next_update_utc
    good = end is not None and int(first.timestamp()) <= now < int(end.timestamp())
    why = f"the revocation list is current from {first} until {end}"
    return found.check(good, "evidence.collateral", why)


def check_crl_scope(crl: x509.CertificateRevocationList, found: Findings) -> bool:
    """No critical extension: each narrows what the list says (RFC 5280 section 5.2)."""
    narrowed = any(extension.critical for extension in crl.extensions)
    return found.check(not narrowed, "evidence.collateral", "the revocation list is a partial one")


def check_revoked(
    crl: x509.CertificateRevocationList, path: Sequence[x509.Certificate], found: Findings
) -> bool:
    """No certificate by the list's issuer is named in it."""
    good = True
    for certificate in path:
        if certificate.issuer == crl.issuer and _named(crl, certificate):
            why = f"{chain.name(certificate)} is revoked"
            good = found.check(False, "evidence.revoked", why)
    return good


# --- small words ---------------------------------------------------------------------------------


def _signed(crl: x509.CertificateRevocationList, key: object) -> bool:
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return False
    try:
        return crl.is_signature_valid(key)
    except Exception:  # what the library cannot verify is not verified
        return False


def _named(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a serial number that is not positive is still a number
        number = certificate.serial_number
        # The library looks no negative number up; whoever has one is out of reach of any list.
        return number < 0 or crl.get_revoked_certificate_by_serial_number(number) is not None
