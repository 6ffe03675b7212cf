"""Deterministic CBOR: one value, one encoding; everything else is refused quickly."""

import contextlib
import time

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import codec, limits
from protocol.errors import Refused
from tests.strategies import plain


def code(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        codec.decode(data)
    return caught.value.code


@given(plain)
def test_round_trip(value: object) -> None:
    assert codec.decode(codec.encode(value), limits.FRAME) == value


@given(st.dictionaries(st.text(max_size=40), st.integers(0, 9), max_size=8))
def test_keys_are_in_the_order_of_their_encodings(value: dict[str, int]) -> None:
    """RFC 8949 section 4.2.1, written out: sorted by the bytes of the encoded keys."""
    encoded = sorted((cbor2.dumps(key), cbor2.dumps(item)) for key, item in value.items())
    body = b"".join(key + item for key, item in encoded)
    assert codec.encode(value) == bytes([0xA0 + len(value)]) + body


@given(st.binary(max_size=200))
@example(bytes.fromhex("9bffffffffffffffff"))
@example(bytes.fromhex("5bffffffffffffffff"))
@example(bytes.fromhex("ba7fffffff00"))
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert codec.encode(codec.decode(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "1800",  # 0 with a long head
        "190017",
        "5800",  # an empty byte string with a long head
        "a2616200616100",  # keys not sorted
        "a262616100616200",
        "0000",  # trailing bytes
        "a000",
    ],
)
def test_other_encodings_of_a_value(text: str) -> None:
    assert code(bytes.fromhex(text)) == "codec.not-deterministic"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "61",  # cut off
        "9fff",  # indefinite lengths
        "5f4161ff",
        "bfff",
        "a2616100616101",  # a key twice
        "f93c00",  # floats
        "fb3ff0000000000000",
        "f97e00",
        "f7",  # undefined
        "e0",  # simple value
        "f8ff",
        "62c328",  # not UTF-8
        "63eda080",  # a surrogate
        "a10018",
        "a1181800",  # an integer key above 23
        "a12000",  # a negative key
        "a1f500",  # a boolean key
        "a1410000",  # a byte string key
        "a1800000",
        "a200006161" + "00",  # keys of two types
        "3bffffffffffffffff",  # below -2^63
    ],
)
def test_bytes_that_are_no_value(text: str) -> None:
    assert code(bytes.fromhex(text)) == "codec.malformed"


@pytest.mark.parametrize(
    "tag", [0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 256, 258, 260, 1004, 55799, 2**32]
)
@pytest.mark.parametrize("content", [0, "a", b"\x01", [1, 2], []])
def test_tags(tag: int, content: object) -> None:
    assert code(cbor2.dumps(cbor2.CBORTag(tag, content))) == "codec.malformed"
    assert code(cbor2.dumps([1, {"a": cbor2.CBORTag(tag, content)}])) == "codec.malformed"


def test_shared_references_do_not_unfold() -> None:
    """Seven lists, each 40 references to the one before: 40^7 items in 800 bytes."""
    lists = [b"\xd8\x1c\x98\x28" + b"\x00" * 40]
    lists += [b"\xd8\x1c\x98\x28" + bytes([0xD8, 0x1D, at]) * 40 for at in range(6)]
    started = time.monotonic()
    assert code(b"\x87" + b"".join(lists)) == "codec.malformed"
    assert time.monotonic() - started < 30  # unfolded, it would not end


def test_depth() -> None:
    deepest = b"\x81" * limits.DEPTH + b"\x00"
    assert codec.encode(codec.decode(deepest)) == deepest
    assert code(b"\x81" + deepest) == "codec.malformed"
    assert code(b"\x81" * 60_000 + b"\x00") == "codec.malformed"


def test_size() -> None:
    data = codec.encode(bytes(100))
    assert codec.decode(data, len(data)) == bytes(100)
    with pytest.raises(Refused) as caught:
        codec.decode(data, len(data) - 1)
    assert caught.value.code == "codec.too-large"
    assert code(bytes(limits.RECORD + 1)) == "codec.too-large"


def test_integers_at_their_bounds() -> None:
    for value in (0, 23, 24, 2**64 - 1, -1, -(2**63)):
        assert codec.decode(codec.encode(value)) == value
    assert code(codec.encode(2**64)) == "codec.malformed"
    assert code(codec.encode(-(2**63) - 1)) == "codec.malformed"
