"""Every door that takes bytes: whatever comes, only Refused goes out, and what passes is exact."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import wire
from protocol import codec, record, token
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.identity import open_identity
from protocol.kinds.consent import Stop
from protocol.kinds.host import Heartbeat
from protocol.machines.runs import read_run
from protocol.topic import read_opening
from tests.agreements import NEGOTIATION_RAW, A
from tests.in_force import OPENING, Telling
from tests.strategies import flipped, plain

HEARTBEAT = token.sign(A.signing, "heartbeat", Heartbeat(agreement=bytes(32), term=1, beat=1))
LAPSE = Telling().offer("host-1").raw
REQUEST = wire.SESSION_WIRE.pack_request(wire.Push(records=(LAPSE,), proofs=()))
ANSWER = wire.SESSION_WIRE.pack_answer(Done())

DOORS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "record": (record.parse, LAPSE),
    "heartbeat": (lambda raw: token.open_(raw, "heartbeat", Heartbeat), HEARTBEAT),
    "stop": (lambda raw: token.open_(raw, "stop", Stop), HEARTBEAT),
    "identity": (open_identity, A.participant.raw),
    "negotiation": (read_opening, NEGOTIATION_RAW),
    "agreement": (read_opening, OPENING),
    "request": (wire.SESSION_WIRE.read_request, REQUEST),
    "answer": (lambda raw: wire.SESSION_WIRE.read_answer(raw, Done), ANSWER),
    "shown run": (read_run, LAPSE),
}


def passes(door: Callable[[bytes], object], raw: bytes) -> bool:
    try:
        door(raw)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("name", DOORS)
@settings(max_examples=60)
@given(st.data())
def test_any_bytes(name: str, data: st.DataObject) -> None:
    door, _ = DOORS[name]
    passes(door, data.draw(st.binary(max_size=300) | plain.map(codec.encode)))


@pytest.mark.parametrize("name", DOORS)
@settings(max_examples=80)
@given(st.data())
def test_any_alteration(name: str, data: st.DataObject) -> None:
    door, good = DOORS[name]
    cut = st.integers(0, len(good)).map(lambda size: good[:size])
    passes(door, data.draw(flipped(good) | cut))


@settings(max_examples=200)
@given(flipped(LAPSE))
def test_no_flipped_bit_of_a_record_passes(raw: bytes) -> None:
    assert not passes(record.parse, raw)


@settings(max_examples=150)
@given(st.lists(plain, max_size=4))
def test_envelopes_of_anything(parts: list[object]) -> None:
    """Right outside, anything inside."""
    for value in (parts, [parts, None], [[*parts, b""], b"x" * 16]):
        passes(record.parse, codec.encode(value))


@settings(max_examples=100)
@given(plain)
def test_requests_of_anything(body: object) -> None:
    for name in ("push", "pull", "blob", "deliver", "nothing"):
        raw = codec.encode({"op": name, "body": body})
        passes(wire.SESSION_WIRE.read_request, raw)
