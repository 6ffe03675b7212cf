"""One message for several readers: AES-256-GCM under a fresh key, which is wrapped to each of them.

The key seals one message and no other, so the nonce is always zero. AES-GCM does not commit to its
key: a reader must hold what it opened, or all of the sealed bytes, against a digest that it trusts.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol import codec
from protocol.errors import Misuse, Refused
from protocol.sealing.wrap import KEY_BYTES

AROUND: Final = 16
"""Bytes of the tag, behind the sealed ones."""

_NONCE: Final = bytes(12)


def seal(plain: bytes, key: bytes, context: str, *binding: bytes) -> bytes:
    """Seal `plain` under `key`: 32 fresh random bytes, used for this message alone."""
    return _cipher(key).encrypt(_NONCE, plain, _aad(context, binding))


def open_(sealed: bytes, key: bytes, context: str, *binding: bytes) -> bytes:
    """Open what `seal` made. Raises Refused (share.wrap) unless key, context and binding agree."""
    try:
        return _cipher(key).decrypt(_NONCE, sealed, _aad(context, binding))
    except InvalidTag as error:
        raise Refused("share.wrap", "what lies under the key does not open") from error


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise Misuse("a key is 32 bytes")
    return AESGCM(key)


def _aad(context: str, binding: tuple[bytes, ...]) -> bytes:
    return codec.encode([f"village/{context}/v1", *binding])
