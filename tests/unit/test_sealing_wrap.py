"""Key wraps: known answers, and one fault per test."""

import hmac
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec
from protocol.errors import Misuse, Refused
from protocol.sealing import wrap
from tests.strategies import flipped, hashes

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/wrap.json").read_text())
SEED = bytes(range(32))
PUBLIC = wrap.public_key(SEED)
SHARE_KEY = b"k" * 32
BINDING = (b"h" * 32, b"e" * 32)
SEALED = wrap.seal(SHARE_KEY, PUBLIC, "share-key", *BINDING)


def refused(sealed: bytes, *binding: bytes, seed: bytes = SEED, context: str = "share-key") -> None:
    with pytest.raises(Refused) as caught:
        wrap.open_(sealed, seed, context, *binding)
    assert caught.value.code == "share.wrap"


def hkdf_extract(salt: bytes, label: bytes, key: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + key, "sha256")


def hkdf_expand(key: bytes, label: bytes, info: bytes, size: int, suite: bytes) -> bytes:
    labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labeled + b"\x01", "sha256")[:size]


def seal_by_hand(vector: dict[str, str]) -> bytes:
    """RFC 9180 sections 4 and 5.1 written out, from the KEM's published answer."""
    suite = b"HPKE" + bytes.fromhex("647a00010002")
    binding = [bytes.fromhex(part) for part in vector["binding"]]
    info = codec.encode([f"village/{vector['context']}/v1", *binding])
    context = (
        b"\x00"
        + hkdf_extract(b"", b"psk_id_hash", b"", suite)
        + hkdf_extract(b"", b"info_hash", info, suite)
    )
    shared = bytes.fromhex(vector["shared_secret"])
    secret = hkdf_extract(shared, b"secret", b"", suite)
    key = hkdf_expand(secret, b"key", context, 32, suite)
    nonce = hkdf_expand(secret, b"base_nonce", context, 12, suite)
    sealed = AESGCM(key).encrypt(nonce, bytes.fromhex(vector["plain"]), b"")
    return bytes.fromhex(vector["enc"]) + sealed


def test_known_answer() -> None:
    seed = bytes.fromhex(VECTOR["seed"])
    assert wrap.public_key(seed).hex() == VECTOR["public"]
    binding = [bytes.fromhex(part) for part in VECTOR["binding"]]
    opened = wrap.open_(bytes.fromhex(VECTOR["sealed"]), seed, VECTOR["context"], *binding)
    assert opened.hex() == VECTOR["plain"]


def test_known_answer_follows_from_the_standard() -> None:
    assert seal_by_hand(VECTOR).hex() == VECTOR["sealed"]


def published() -> list[dict[str, object]]:
    package = pytest.importorskip("cryptography_vectors")
    path = Path(package.__file__).parent / "HPKE/hpke-pq-test-vectors.json"
    return [one for one in json.loads(path.read_text()) if one["kem_id"] == 0x647A]


def test_published_vectors_of_the_kem() -> None:
    kdfs = {1: hpke.KDF.HKDF_SHA256, 17: hpke.KDF.SHAKE256}
    vectors = published()
    assert len(vectors) == 2
    for one in vectors:
        text = {name: value for name, value in one.items() if isinstance(value, str)}
        seed, enc = bytes.fromhex(text["skRm"]), bytes.fromhex(text["enc"])
        assert wrap.public_key(seed).hex() == text["pkRm"]
        first = one["encryptions"][0]  # type: ignore[index]
        suite = hpke.Suite(
            hpke.KEM.MLKEM768_X25519,
            kdfs[one["kdf_id"]],  # type: ignore[index]
            hpke.AEAD.CHACHA20_POLY1305,
        )
        opened = hpke.rust_openssl.hpke._decrypt_with_aad(  # type: ignore[attr-defined]
            suite,
            enc + bytes.fromhex(first["ct"]),
            hpke.MLKEM768X25519PrivateKey(*wrap._expand(seed)),
            bytes.fromhex(text["info"]),
            bytes.fromhex(first["aad"]),
        )
        assert opened.hex() == first["pt"]


def test_the_committed_vector_stands_on_a_published_one() -> None:
    (one,) = [one for one in published() if one["kdf_id"] == 1]
    names = {"seed": "skRm", "public": "pkRm", "enc": "enc", "shared_secret": "shared_secret"}
    assert {ours: VECTOR[ours] for ours in names} == {
        ours: one[theirs] for ours, theirs in names.items()
    }


@given(plain=st.binary(max_size=200), seed=hashes, binding=st.lists(hashes, max_size=3))
def test_round_trip(plain: bytes, seed: bytes, binding: list[bytes]) -> None:
    sealed = wrap.seal(plain, wrap.public_key(seed), "output", *binding)
    assert wrap.open_(sealed, seed, "output", *binding) == plain
    assert len(sealed) == len(plain) + 1136


def test_a_share_key_wrap_is_1168_bytes_and_never_the_same() -> None:
    assert len(SEALED) == 1168
    assert wrap.seal(SHARE_KEY, PUBLIC, "share-key", *BINDING) != SEALED


@given(bad=flipped(SEALED))
def test_flipped_bit(bad: bytes) -> None:
    refused(bad, *BINDING)


@pytest.mark.parametrize("size", [0, 1, 1119, 1120, 1135, 1136, 1167])
def test_truncated(size: int) -> None:
    refused(SEALED[:size], *BINDING)


def test_extended() -> None:
    refused(SEALED + b"\x00", *BINDING)


def test_other_key() -> None:
    refused(SEALED, *BINDING, seed=bytes(32))


def test_other_context() -> None:
    refused(SEALED, *BINDING, context="lineage")


def test_other_enclave() -> None:
    refused(SEALED, BINDING[0], b"x" * 32)


def test_missing_binding() -> None:
    refused(SEALED, BINDING[0])


def test_binding_with_other_borders() -> None:
    refused(wrap.seal(SHARE_KEY, PUBLIC, "share-key", b"ab", b"c"), b"a", b"bc")


@pytest.mark.parametrize(
    "public",
    [
        b"",
        PUBLIC[:-1],
        PUBLIC + b"\x00",
        b"\xff" * 1184 + PUBLIC[1184:],  # coefficients not below q
        PUBLIC[:1184] + bytes(32),  # a point of small order
        PUBLIC[:1184] + b"\x01" + bytes(31),
    ],
)
def test_malformed_public_key(public: bytes) -> None:
    with pytest.raises(Refused) as caught:
        wrap.seal(SHARE_KEY, public, "share-key", *BINDING)
    assert caught.value.code == "share.wrap"


def test_enc_of_small_order() -> None:
    refused(SEALED[:1088] + bytes(32) + SEALED[1120:], *BINDING)


def test_commitment_is_hkdf_of_the_key() -> None:
    extracted = hmac.digest(bytes(32), SHARE_KEY, "sha256")
    assert wrap.commitment(SHARE_KEY) == hmac.digest(extracted, b"commit\x01", "sha256")
    assert wrap.commitment(SHARE_KEY) != wrap.commitment(b"l" * 32)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_keys_of_other_sizes_are_misuse(size: int) -> None:
    with pytest.raises(Misuse):
        wrap.commitment(bytes(size))
    with pytest.raises(Misuse):
        wrap.public_key(bytes(size))
