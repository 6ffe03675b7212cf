"""Two headers prove an equivocation to anybody, and nothing an honest author did looks like one."""

from dataclasses import replace

import pytest

from protocol import codec, equivocation, keys, record, shape
from protocol.equivocation import Equivocation
from protocol.errors import Refused
from protocol.kinds.space import Commitment
from protocol.record import Place, Record

SEED, OTHER = b"\x01" * 32, b"\x02" * 32
TOPIC = b"\x0f" * 32


def made(
    text: int = 0,
    seed: bytes = SEED,
    topic: bytes = TOPIC,
    place: Place = Place(),  # noqa: B008 (frozen)
    salt: bytes = bytes(16),
) -> Record:
    return record.sign(
        seed,
        topic=topic,
        author=keys.public(seed),
        kind="commitment",
        body=Commitment(digest=bytes([text]) * 32),
        place=place,
        at=1,
        salt=salt,
    )


def code(raw: bytes) -> str:
    with pytest.raises(Refused) as caught:
        equivocation.open_proof(raw)
    return caught.value.code


def test_two_records_at_one_place_make_one_proof_without_bodies() -> None:
    one, other = made(0), made(1)
    fork = equivocation.prove(one.raw, other.raw)
    assert fork == equivocation.prove(record.redact(other.raw), one.raw)
    assert fork == equivocation.open_proof(fork.raw)
    assert (fork.topic, fork.key, fork.seq) == (TOPIC, one.key, 0)
    assert one.raw not in fork.raw
    assert bytes(16) + shape.encode(Commitment(digest=bytes(32))) not in fork.raw


def test_another_salt_is_another_record() -> None:
    """Who signs the same words again with another salt has signed twice: restore makes new keys."""
    fork = equivocation.prove(made().raw, made(salt=b"\x01" * 16).raw)
    assert fork.seq == 0


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(made(), id="the same record"),
        pytest.param(made(1, seed=OTHER), id="another key"),
        pytest.param(made(1, topic=b"\x0e" * 32), id="another topic"),
        pytest.param(made(1, place=Place(seq=1, prev=bytes(32))), id="another place"),
    ],
)
def test_what_does_not_contradict_proves_nothing(other: Record) -> None:
    with pytest.raises(Refused, match=r"record\.proof"):
        equivocation.prove(made().raw, other.raw)


def altered(raw: bytes, **fault: object) -> bytes:
    """What somebody who relays a record can do to it."""
    (protected, unprotected, payload, signature), body = codec.decode(raw)
    envelope = {"unprotected": unprotected, "signature": signature, **fault}
    parts = [protected, envelope["unprotected"], payload, envelope["signature"]]
    return codec.encode([parts, body])


@pytest.mark.parametrize(
    ("relayed", "refused"),
    [
        (altered(made().raw, signature=bytes(64)), "record.signature"),
        (altered(made().raw, unprotected={4: b"x"}), "record.algorithm"),
        (record.redact(made().raw), "record.proof"),
    ],
)
def test_an_honest_author_cannot_be_made_to_look_like_a_liar(relayed: bytes, refused: str) -> None:
    with pytest.raises(Refused) as caught:
        equivocation.prove(made().raw, relayed)
    assert caught.value.code == refused


def test_a_proof_has_one_encoding_and_no_bodies() -> None:
    one, other = sorted((made(0), made(1)), key=lambda found: found.id)
    first, second = record.redact(one.raw), record.redact(other.raw)
    assert code(shape.encode(Equivocation(first=second, second=first))) == "record.proof"
    assert code(shape.encode(Equivocation(first=first, second=first))) == "record.proof"
    assert code(shape.encode(Equivocation(first=one.raw, second=second))) == "record.proof"
    forged = altered(first, signature=bytes(64))
    assert code(shape.encode(Equivocation(first=forged, second=second))) == "record.signature"
    good = equivocation.open_proof(shape.encode(Equivocation(first=first, second=second)))
    assert code(good.raw + b"\x00") == "codec.not-deterministic"
    assert replace(good, raw=b"").first == first
