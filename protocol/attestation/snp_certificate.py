"""What AMD states in a VCEK or VLEK certificate (AMD 57230): read, not checked."""

from typing import Final

from cryptography import x509

KINDS: Final = ("vcek", "vlek")
"""Kinds of leaf certificates: for one chip, for one cloud provider."""

_OID: Final = "1.3.6.1.4.1.3704.1."
_COMPONENTS: Final = {
    "bootloader": "3.1",
    "tee": "3.2",
    "snp": "3.3",
    "microcode": "3.8",
    "fmc": "3.9",
}
_ISSUERS: Final = {
    f"SEV-{'VLEK-' if kind == 'vlek' else ''}{name.title()}": (name, kind)
    for name in ("milan", "genoa", "turin")
    for kind in KINDS
}
_INTEGER, _OCTETS, _TEXT = 0x02, 0x04, 0x16


def origin(leaf: x509.Certificate) -> tuple[str, str] | None:
    """Generation and kind by the issuer's name, for that is whose key must have signed it."""
    names = leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return _ISSUERS.get(str(names[0].value)) if len(names) == 1 else None


def product(leaf: x509.Certificate) -> str:
    """The name of the product ("Milan-B0"); empty if there is none."""
    return _text(leaf, "2")


def provider(leaf: x509.Certificate) -> str:
    """The cloud provider that a VLEK is for; empty if there is none."""
    return _text(leaf, "5")


def chip(leaf: x509.Certificate, size: int) -> bytes:
    """The id of the chip, plain or as a DER string of `size` bytes; empty if there is none."""
    value = _extension(leaf, "4")
    return value[2:] if len(value) == size + 2 and _is_der(value, _OCTETS) else value


def version(leaf: x509.Certificate, component: str) -> int | None:
    """The security version of a component; None if there is none from 0 to 255."""
    value = _extension(leaf, _COMPONENTS[component])
    if not _is_der(value, _INTEGER):
        return None
    number = int.from_bytes(value[2:], signed=True)
    return number if 0 <= number <= 255 else None


def _text(leaf: x509.Certificate, place: str) -> str:
    value = _extension(leaf, place)
    return ascii(value[2:].decode("ascii", "replace"))[1:-1] if _is_der(value, _TEXT) else ""


def _extension(leaf: x509.Certificate, place: str) -> bytes:
    try:
        value = leaf.extensions.get_extension_for_oid(x509.ObjectIdentifier(_OID + place)).value
    except x509.ExtensionNotFound:
        return b""
    return value.value if isinstance(value, x509.UnrecognizedExtension) else b""


def _is_der(value: bytes, tag: int) -> bool:
    """Whether the bytes are one DER value of the tag, with a length below 128."""
    return len(value) >= 3 and value[0] == tag and value[1] == len(value) - 2 < 128
