"""libp2p imports without fastecdsa, and what would need it refuses."""

import pytest
from libp2p.crypto.ecc import ECCPrivateKey, ECCPublicKey
from libp2p.crypto.ed25519 import create_new_key_pair


def test_p256_keys_are_refused():
    with pytest.raises(NotImplementedError, match="not offered"):
        ECCPrivateKey.new("P-256")
    with pytest.raises(NotImplementedError, match="not offered"):
        ECCPublicKey.from_bytes(b"\x04" + bytes(64), "P-256")


def test_ed25519_keys_work():
    pair = create_new_key_pair(bytes(32))
    signature = pair.private_key.sign(b"message")
    assert pair.public_key.verify(b"message", signature)
    assert not pair.public_key.verify(b"another", signature)
