"""MakeCredential: a secret that opens only in the TPM that holds two keys, one of them certified.

TCG TPM 2.0 library specification, part 1: credential protection (chapter 24), KDFa (11.4.10.2),
KDFe (11.4.10.3), secret exchange by RSA (B.10) and by elliptic curve (C.6), as for endorsement keys
of the templates L-1 and L-2 of the EK credential profile: SHA-256 and AES-128. The TPM that
recovers the secret (TPM2_ActivateCredential) holds the endorsement key, and beside it a key of
exactly that name.
"""

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from protocol.attestation.tpm_structures import PublicKey
from protocol.errors import Misuse, Refused

SECRET: Final = 32
"""Bytes of the secret and of the seed."""

_HEAD: Final = bytes.fromhex("badcc0de00000001")
"""How files of tpm2_activatecredential begin."""

_LABEL: Final = b"IDENTITY\0"


def make(endorsement: PublicKey, name: bytes, secret: bytes, seed: bytes) -> bytes:
    """A credential for the key `name` under `endorsement`, as tpm2_activatecredential reads it.

    `secret` and `seed` are 32 random bytes each, used once. Raises Refused (evidence.malformed) for
    an endorsement key that is neither RSA 2048 nor on P-256.
    """
    if len(secret) != SECRET or len(seed) != SECRET:
        raise Misuse("a secret and a seed have 32 bytes")
    if isinstance(endorsement, rsa.RSAPublicKey) and endorsement.key_size == 2048:
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), _LABEL)
        return _file(_protect(seed, name, secret), endorsement.encrypt(seed, oaep))
    if isinstance(endorsement, ec.EllipticCurvePublicKey) and endorsement.key_size == 256:
        point, shared = _exchange(endorsement, seed)
        return _file(_protect(shared, name, secret), point)
    raise Refused("evidence.malformed", "the endorsement key is neither RSA 2048 nor on P-256")


def kdfa(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """KDFa with SHA-256: `size` bytes (at most 32). `context` is contextU, contextV is empty."""
    data = (1).to_bytes(4, "big") + label + b"\0" + context + (size * 8).to_bytes(4, "big")
    return hmac.digest(key, data, "sha256")[:size]


def kdfe(shared: bytes, label: bytes, ours: bytes, theirs: bytes) -> bytes:
    """KDFe with SHA-256: 32 bytes from the x coordinates of the shared and both public points."""
    return hashlib.sha256((1).to_bytes(4, "big") + shared + label + ours + theirs).digest()


def _protect(seed: bytes, name: bytes, secret: bytes) -> bytes:
    """TPMS_ID_OBJECT: the secret encrypted, and a code over it and the name."""
    key = kdfa(seed, b"STORAGE", name, 16)
    cipher = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    sealed = cipher.update(_sized(secret)) + cipher.finalize()
    code = hmac.digest(kdfa(seed, b"INTEGRITY", b"", 32), sealed + name, "sha256")
    return _sized(code) + sealed


def _exchange(endorsement: ec.EllipticCurvePublicKey, seed: bytes) -> tuple[bytes, bytes]:
    """An ephemeral point made of `seed`, and the seed that both sides derive from it."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    own = ec.derive_private_key(int.from_bytes(seed, "big") % (order - 1) + 1, ec.SECP256R1())
    point, theirs = own.public_key().public_numbers(), endorsement.public_numbers()
    x, y, their_x = (part.to_bytes(32, "big") for part in (point.x, point.y, theirs.x))
    shared = own.exchange(ec.ECDH(), endorsement)
    return _sized(x) + _sized(y), kdfe(shared, _LABEL, x, their_x)


def _file(identity: bytes, seed: bytes) -> bytes:
    return _HEAD + _sized(identity) + _sized(seed)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
