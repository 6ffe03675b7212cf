"""Key wraps: a small secret sealed to one public key and one use, so that it opens nowhere else.

HPKE (RFC 9180, base mode) with KEM MLKEM768-X25519 (X-Wing), HKDF-SHA256 and AES-256-GCM: data that
is sealed today stays sealed when X25519 falls. HPKE draws its ephemeral key itself: the one place
where this package uses chance. Base mode has no sender: who sealed is shown by a signature outside.
"""

import hashlib

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import codec
from protocol.errors import Misuse, Refused

KEY_BYTES = 32
"""A share key, and the seed of a sealing key."""

PUBLIC_BYTES = 1184 + 32
"""A public sealing key: ML-KEM-768, then X25519."""

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def public_key(seed: bytes) -> bytes:
    """The 1216-byte public key of a 32-byte seed (X-Wing, draft-connolly-cfrg-xwing-kem)."""
    mlkem, x25519 = _expand(seed)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def seal(plain: bytes, public: bytes, context: str, *binding: bytes) -> bytes:
    """Seal `plain` to the holder of `public`, for this `context` and `binding` alone.

    The result is 1136 bytes longer than `plain`. Raises Refused (share.wrap) for a malformed key.
    """
    try:
        return _SUITE.encrypt(plain, _read_public(public), info=_info(context, binding))
    except ValueError as error:
        raise Refused("share.wrap", "the public key is malformed") from error


def open_(sealed: bytes, seed: bytes, context: str, *binding: bytes) -> bytes:
    """Open what `seal` made. Raises Refused (share.wrap) unless key, context and binding agree."""
    private = MLKEM768X25519PrivateKey(*_expand(seed))
    try:
        return _SUITE.decrypt(sealed, private, info=_info(context, binding))
    except (InvalidTag, ValueError) as error:
        raise Refused("share.wrap", "it does not open") from error


def commitment(share_key: bytes) -> bytes:
    """What pins a share key in the share's header, since AES-GCM itself does not commit to it."""
    return derive(share_key, b"commit")


def derive(share_key: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869, no salt) of a 32-byte share key: 32 bytes for the use `info`."""
    if len(share_key) != KEY_BYTES:
        raise Misuse("a share key is 32 bytes")
    return HKDF(hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(share_key)


def _expand(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Both private keys from one seed, as X-Wing's expandDecapsulationKey says."""
    if len(seed) != KEY_BYTES:
        raise Misuse("a sealing seed is 32 bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    return (
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
        X25519PrivateKey.from_private_bytes(expanded[64:]),
    )


def _read_public(public: bytes) -> MLKEM768X25519PublicKey:
    """Raises ValueError for a wrong length or an encoding that ML-KEM refuses (FIPS 203, 7.2)."""
    if len(public) != PUBLIC_BYTES:
        raise ValueError("length")
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:1184]),
        X25519PublicKey.from_public_bytes(public[1184:]),
    )


def _info(context: str, binding: tuple[bytes, ...]) -> bytes:
    return codec.encode([f"village/{context}/v1", *binding])
