"""Identifiers and signatures: published answers, and keys and signatures that must be refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from protocol import codec, keys
from protocol.errors import Refused
from tests.strategies import flipped, hashes, seeds

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
MESSAGE = b"message"
P = 2**255 - 19

SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]
NON_CANONICAL = [(P + y).to_bytes(32, "little").hex() for y in range(19)]
NON_CANONICAL += [(P + y + 2**255).to_bytes(32, "little").hex() for y in range(19)]


def refused(key: bytes, message: bytes, signature: bytes) -> None:
    with pytest.raises(Refused) as caught:
        keys.verify(key, message, signature)
    assert caught.value.code == "record.signature"


def sign(seed: bytes, message: bytes) -> bytes:
    return SigningKey(seed).sign(message).signature


def test_published_answer() -> None:
    """RFC 8032 section 7.1, test 1."""
    assert keys.public(SEED) == PUBLIC
    signature = sign(SEED, b"")
    assert signature.hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9"
        "b46bd25bf5f0595bbe24655141438e7a100b"
    )
    keys.verify(PUBLIC, b"", signature)


@pytest.mark.parametrize("text", SMALL_ORDER)
def test_keys_of_small_order(text: str) -> None:
    """With R = A and S = 0 such a key signs every message, or one in eight."""
    key = bytes.fromhex(text)
    for number in range(16):
        refused(key, bytes([number]), key + bytes(32))
        refused(key, bytes([number]), b"\x01" + bytes(63))


@pytest.mark.parametrize("text", NON_CANONICAL)
def test_non_canonical_keys(text: str) -> None:
    key = bytes.fromhex(text)
    for number in range(16):
        refused(key, bytes([number]), b"\x01" + bytes(63))
        refused(key, bytes([number]), key + bytes(32))


def test_signature_with_another_multiple_of_the_order() -> None:
    """S and S + L verify alike by the bare equation: only one may be accepted."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = sign(SEED, MESSAGE)
    scalar = int.from_bytes(signature[32:], "little")
    keys.verify(PUBLIC, MESSAGE, signature)
    refused(PUBLIC, MESSAGE, signature[:32] + (scalar + order).to_bytes(32, "little"))


@given(flipped(sign(SEED, MESSAGE)))
def test_flipped_signature(bad: bytes) -> None:
    refused(PUBLIC, MESSAGE, bad)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_key_of_another_size(size: int) -> None:
    refused(bytes(size), MESSAGE, sign(SEED, MESSAGE))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_signature_of_another_size(size: int) -> None:
    refused(PUBLIC, MESSAGE, (sign(SEED, MESSAGE) * 2)[:size])


# --- COSE_Sign1 ----------------------------------------------------------------------------------


@given(seeds, st.binary(max_size=64))
def test_sign1_round_trip(seed: bytes, payload: bytes) -> None:
    key, opened, signed = keys.open1(keys.sign1(seed, "record", payload), "record")
    assert (key, opened) == (keys.public(seed), payload)
    assert signed == codec.encode(
        ["Signature1", codec.encode({1: -19, 4: key}), b"village/record/v1", payload]
    )


def envelope(protected: object = None, unprotected: object = None) -> list[object]:
    """An envelope whose signature is right over whatever its header says."""
    header = codec.encode({1: -19, 4: PUBLIC} if protected is None else protected)
    signature = sign(SEED, keys.signed_bytes("record", header, MESSAGE))
    return [header, {} if unprotected is None else unprotected, MESSAGE, signature]


def open_code(value: object, context: str = "record") -> str:
    with pytest.raises(Refused) as caught:
        keys.open1(value, context)
    return caught.value.code


def test_the_built_envelope_is_right_but_for_its_faults() -> None:
    assert keys.open1(envelope(), "record")[0] == PUBLIC


def test_other_context() -> None:
    assert open_code(envelope(), "token/consent") == "record.signature"


def test_unprotected_header() -> None:
    assert open_code(envelope(unprotected={4: PUBLIC})) == "record.algorithm"


@pytest.mark.parametrize(
    "protected",
    [
        {},
        {1: -19},
        {4: PUBLIC},
        {1: -8, 4: PUBLIC},  # the polymorphic EdDSA
        {1: -7, 4: PUBLIC},
        {1: "-19", 4: PUBLIC},
        {1: -19, 4: PUBLIC, 5: b""},
        {1: -19, 4: PUBLIC[:31]},
        {1: -19, 4: PUBLIC.hex()},
        {1: -19, 2: PUBLIC},
        [],
        0,
    ],
)
def test_protected_header(protected: object) -> None:
    assert open_code(envelope(protected=protected)) == "record.algorithm"


def test_protected_header_in_another_encoding() -> None:
    header = bytes.fromhex("a2045820") + PUBLIC + bytes.fromhex("0132")
    signature = sign(SEED, keys.signed_bytes("record", header, MESSAGE))
    assert open_code([header, {}, MESSAGE, signature]) == "codec.not-deterministic"


@pytest.mark.parametrize("at", range(4))
def test_parts_of_other_types(at: int) -> None:
    others: tuple[object, ...] = (None, 1, "text", [])
    for part in others:
        parts = envelope()
        parts[at] = part
        assert open_code(parts) == "shape.mismatch"
    assert open_code(envelope()[:at]) == "shape.mismatch"


# --- identifiers ---------------------------------------------------------------------------------


def test_digest_is_as_specified() -> None:
    whole = (
        b"village/enclave/v1\x00" + (2).to_bytes(8, "big") + b"ab" + (1).to_bytes(8, "big") + b"c"
    )
    assert keys.digest("enclave", b"ab", b"c") == hashlib.sha256(whole).digest()


def test_digest_knows_domains_and_borders() -> None:
    found = {
        keys.digest("a", b"ab", b"c"),
        keys.digest("a", b"a", b"bc"),
        keys.digest("a", b"abc"),
        keys.digest("a", b"abc", b""),
        keys.digest("b", b"abc"),
    }
    assert len(found) == 5


def test_published_did() -> None:
    """An example of the did:key method specification."""
    text = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"
    assert keys.did_text(keys.did_parse(text)) == text
    assert keys.did_parse(text).hex() == (
        "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
    )


@given(hashes)
def test_did_round_trip(did: bytes) -> None:
    assert keys.did_parse(keys.did_text(did)) == did


@pytest.mark.parametrize(
    "text",
    [
        "",
        "did:key:z",
        "did:web:example",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW",
        "did:key:z16MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp",
        "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW0",
        "did:key:z" + "z" * 200,
        "did:key:z" + keys.base58(b"\xec\x01" + bytes(32)),  # an X25519 key
    ],
)
def test_texts_that_are_no_did(text: str) -> None:
    with pytest.raises(Refused) as caught:
        keys.did_parse(text)
    assert caught.value.code == "identity.root"


@given(st.binary(max_size=40))
def test_base58_round_trip(data: bytes) -> None:
    assert keys.unbase58(keys.base58(data)) == data


def test_cid() -> None:
    """The CIDv1 (raw, SHA-256) of no bytes, as other tools print it."""
    empty = hashlib.sha256().digest()
    assert keys.cid_text(empty) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
