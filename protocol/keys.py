"""Identifiers, domain separation and signatures: the only place that signs or verifies.

An id is 32 bytes. A participant is the Ed25519 root key of its `did:key`; a record key, an
enclave's signing key and a person's key per agreement are Ed25519 keys too.
"""

import base64
import hashlib
from typing import NewType

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey

from protocol import codec
from protocol.errors import Refused

Did = NewType("Did", bytes)
"""A participant: its 32-byte Ed25519 root key."""

EDDSA = -19
"""COSE algorithm Ed25519, fully specified (RFC 9864)."""

_PROTECTED = bytes.fromhex("a20132045820")
"""{1: -19, 4: a key of 32 bytes} in its one encoding, up to the key."""

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def digest(domain: str, *parts: bytes) -> bytes:
    """SHA-256 over a domain tag and the parts, each with its length: no two uses collide."""
    state = hashlib.sha256(f"village/{domain}/v1".encode() + b"\x00")
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


def did_text(did: bytes) -> str:
    """The did:key text of an Ed25519 root key (W3C did:key, multicodec 0xed01, base58btc)."""
    return "did:key:z" + base58(b"\xed\x01" + did)


def did_parse(text: str) -> Did:
    """The root key inside a did:key text. Raises Refused (identity.root)."""
    body = unbase58(text.removeprefix("did:key:z")) if text.startswith("did:key:z") else b""
    if len(body) != 34 or body[:2] != b"\xed\x01" or did_text(body[2:]) != text:
        raise Refused("identity.root", "not a did:key of an Ed25519 key")
    return Did(body[2:])


def cid_text(id_: bytes) -> str:
    """Show a SHA-256 id as CIDv1 (raw, sha2-256, base32)."""
    raw = b"\x01\x55\x12\x20" + id_
    return "b" + base64.b32encode(raw).decode().lower().rstrip("=")


def base58(data: bytes) -> str:
    """base58btc, as used by multibase 'z'."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, rest = divmod(number, 58)
        text = _ALPHABET[rest] + text
    return "1" * (len(data) - len(data.lstrip(b"\x00"))) + text


def unbase58(text: str) -> bytes:
    """Inverse of `base58`; returns b'' for anything that is not base58btc of at most 128 digits."""
    if len(text) > 128 or any(character not in _ALPHABET for character in text):
        return b""
    number = 0
    for character in text:
        number = number * 58 + _ALPHABET.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return b"\x00" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def public(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte Ed25519 seed."""
    return bytes(SigningKey(seed).verify_key)


def sign1(seed: bytes, context: str, payload: bytes) -> list[object]:
    """COSE_Sign1 (RFC 9052) over `payload`; `context` is bound in as external_aad."""
    protected = codec.encode({1: EDDSA, 4: public(seed)})
    signature = SigningKey(seed).sign(signed_bytes(context, protected, payload)).signature
    return [protected, {}, payload, signature]


def open1(envelope: object, context: str) -> tuple[bytes, bytes, bytes]:
    """Verify a COSE_Sign1 array; return (key, payload, to-be-signed bytes).

    Raises Refused (record.algorithm, record.signature). libsodium refuses keys of small order and
    non-canonical encodings.
    """
    match envelope:
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            pass
        case _:
            raise Refused("shape.mismatch", "not a COSE_Sign1 array")
    # An unprotected header could be changed by anyone who relays: it must stay empty.
    if unprotected:
        raise Refused("record.algorithm", "the unprotected header must be empty")
    key = _signer(protected)
    to_be_signed = signed_bytes(context, protected, payload)
    verify(key, to_be_signed, signature)
    return key, payload, to_be_signed


def _signer(protected: bytes) -> bytes:
    """The key in a protected header, which has one encoding for each key."""
    if len(protected) == 38 and protected.startswith(_PROTECTED):
        return protected[6:]
    header = codec.decode(protected)
    if not isinstance(header, dict) or header.keys() != {1, 4} or header[1] != EDDSA:
        raise Refused("record.algorithm")
    raise Refused("record.algorithm", "the key must be 32 bytes")


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Check an Ed25519 signature (RFC 8032). Raises Refused (record.signature)."""
    if len(key) != 32 or len(signature) != 64:
        raise Refused("record.signature")
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError as error:
        raise Refused("record.signature") from error


def signed_bytes(context: str, protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4."""
    aad = f"village/{context}/v1".encode()
    return codec.encode(["Signature1", protected, aad, payload])
