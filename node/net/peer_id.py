"""PeerId of an Ed25519 key: the name of a node key in the network.

Source: libp2p specs, peer-ids: identity multihash of the protobuf-encoded public key, base58btc.
"""

from node.net.transport import Unreachable

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_KEY_LENGTH = 32
_PREFIX = bytes([0x00, 0x24, 0x08, 0x01, 0x12, 0x20])
"""Identity multihash of 36 bytes; then protobuf KeyType Ed25519 (1) and 32 bytes of data."""
_TEXT_LIMIT = 64


def peer_id_of(public_key: bytes) -> str:
    """Return the PeerId text (12D3KooW…) of a raw 32-byte Ed25519 public key.

    Raises ValueError for any other length: that is our own mistake.
    """
    if len(public_key) != _KEY_LENGTH:
        raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}")
    return _base58(_PREFIX + public_key)


def public_key_of(peer_id: str) -> bytes:
    """Return the raw Ed25519 public key inside a PeerId text; raises Unreachable for any other."""
    raw = _from_base58(peer_id)
    if len(raw) != len(_PREFIX) + _KEY_LENGTH or not raw.startswith(_PREFIX):
        raise Unreachable(f"{peer_id[:_TEXT_LIMIT]!r} is not the PeerId of an Ed25519 key")
    return raw[len(_PREFIX) :]


def _base58(data: bytes) -> str:
    number, digits = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    zeros = len(data) - len(data.lstrip(b"\0"))
    return _ALPHABET[0] * zeros + digits


def _from_base58(text: str) -> bytes:
    if len(text) > _TEXT_LIMIT or not set(text) <= set(_ALPHABET):
        return b""
    number = 0
    for digit in text:
        number = number * 58 + _ALPHABET.index(digit)
    zeros = len(text) - len(text.lstrip(_ALPHABET[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
