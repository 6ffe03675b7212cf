"""Refusals of doors that no vector shows: what a frame, an enclave, a store or a policy says."""

import io
from typing import Any

import pytest

from enclave_host.attest.simulated import SimulatedAttester
from enclave_host.enclave import Enclave
from enclave_host.server import pack, read_frame
from node import wire
from node.admin.operations import agreement_acts
from node.store import StoreError
from node.talk import _answer_one
from protocol import enclave_wire
from protocol.errors import Refused
from protocol.policy import Accept


@pytest.mark.parametrize("size", [1, 3, 4, 6])
def test_a_frame_of_the_enclave_is_whole_or_refused(size: int) -> None:
    whole = pack(b"hello")
    assert read_frame(io.BytesIO(whole).read) == b"hello"
    with pytest.raises(Refused, match=r"enclave\.frame"):
        read_frame(io.BytesIO(whole[:size]).read)


def test_an_unknown_frame_of_the_enclave_is_refused() -> None:
    with pytest.raises(Refused, match=r"enclave\.frame"):
        enclave_wire.WIRE.read_request(b"\xa1\x62op\x64poem")


def test_what_breaks_inside_an_enclave_tells_nothing() -> None:
    nowhere: Any = None
    enclave = Enclave(SimulatedAttester(bytes(32)), nowhere, "none", {})
    with pytest.raises(Refused) as found:
        enclave.answer("a secret that is no request")
    assert found.value.code == "enclave.broken"
    assert found.value.detail == ""


async def test_a_store_that_fails_is_an_answer() -> None:
    async def answer(_request: object, _peer: str) -> object:
        raise StoreError("store.disk", "full", "make room")

    frame = wire.SESSION_WIRE.pack_request(wire.Poke(topic=bytes(32)))
    reply = await _answer_one(wire.SESSION_WIRE, answer, frame, "peer")
    with pytest.raises(Refused) as found:
        wire.SESSION_WIRE.read_answer(reply, wire.Took)
    assert (found.value.code, found.value.detail) == ("session.unable", "store.disk")


async def test_a_policy_that_accepts_makes_no_counter_offer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def judge(*_: object) -> Accept:
        return Accept("allow")

    nothing: Any = object()
    monkeypatch.setattr(agreement_acts.lookup, "negotiation_of", lambda *_: nothing)
    monkeypatch.setattr(agreement_acts, "policy_of", lambda _: nothing)
    monkeypatch.setattr(agreement_acts, "_newest", lambda _: nothing)
    monkeypatch.setattr(agreement_acts.judgement, "judge", judge)
    with pytest.raises(Refused) as found:
        await agreement_acts.counter(nothing)
    assert found.value.code == "policy.refused"
    assert found.value.detail.endswith("accept")
