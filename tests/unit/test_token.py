"""Tokens: signed words outside any feed, each for one purpose."""

import hashlib

import pytest
from hypothesis import given

from protocol import codec, keys, limits, shape, token
from protocol.errors import Refused
from protocol.kinds.consent import Stop
from protocol.kinds.host import Heartbeat
from tests.strategies import flipped, hashes, seeds, vote

SEED = b"\x01" * 32
STOP = Stop(agreement=b"\x02" * 32, what="withdrawal", consent=b"\x03" * 32, right=b"")
TOKEN = token.sign(SEED, "stop", STOP)


def code(raw: bytes, kind: str = "stop", document: type[object] = Stop) -> str:
    with pytest.raises(Refused) as caught:
        token.open_(raw, kind, document)
    return caught.value.code


@given(seeds, hashes)
def test_round_trip(seed: bytes, consent: bytes) -> None:
    said = Stop(agreement=bytes(32), what="withdrawal", consent=consent, right=b"")
    raw = token.sign(seed, "stop", said)
    found = token.open_(raw, "stop", Stop)
    assert (found.key, found.body, found.raw) == (keys.public(seed), said, raw)
    protected, _, payload, _ = codec.decode(raw)
    signed = codec.encode(["Signature1", protected, b"village/token/stop/v1", payload])
    assert found.id == hashlib.sha256(signed).digest()


@given(flipped(TOKEN))
def test_any_flipped_bit(bad: bytes) -> None:
    code(bad)


def test_token_of_another_kind() -> None:
    assert code(TOKEN, kind="consent") == "record.signature"


def test_token_of_another_shape() -> None:
    assert code(TOKEN, document=Heartbeat) == "shape.mismatch"


def test_a_record_is_no_token() -> None:
    envelope, _ = codec.decode(vote(SEED, bytes(32)).raw)
    assert code(vote(SEED, bytes(32)).raw) == "shape.mismatch"
    assert code(codec.encode(envelope)) == "record.signature"


def test_unprotected_header() -> None:
    protected, _, payload, signature = codec.decode(TOKEN)
    assert code(codec.encode([protected, {1: 0}, payload, signature])) == "record.algorithm"


def test_too_large() -> None:
    assert code(bytes(limits.RECORD + 1)) == "codec.too-large"


def test_payload_in_another_encoding() -> None:
    """Signed, but not the one encoding: two ids for one meaning would be possible."""
    payload = shape.encode(STOP).replace(b"\x67consent", b"\x78\x07consent")
    raw = codec.encode(keys.sign1(SEED, "token/stop", payload))
    assert code(raw) == "codec.not-deterministic"
