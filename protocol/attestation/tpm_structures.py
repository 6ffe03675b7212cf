"""The structures of a TPM 2.0 that its evidence holds, read strictly.

TCG TPM 2.0 library specification, part 2: TPMS_ATTEST (10.12.12), TPMT_PUBLIC (12.2.4),
TPMT_SIGNATURE (11.3.4). PCR values come in the file that tpm2_quote writes. Whatever is cut off,
left over or of a kind that nothing here needs is refused (evidence.malformed).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from protocol.errors import Refused

GENERATED: Final = 0xFF544347
"""TPM_GENERATED_VALUE: a restricted key never signs outside data that begins with it."""

QUOTE: Final = 0x8018
NULL: Final = 0x0010
RSA: Final = 0x0001
ECC: Final = 0x0023
SHA256: Final = 0x000B
RSASSA: Final = 0x0014
ECDSA: Final = 0x0018
CURVES: Final[Mapping[int, type[ec.EllipticCurve]]] = {3: ec.SECP256R1, 4: ec.SECP384R1}
PCRS: Final = 24
"""Platform configuration registers of a bank (PC client platform profile, 4.6)."""

ENDORSEMENT_HIERARCHY: Final = 0x4000000B
ENDORSEMENT_ATTRIBUTES: Final = 0x000300B2
ENDORSEMENT_POLICY: Final = bytes.fromhex(
    "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
)
"""PolicySecret of the endorsement hierarchy."""

AES_128_CFB: Final = bytes.fromhex("000600800043")

RSA_BITS: Final = (2048, 3072, 4096)
_EXPONENT: Final = 65537

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class Reader:
    """Reads one structure from its beginning to its exact end. Raises Refused."""

    def __init__(self, data: bytes, name: str, order: str = "big") -> None:
        """`name` is said in refusals; `order` is the byte order of numbers."""
        self._data, self._at, self._name = data, 0, name
        self._little = order == "little"

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        found = self._data[self._at : self._at + size]
        if len(found) < size:
            raise self.fault("is cut off")
        self._at += size
        return found

    def number(self, size: int) -> int:
        """The next unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), "little" if self._little else "big")

    def sized(self, most: int) -> bytes:
        """The next TPM2B: two bytes of size, then at most `most` bytes."""
        size = self.number(2)
        if size > most:
            raise self.fault(f"has a field of {size} bytes")
        return self.take(size)

    def padding(self, size: int) -> None:
        """The next `size` bytes, which must be zero."""
        if any(self.take(size)):
            raise self.fault("has bytes where none belong")

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise self.fault("goes on after its end")

    def fault(self, why: str) -> Refused:
        """The refusal of this structure."""
        return Refused("evidence.malformed", f"the {self._name} {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A TPMS_ATTEST of type quote, over the registers `selection` of `bank`.

    `signer` is the qualified name of the key that signed: its name, and those of all keys above it.
    """

    magic: int
    signer: bytes
    extra: bytes
    clock: int
    resets: int
    restarts: int
    safe: bool
    firmware: int
    bank: int
    selection: tuple[int, ...]
    digest: bytes


def read_quote(data: bytes) -> Quote:
    """The quote in `data`. Raises Refused (evidence.malformed)."""
    reader = Reader(data, "quote")
    magic = reader.number(4)
    if reader.number(2) != QUOTE:
        raise reader.fault("is another kind of attestation")
    signer, extra = reader.sized(68), reader.sized(64)
    clock, resets, restarts, safe = (reader.number(size) for size in (8, 4, 4, 1))
    if safe > 1:
        raise reader.fault("has a flag that is neither yes nor no")
    firmware = reader.number(8)
    if reader.number(4) != 1:
        raise reader.fault("does not cover exactly one bank of registers")
    bank = reader.number(2)
    selection = _selection(reader, reader.number(1))
    digest = reader.sized(64)
    reader.end()
    return Quote(
        magic=magic,
        signer=signer,
        extra=extra,
        clock=clock,
        resets=resets,
        restarts=restarts,
        safe=bool(safe),
        firmware=firmware,
        bank=bank,
        selection=selection,
        digest=digest,
    )


def _selection(reader: Reader, size: int) -> tuple[int, ...]:
    if size != PCRS // 8:
        raise reader.fault(f"selects registers with {size} bytes")
    bits = reader.take(size)
    return tuple(place for place in range(PCRS) if bits[place // 8] >> place % 8 & 1)


def read_registers(data: bytes) -> tuple[int, tuple[int, ...], tuple[bytes, ...]]:
    """Bank, registers and values in the file of `tpm2_quote --pcr`. Raises Refused.

    It is the memory of a TPML_PCR_SELECTION and of up to three TPML_DIGEST, little-endian.
    """
    reader = Reader(data, "list of registers", "little")
    if reader.number(4) != 1:
        raise reader.fault("does not name exactly one bank")
    bank = reader.number(2)
    selection = _selection(reader, reader.number(1))
    reader.padding(2 + 15 * 8)
    lists = reader.number(4)
    if lists > PCRS // 8:
        raise reader.fault(f"has {lists} parts")
    values = [value for _ in range(lists) for value in _digests(reader)]
    reader.end()
    if len(values) != len(selection):
        raise reader.fault(f"has {len(values)} values for {len(selection)} registers")
    return bank, selection, tuple(values)


def _digests(reader: Reader) -> list[bytes]:
    """One TPML_DIGEST: a count, and room for eight values of at most 64 bytes."""
    count = reader.number(4)
    if not 0 < count <= 8:
        raise reader.fault(f"has a part with {count} values")
    found = []
    for _ in range(count):
        value = reader.sized(64)
        reader.padding(64 - len(value))
        found.append(value)
    reader.padding((8 - count) * 66)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Public:
    """A TPMT_PUBLIC: a key with what it may do. `name` is what the TPM calls it."""

    key: PublicKey
    name: bytes
    attributes: int
    symmetric: int
    scheme: int
    scheme_hash: int


def read_public(data: bytes) -> Public:
    """The public area in a TPM2B_PUBLIC or TPMT_PUBLIC. Raises Refused (evidence.malformed)."""
    if int.from_bytes(data[:2], "big") == len(data) - 2:
        data = data[2:]
    reader = Reader(data, "public key")
    kind = reader.number(2)
    if reader.number(2) != SHA256:
        raise reader.fault("has a name that is not by SHA-256")
    attributes = reader.number(4)
    reader.sized(64)  # who may use it is the enclave's business
    symmetric = reader.number(2)
    if symmetric != NULL:
        reader.take(4)
    scheme = reader.number(2)
    scheme_hash = NULL if scheme == NULL else reader.number(2)
    if kind not in _KEYS:
        raise reader.fault("is neither RSA nor on an elliptic curve")
    key = _KEYS[kind](reader)
    reader.end()
    return Public(
        key=key,
        name=_name(data),
        attributes=attributes,
        symmetric=symmetric,
        scheme=scheme,
        scheme_hash=scheme_hash,
    )


def _rsa(reader: Reader) -> PublicKey:
    bits, exponent = reader.number(2), reader.number(4) or _EXPONENT
    modulus = int.from_bytes(reader.sized(512), "big")
    if bits not in RSA_BITS or modulus.bit_length() != bits or exponent != _EXPONENT:
        raise reader.fault("is no RSA key of a usual size and exponent")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _curve(reader: Reader) -> PublicKey:
    curve = CURVES.get(reader.number(2))
    if curve is None or reader.number(2) != NULL:
        raise reader.fault("is on a curve that is not P-256 or P-384")
    x, y = (int.from_bytes(reader.sized(48), "big") for _ in range(2))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except ValueError as error:
        raise reader.fault("is no point of its curve") from error


def qualified_name(endorsement: PublicKey, name: bytes) -> bytes:
    """The qualified name of the key `name` right under an endorsement key (part 1, 16.3).

    The endorsement key must be of the template L-1 (RSA 2048) or L-2 (P-256) of the EK credential
    profile. Raises Refused (evidence.malformed) for another.
    """
    head = ENDORSEMENT_ATTRIBUTES.to_bytes(4, "big") + _sized(ENDORSEMENT_POLICY)
    above = _name(_template(endorsement, SHA256.to_bytes(2, "big") + head + AES_128_CFB))
    return _name(_name(ENDORSEMENT_HIERARCHY.to_bytes(4, "big") + above) + name)


def _template(key: PublicKey, common: bytes) -> bytes:
    """The TPMT_PUBLIC of an endorsement key: the scheme is none, and so is the curve's KDF."""
    none = NULL.to_bytes(2, "big")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048:
        modulus = key.public_numbers().n.to_bytes(256, "big")
        sizes = (2048).to_bytes(2, "big") + bytes(4)  # exponent 0: the usual one
        return RSA.to_bytes(2, "big") + common + none + sizes + _sized(modulus)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size == 256:
        point = key.public_numbers()
        x, y = (_sized(part.to_bytes(32, "big")) for part in (point.x, point.y))
        return ECC.to_bytes(2, "big") + common + none + (3).to_bytes(2, "big") + none + x + y
    raise Refused("evidence.malformed", "the endorsement key is neither RSA 2048 nor on P-256")


def _name(public: bytes) -> bytes:
    return SHA256.to_bytes(2, "big") + hashlib.sha256(public).digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


_KEYS: Final[Mapping[int, Callable[[Reader], PublicKey]]] = {RSA: _rsa, ECC: _curve}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A TPMT_SIGNATURE: `parts` are the signature (RSASSA), or r and s (ECDSA)."""

    scheme: int
    hash: int
    parts: tuple[bytes, ...]


def read_signature(data: bytes) -> Signature:
    """The signature in `data`. Raises Refused (evidence.malformed)."""
    reader = Reader(data, "signature")
    scheme, digest = reader.number(2), reader.number(2)
    if scheme not in (RSASSA, ECDSA):
        raise reader.fault("is neither RSASSA nor ECDSA")
    parts = tuple(reader.sized(512) for _ in range(1 if scheme == RSASSA else 2))
    reader.end()
    return Signature(scheme=scheme, hash=digest, parts=parts)
