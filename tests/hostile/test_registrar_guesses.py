"""Strangers who guess one-time codes, and who flood the registrar: the next person is served."""

from pathlib import Path

import pytest
import trio

from node import people_wire as pw
from node.codes import make
from node.door import EVERYBODY, PATIENCE, Bounds, Door
from node.registrar import GUESSES
from node.talk import ask
from protocol import token
from protocol.errors import Refused
from tests.agreements import seed
from tests.people_rig import Village, village

pytestmark = pytest.mark.hostile


async def guess(here: Village, who: str, code: str) -> str:
    """One try under a PeerId of its own; the code of the refusal, or ok."""
    async with here.connect(seed(who)) as transport:
        peer = await transport.dial(here.registrar_address)
        proof = pw.EnrolmentProof(code=pw.code_digest(code))
        request = pw.Enrol(code=code, proof=token.sign(seed(f"base {who}"), "enrolment", proof))
        try:
            await ask(transport, peer, pw.REGISTRAR, pw.REGISTRAR_WIRE, request, pw.Credentialed)
        except Refused as error:
            return error.code
        return "ok"


def code(number: int) -> str:
    return make(seed(f"guess {number}")[:16])


async def test_who_guesses_too_often_is_not_heard_even_with_the_right_code(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with village(tmp_path) as here:
        right = here.registrar.enrol_new("row-224", "patient", 30)
        said = [await guess(here, "guesser", code(n)) for n in range(12)]
        assert set(said[: int(GUESSES.burst)]) == {"enrolment.code"}
        assert set(said[int(GUESSES.burst) + 1 :]) == {"door.busy"}
        assert await guess(here, "guesser", right) == "door.busy"
        assert await guess(here, "patient", right) == "ok"
        # It is not shut out for ever.
        await trio.sleep(120)
        other = here.registrar.enrol_new("row-228", "patient", 30)
        assert await guess(here, "guesser", other) == "ok"


async def test_many_peers_guess_slowly_and_a_right_code_is_quick(
    tmp_path: Path, autojump_clock: object
) -> None:
    """PeerIds cost nothing: beyond what all may guess together, each wrong answer takes long."""
    async with village(tmp_path) as here:
        door = Door(GUESSES)
        here.registrar._guesses = door
        for number in range(int(GUESSES.all_burst)):
            door.count(f"peer {number}")
        start = trio.current_time()
        assert await guess(here, "a fresh peer", code(1)) == "enrolment.code"
        assert trio.current_time() - start >= PATIENCE
        right = here.registrar.enrol_new("row-224", "patient", 30)
        start = trio.current_time()
        assert await guess(here, "patient", right) == "ok"
        assert trio.current_time() - start < PATIENCE


async def test_a_door_has_bounds_for_all_together(autojump_clock: object) -> None:
    bounds = Bounds(
        streams=1, all_streams=9, requests=10, burst=10, bytes=1e6, bytes_burst=1e6,
        all_requests=1, all_burst=3,
    )  # fmt: skip
    door = Door(bounds)
    start = trio.current_time()
    for number in range(8):
        await door.request(f"peer {number}", 1)
    assert trio.current_time() - start >= 5
    door.count("peer 1")
    door.check("peer 1")
    assert EVERYBODY not in {f"peer {number}" for number in range(8)}


async def test_a_door_forgets_peers_but_not_what_all_used(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.door.KNOWN", 8)
    door = Door(GUESSES)
    spent = [door.count(f"peer {number}") for number in range(int(GUESSES.all_burst) + 5)]
    assert spent[0] is False
    assert spent[-1] is True
    assert len(door._requests) == 8
