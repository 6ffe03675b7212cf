"""Records: what was signed comes back, and nothing else is ever taken for a record."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, keys, kinds, limits, record, shape
from protocol.errors import Misuse, Refused
from protocol.kinds.common import Vote
from protocol.kinds.host import Lapse
from protocol.record import Place
from tests.strategies import flipped, hashes, plain, seeds, vote

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/record.json").read_text())
SEED = b"\x01" * 32
RECORD = vote(SEED, b"\x02" * 32)


def code(raw: bytes) -> str:
    with pytest.raises(Refused) as caught:
        record.parse(raw)
    return caught.value.code


def resign(**parts: object) -> bytes:
    """A record with other header fields, and a right signature over them."""
    (_, _, payload, _), body = codec.decode(RECORD.raw)
    header = {**codec.decode(payload), **parts}
    header = {name: value for name, value in header.items() if value is not None}
    body = parts.pop("body_bytes", body)
    header.pop("body_bytes", None)
    return codec.encode([keys.sign1(SEED, "record", codec.encode(header)), body])


def test_known_answer() -> None:
    found = vote(
        bytes.fromhex(VECTOR["seed"]),
        bytes.fromhex(VECTOR["subject"]),
        slot=VECTOR["slot"],
        topic=bytes.fromhex(VECTOR["topic"]),
        at=VECTOR["at"],
    )
    assert found.raw.hex() == VECTOR["raw"]
    assert found.id.hex() == VECTOR["id"]
    assert record.redact(found.raw).hex() == VECTOR["redacted"]


@given(
    seed=seeds,
    subject=hashes,
    topic=hashes,
    author=hashes,
    place=st.just(Place()) | st.builds(Place, seq=st.integers(1, 2**53), prev=hashes),
    at=st.integers(0, 2**40),
)
def test_round_trip(
    seed: bytes, subject: bytes, topic: bytes, author: bytes, place: Place, at: int
) -> None:
    signed = vote(seed, subject, topic=topic, author=author, place=place, at=at)
    parsed = record.parse(signed.raw)
    assert parsed == signed
    assert (parsed.key, parsed.topic, parsed.author) == (keys.public(seed), topic, author)
    assert (parsed.seq, parsed.prev, parsed.at) == (place.seq, place.prev, at)
    assert kinds.read(Vote, parsed).subject == subject


def test_id_is_the_digest_of_what_is_signed() -> None:
    (protected, _, payload, _), _ = codec.decode(RECORD.raw)
    signed = codec.encode(["Signature1", protected, b"village/record/v1", payload])
    assert RECORD.id == hashlib.sha256(signed).digest()


@given(flipped(RECORD.raw))
def test_any_flipped_bit(bad: bytes) -> None:
    code(bad)


def test_every_flipped_bit_of_a_redacted_record() -> None:
    raw = record.redact(RECORD.raw)
    for bit in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        code(bytes(changed))


@given(st.integers(0, len(RECORD.raw) - 1))
def test_truncated(size: int) -> None:
    code(RECORD.raw[:size])


def test_extended() -> None:
    assert code(RECORD.raw + b"\x00") == "codec.not-deterministic"


@given(plain | st.lists(plain, min_size=2, max_size=2))
def test_any_other_value(value: object) -> None:
    code(codec.encode(value))


# --- redaction -----------------------------------------------------------------------------------


def test_redacted_record_keeps_id_and_signature() -> None:
    redacted = record.parse(record.redact(RECORD.raw))
    assert redacted.id == RECORD.id
    assert redacted.key == RECORD.key
    assert redacted.body is None
    assert record.redact(redacted.raw) == redacted.raw


def test_nothing_of_the_body_is_left() -> None:
    assert b"\x02" * 32 in RECORD.raw
    assert b"\x02" * 32 not in record.redact(RECORD.raw)


def test_the_salt_hides_a_guessable_body() -> None:
    """The same body under another salt has another digest in the header."""
    parts = {"topic": bytes(32), "author": bytes(32), "kind": "lapse", "place": Place(), "at": 1}
    one, two = (
        record.sign(SEED, body=Lapse(term=1, reason="x"), salt=salt, **parts)  # type: ignore[arg-type]
        for salt in (bytes(16), b"\x01" * 16)
    )
    assert record.redact(one.raw) != record.redact(two.raw)


def test_redacted_body_is_not_readable() -> None:
    with pytest.raises(Refused) as caught:
        kinds.read(Vote, record.parse(record.redact(RECORD.raw)))
    assert caught.value.code == "record.body"


# --- envelope, header, body ----------------------------------------------------------------------


def test_unprotected_header() -> None:
    (protected, _, payload, signature), body = codec.decode(RECORD.raw)
    for unprotected in ({1: -19}, {"note": "x"}):
        raw = codec.encode([[protected, unprotected, payload, signature], body])
        assert code(raw) == "record.algorithm"


def test_signature_by_another_key() -> None:
    (_, _, payload, signature), body = codec.decode(RECORD.raw)
    protected = codec.encode({1: keys.EDDSA, 4: keys.public(b"\x09" * 32)})
    assert code(codec.encode([[protected, {}, payload, signature], body])) == "record.signature"


def test_signed_as_something_else() -> None:
    (_, _, payload, _), body = codec.decode(RECORD.raw)
    assert code(codec.encode([keys.sign1(SEED, "token/vote", payload), body])) == "record.signature"


def test_resigned_unchanged_is_the_record() -> None:
    assert resign() == RECORD.raw


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"v": 2}, "record.version"),
        ({"v": 0}, "record.version"),
        ({"v": None}, "shape.mismatch"),
        ({"more": 1}, "shape.mismatch"),
        ({"topic": bytes(31)}, "shape.mismatch"),
        ({"author": "someone"}, "shape.mismatch"),
        ({"kind": "k" * (limits.NAME + 1)}, "shape.mismatch"),
        ({"seq": -1}, "shape.mismatch"),
        ({"at": 2**40 + 1}, "shape.mismatch"),
        ({"seq": 1}, "record.gap"),
        ({"prev": bytes(32)}, "record.gap"),
        ({"body": bytes(32)}, "record.body"),
    ],
)
def test_header(parts: dict[str, object], wanted: str) -> None:
    assert code(resign(**parts)) == wanted


def with_body(body: bytes) -> bytes:
    return resign(body=hashlib.sha256(body).digest(), body_bytes=body)


def test_body_of_another_record() -> None:
    envelope, _ = codec.decode(RECORD.raw)
    _, body = codec.decode(vote(SEED, b"\x03" * 32).raw)
    assert code(codec.encode([envelope, body])) == "record.body"


def test_body_shorter_than_its_salt() -> None:
    assert code(with_body(bytes(15))) == "record.body"


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", "codec.malformed"),
        (b"\x00", "shape.mismatch"),
        (b"\x80", "shape.mismatch"),
        (b"\xa0\x00", "codec.not-deterministic"),
    ],
)
def test_body_that_is_no_map(content: bytes, wanted: str) -> None:
    assert code(with_body(bytes(16) + content)) == wanted


def test_too_large() -> None:
    with pytest.raises(Refused) as caught:
        record.sign(
            SEED,
            topic=bytes(32),
            author=bytes(32),
            kind="lapse",
            body=Lapse(term=1, reason="x" * limits.RECORD),
            place=Place(),
            at=1,
            salt=bytes(16),
        )
    assert caught.value.code == "codec.too-large"


# --- kinds ---------------------------------------------------------------------------------------


def test_kinds_are_read_as_what_they_are() -> None:
    with pytest.raises(Misuse):
        kinds.read(Lapse, RECORD)


def test_kinds_and_topics() -> None:
    kinds.check(RECORD, "agreement")
    kinds.check(record.parse(record.redact(RECORD.raw)), "agreement")
    unknown = record.parse(resign(kind="nonsense"))
    lapse = record.parse(resign(kind="lapse"))  # a vote's body under another name
    for found, topic, wanted in (
        (RECORD, "identity", "record.kind"),
        (unknown, "agreement", "record.kind"),
        (lapse, "space", "record.kind"),
        (lapse, "agreement", "shape.mismatch"),
    ):
        with pytest.raises(Refused) as caught:
            kinds.check(found, topic)
        assert caught.value.code == wanted
    with pytest.raises(Refused) as caught:
        kinds.read(Vote, unknown)
    assert caught.value.code == "record.kind"


def test_shape_of_a_header_is_the_documented_one() -> None:
    (_, _, payload, _), _ = codec.decode(RECORD.raw)
    assert sorted(codec.decode(payload)) == ["at", "author", "body", "kind", "seq", "topic", "v"]
    assert shape.decode(record.Header, payload).v == record.VERSION
