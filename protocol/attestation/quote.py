"""Quotes of Intel SGX (version 3) and TDX (versions 4 and 5): where each field stands.

Version 3 puts the quoting enclave's report behind the signature; versions 4 and 5 wrap it in
certification data of type 6; version 5 says which report it carries. Nothing is verified here, but
every byte has its place: what is too short, too long or left over is refused.
"""

from dataclasses import dataclass
from typing import Final

from protocol.errors import Refused

QUOTE: Final = 32 * 1024
"""Bytes of one quote; real ones have about 5 KiB."""

ECDSA_P256: Final = 2
"""The one type of attestation key."""

INTEL: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
"""The vendor of the quoting enclave."""

_SGX, _TDX = 0, 0x81
_VERSIONS: Final = {3: _SGX, 4: _TDX, 5: _TDX}
_REPORT: Final = 384
_TD10: Final = 584
_TD15: Final = 648
_V5_BODIES: Final = {2: _TD10, 3: _TD15}
_ENCLOSED, _PEM_CHAIN = 6, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One quote. `body` is the enclave's or the domain's report; `certificates` are PEM text.

    `qe_report` is the report of the quoting enclave, which vouches for the attestation key.
    """

    version: int
    tdx: bool
    body: bytes
    qe_report: bytes
    certificates: bytes


class _Reader:
    """Takes bytes from the front; refuses what is not there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise Refused("evidence.malformed", f"a quote that is cut off at {len(self._data)}")
        self._at += size
        return part

    def number(self, size: int) -> int:
        """The next number of `size` bytes, little-endian."""
        return int.from_bytes(self.take(size), "little")

    def end(self) -> None:
        """Nothing may be left."""
        left = len(self._data) - self._at
        _must(left == 0, f"{left} bytes are left over")


def read(raw: bytes) -> Quote:
    """The fields of a quote. Raises Refused (evidence.malformed)."""
    _must(len(raw) <= QUOTE, f"a quote of {len(raw)} bytes")
    reader = _Reader(raw)
    version = _header(reader)
    body = _body(reader, version)
    signature = _Reader(reader.take(reader.number(4)))
    reader.end()
    signature.take(64 + 64)  # signature of the report, attestation key
    if version >= 4:
        enclosed = _certification(signature, _ENCLOSED)
        signature.end()
        signature = _Reader(enclosed)
    qe_report = signature.take(_REPORT)
    signature.take(64)  # signature of the quoting enclave's report
    signature.take(signature.number(2))  # its authentication data
    certificates = _certification(signature, _PEM_CHAIN)
    signature.end()
    return Quote(
        version=version,
        tdx=version >= 4,
        body=body,
        qe_report=qe_report,
        certificates=certificates,
    )


def _header(reader: _Reader) -> int:
    version, key_type, technology = reader.number(2), reader.number(2), reader.number(4)
    reader.take(4)  # version 3: security versions; 4 and 5: reserved. Signed, and not used
    vendor = reader.take(16)
    reader.take(20)  # for the quoting enclave's own use
    _must(_VERSIONS.get(version) == technology, f"version {version} for technology {technology}")
    _must(key_type == ECDSA_P256, f"an attestation key of type {key_type}")
    _must(vendor == INTEL, f"a quoting enclave by {vendor.hex()}")
    return version


def _body(reader: _Reader, version: int) -> bytes:
    match version:
        case 3:
            size = _REPORT
        case 4:
            size = _TD10
        case _:
            kind, size = reader.number(2), reader.number(4)
            _must(_V5_BODIES.get(kind) == size, f"a report of type {kind} with {size} bytes")
    return reader.take(size)


def _certification(reader: _Reader, expected: int) -> bytes:
    kind, size = reader.number(2), reader.number(4)
    _must(kind == expected, f"certification data of type {kind} instead of {expected}")
    return reader.take(size)


def _must(good: bool, detail: str) -> None:
    if not good:
        raise Refused("evidence.malformed", detail)
