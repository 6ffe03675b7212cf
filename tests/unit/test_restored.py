"""A restored node is silent about what was open when it was lost, and speaks from then on."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from node import restored
from protocol.effects import Publish
from protocol.errors import Refused
from protocol.identity import open_identity
from protocol.kinds.host import Lapse
from protocol.topic import read_opening
from tests.agreements import NEGOTIATION, A
from tests.in_force import OPENING, QUORUM, Telling


def published(found: Telling) -> list[str]:
    return [one.kind for one in found.owed() if isinstance(one, Publish)]


def summoned(from_term: int | None) -> Telling:
    """Hospital-a sees term 1 elected and a run summoned; it may have answered before the loss."""
    found = Telling("hospital-a")
    candidacy = found.offer("host-1")
    for name in QUORUM:
        found.judge(name, candidacy.id)
    for name in ("hospital-b", "hospital-c", "biostat-lab", "sponsor"):
        found.vote_host(name, found.appointment(candidacy))
    found.summon(found.order())
    found.machine.me = replace(found.machine.me, from_term=from_term)
    return found


def test_without_a_loss_it_answers() -> None:
    assert "statement" in published(summoned(0))


def test_until_it_asked_the_others_it_says_nothing() -> None:
    assert published(summoned(None)) == []


def test_in_the_open_term_it_only_gives_way() -> None:
    found = summoned(2)
    assert published(found) == ["lapse"]
    found.say("hospital-a", "lapse", Lapse(term=1, reason="keys were lost"))
    assert published(found) == []


def test_from_the_next_term_on_it_speaks() -> None:
    found = summoned(2)
    found.lapse(1, ["hospital-a", "hospital-b"])
    assert found.election.term == 2
    other = found.offer("host-2", "two")
    for name in QUORUM[1:]:
        found.judge(name, other.id, 2)
    assert "challenge" in {type(one).__name__.lower() for one in found.owed()}


class States(dict[str, bytes]):
    """The states of a journal."""

    def state(self, name: str) -> bytes | None:
        return self.get(name)

    def put_state(self, name: str, value: bytes) -> None:
        self[name] = value


def test_floors_of_a_node_that_lost_nothing_and_of_one_that_did() -> None:
    opening, states = read_opening(OPENING), States()
    assert restored.floors(states, b"new")(opening) == 0
    restored.mark(states)
    floor = restored.floors(states, b"new")
    assert floor(opening) is None
    assert floor(NEGOTIATION) == 0
    assert restored.floors(states, A.participant.vote_key)(opening) == 0  # agreed after the loss
    states[f"{restored.FLOORS}{opening.topic.hex()}"] = b"3"
    assert floor(opening) == 3


@pytest.mark.parametrize(("reached", "speaks"), [(2, False), (4, True)])
async def test_a_quorum_of_the_others_is_asked_first(reached: int, speaks: bool) -> None:
    found = summoned(None)
    names = [one.did for one in found.machine.document.parties if one.did != A.did]
    there = {did.hex() for did in names[:reached]}
    states, asked = States(), []

    async def pull(peer: str) -> bool:
        asked.append(peer)
        return peer in there

    world = SimpleNamespace(
        me=SimpleNamespace(did=A.did), peers_of=lambda did: [did.hex()], rooms={}
    )
    pipeline = SimpleNamespace(world=world, journal=states)
    room = SimpleNamespace(machine=found.machine, topic=found.topic, silent=False)
    one = restored.Restored(pipeline, SimpleNamespace(pull=pull))
    await one._ask_around(room, {p.did for p in found.machine.document.parties})
    assert (found.machine.me.from_term == 2) is speaks
    assert len(asked) == len(names)
    assert (states.state(f"{restored.FLOORS}{found.topic.hex()}") == b"2") is speaks


def test_the_old_key_of_a_restored_node_cannot_be_used_again() -> None:
    from node.keyring import Keyring

    ring = Keyring(
        node=bytes(32), record=A.signing, sealing=bytes(32), store=bytes(32), me=A.participant
    )
    with pytest.raises(Refused) as caught:
        ring.adopt(open_identity(A.participant.raw), bytes(32))
    assert caught.value.code == "identity.keys"
