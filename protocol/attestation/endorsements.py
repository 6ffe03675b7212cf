"""Files that come with evidence: what each is, shows in its content. Names and order mean nothing.

For people who look at evidence by hand; hosts send endorsements by name (evidence.EvidenceBundle).
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.attestation import chain, nitro, revocation, sgx, snp, tdx, tpm
from protocol.attestation.findings import Findings
from protocol.errors import Refused

_BLOCK: Final = re.compile(
    rb"-----BEGIN (CERTIFICATE|X509 CRL)-----[A-Za-z0-9+/=\s]+-----END \1-----", re.ASCII
)
_BLOCKS: Final = 16

_AUTHORITIES: Final = {
    snp.TECHNOLOGY: ("ask",),
    tpm.TECHNOLOGY: ("root", "ask", "certificate"),
}
"""Technology -> which certificates are those of who issued its leaf."""

_BEGINNINGS: Final[Mapping[str, tuple[bytes, ...]]] = {
    nitro.TECHNOLOGY: (b"\x84", b"\xd2\x84"),
    snp.TECHNOLOGY: (b"\x02\0\0\0", b"\x03\0\0\0", b"\x04\0\0\0", b"\x05\0\0\0"),
    sgx.TECHNOLOGY: (b"\x03\0\x02\0",),
    tdx.TECHNOLOGY: (b"\x04\0\x02\0", b"\x05\0\x02\0"),
}
"""How raw evidence begins; none of it is text."""

_DECODERS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    lambda text: bytes.fromhex(text.decode("ascii")),
    lambda text: base64.b64decode(text, validate=True),
    lambda text: base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")), validate=True),
)


def raw(technology: str, evidence: bytes) -> bytes:
    """Evidence as its hardware made it, out of a text in hexadecimal or base64 if it is one.

    Only where the outcome begins as that technology's evidence does, so that nothing is guessed.
    """
    beginnings = _BEGINNINGS.get(technology, ())
    if evidence.startswith(beginnings) or not evidence.isascii():
        return evidence
    text = b"".join(evidence.split())
    for decode in _DECODERS if beginnings else ():
        try:
            found = decode(text)
        except (ValueError, binascii.Error):
            continue
        if found.startswith(beginnings):
            return found
    return evidence


def by_name(
    technology: str, files: Sequence[bytes], collateral: bytes | None = None
) -> dict[str, bytes]:
    """The endorsements in `files`, by the names of EvidenceBundle.

    A root that stands among them is left out: roots are pinned; so is an authority of AMD that did
    not issue the leaf. A TPM's come as one chain. Raises Refused (evidence.malformed) for a file
    that is nothing known, or is there twice.
    """
    found: dict[str, bytes] = {} if collateral is None else {"collateral": collateral}
    authorities: list[bytes] = []
    for place, part in _parts(files):
        name = _name(part, place)
        if name in _AUTHORITIES.get(technology, ()):
            authorities.append(part)
        elif name != "root" and found.setdefault(name, part) != part:
            raise Refused("evidence.malformed", f"two endorsements are a {name}")
    if technology == tpm.TECHNOLOGY and authorities:
        found[tpm.CHAIN] = b"".join(map(_pem, authorities))
    if technology == snp.TECHNOLOGY:
        found |= _issuer(found, authorities)
    return found


def _issuer(found: Mapping[str, bytes], authorities: Sequence[bytes]) -> dict[str, bytes]:
    """Of AMD's authorities the one that issued the leaf, if it is there."""
    leaf = found.get("vcek") or found.get("vlek")
    if leaf is None:
        return {}
    name = _read(leaf).issuer
    issuers = [part for part in authorities if _read(part).subject == name]
    return {"ask": issuers[0]} if issuers else {}


def _parts(files: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Every certificate, list or other document, with the number of its file."""
    count = 0
    for place, data in enumerate(files, 1):
        blocks = [match.group() + b"\n" for match in _BLOCK.finditer(data)]
        for part in blocks or [data]:
            count += 1
            if count > _BLOCKS:
                raise Refused("evidence.malformed", f"more than {_BLOCKS} endorsements")
            yield place, part


def _name(part: bytes, place: int) -> str:
    """What one document is."""
    if part.lstrip().startswith(b"{"):
        return "collateral"
    certificate = chain.read(part, Findings()) if len(part) <= chain.CERTIFICATE else None
    if certificate is not None:
        return _role(certificate)
    if revocation.read(part, Findings()) is not None:
        return "crl"
    detail = f"endorsement {place} is no certificate, revocation list or collateral"
    raise Refused("evidence.malformed", detail)


def _role(certificate: x509.Certificate) -> str:
    """AMD names its certificates by their role; of others only a root shows what it is."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    if certificate.subject == certificate.issuer:
        return "root"
    if name in ("SEV-VCEK", "SEV-VLEK"):
        return name.removeprefix("SEV-").lower()
    return "ask" if name.startswith("SEV-") else "certificate"


def _pem(part: bytes) -> bytes:
    if part.startswith(b"-----BEGIN"):
        return part
    return _read(part).public_bytes(Encoding.PEM)


def _read(part: bytes) -> x509.Certificate:
    """A certificate that was read before."""
    certificate = chain.read(part, Findings())
    if certificate is None:
        raise Refused("evidence.malformed", "an endorsement is no certificate")
    return certificate
