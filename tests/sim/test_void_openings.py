"""A key that was taken back opens nothing any more, and what it had opened falls."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from node import identities, pins
from node.happenings import Happenings
from node.keyring import Keyring
from node.pipeline import Pipeline
from node.store.journal import Journal
from node.world import World
from protocol import keys, limits, record, shape
from protocol.errors import Refused
from protocol.kinds.agreement import AgreementOpening
from protocol.kinds.identity import Keys, Pin
from protocol.record import Record
from protocol.topic import read_opening
from tests.agreements import AT, CAST, NEGOTIATION, Pen, renewed, seed
from tests.in_force import OPENING
from tests.unit.test_space import CHARTER, Telling
from tests.unit.test_space import OPENING as SPACE

ME, THIEVED = CAST["hospital-a"], CAST["hospital-b"]
ID = read_opening(OPENING).topic


@pytest.fixture(autouse=True)
def _at_the_time_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.pipeline.time", SimpleNamespace(time=lambda: AT))


def restored(folder: Path) -> Pipeline:
    """The node, from what its journal has."""
    ring = Keyring(
        node=seed("node"),
        record=ME.signing,
        sealing=seed("sealing"),
        store=seed("store"),
        me=ME.participant,
    )
    made = Pipeline(Journal.open(folder / "journal.db"), ring, World(ring.me), Happenings())
    made.restore()
    return made


def taken_back(*pins: Pin) -> Record:
    """The owner says in the space that a key of its was stolen."""
    newer = renewed(THIEVED, seed("new key"), "stolen", pins)
    return Pen(newer, SPACE.topic).write("keys", Keys(identity=newer.participant.raw), AT)


async def test_a_new_agreement_signed_by_a_stolen_key_is_refused(tmp_path: Path) -> None:
    node = restored(tmp_path)
    await node.open(CHARTER)
    assert (await node.take([taken_back().raw])).new == 1
    with pytest.raises(Refused) as caught:
        await node.open(OPENING)
    assert caught.value.code == "agreement.certificate"
    await node.close()
    assert ID not in restored(tmp_path).world.rooms


def signature() -> Pin:
    """The place of the signature under the agreement: in its negotiation."""
    votes = map(record.parse, shape.decode(AgreementOpening, OPENING, limits.FRAME).votes)
    vote = next(one for one in votes if one.author == THIEVED.did)
    return Pin(topic=vote.topic, seq=vote.seq, head=vote.id)


async def test_an_agreement_falls_at_the_next_start_with_a_signature_that_is_void(
    tmp_path: Path,
) -> None:
    """Who starts later refuses it, and so does who had it open: nothing rests on the order."""
    node = restored(tmp_path)
    await node.open(CHARTER)
    room = await node.open(OPENING)
    assert (await node.take([taken_back().raw])).new == 1
    assert await node.open(OPENING) is room
    await node.close()
    for _ in range(2):
        node = restored(tmp_path)
        assert ID not in node.world.rooms
        with pytest.raises(Refused) as caught:
            await node.open(OPENING)
        assert caught.value.code == "agreement.certificate"
        assert next(one.code for one in node.journal.refusals(9)) == "agreement.certificate"
        await node.close()


async def test_an_agreement_falls_by_what_its_own_topic_takes_back(tmp_path: Path) -> None:
    node = restored(tmp_path)
    await node.open(OPENING)
    newer = renewed(THIEVED, seed("new key"), "stolen", ())
    said = Pen(newer, ID).write("keys", Keys(identity=newer.participant.raw), AT)
    assert (await node.take([said.raw])).new == 1
    await node.close()
    node = restored(tmp_path)
    with pytest.raises(Refused) as caught:
        await node.open(OPENING)
    assert caught.value.code == "agreement.certificate"
    await node.close()


async def test_an_agreement_whose_signature_is_pinned_survives_a_restart(tmp_path: Path) -> None:
    node = restored(tmp_path)
    await node.open(CHARTER)
    await node.open(OPENING)
    assert (await node.take([taken_back(signature()).raw])).new == 1
    await node.close()
    node = restored(tmp_path)
    assert (await node.open(OPENING)) is node.world.rooms[ID]
    await node.close()


async def test_a_node_says_itself_what_its_invite_took_back(tmp_path: Path) -> None:
    """An invite shows its identity, but only its own word takes a key back."""
    guest = renewed(CAST["sponsor"], seed("new key"), "stolen", ())
    told = Telling().found()
    told.invite(guest=guest)
    ring = Keyring(
        node=seed("node"),
        record=guest.signing,
        sealing=seed("sealing"),
        store=seed("store"),
        me=guest.participant,
    )
    node = Pipeline(Journal.open(tmp_path / "journal.db"), ring, World(ring.me), Happenings())
    room = await node.open(CHARTER, invited=True)
    await node.take([one.raw for one in told.told])
    history = room.machine.histories[guest.did]
    assert history.heeds(guest.participant)
    assert [one.kind for one in map(record.parse, node.journal.records(room.topic))][-1] == "keys"
    await node.tick()
    assert room.feeds.place(keys.public(guest.signing)).seq == 1
    await node.close()


async def test_what_lasts_is_pinned_first_and_what_finds_no_pin_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer negotiation that came to nothing takes no place from an agreement's signature."""
    monkeypatch.setattr("node.pins.time", SimpleNamespace(time=lambda: AT))
    node = restored(tmp_path)
    lasting = [CHARTER, NEGOTIATION.raw, OPENING]
    idle = shape.encode(replace(NEGOTIATION.document, name="came to nothing"))
    for number, raw in enumerate([*lasting, idle]):
        room = await node.open(raw)
        pen = Pen(ME, room.topic)
        said = pen.write("keys", Keys(identity=ME.participant.raw), AT + number)
        assert (await node.take([said.raw])).new == 1
    key = keys.public(ME.signing)
    monkeypatch.setattr(limits, "PINS", 3)
    vouched = pins.vouch(node.journal, node.world, key, None)
    assert {one.topic for one in vouched.pins} == {read_opening(one).topic for one in lasting}
    assert vouched.left == (read_opening(idle).topic,)
    with pytest.raises(Refused, match="void in 1 more") as caught:
        identities.check_left(len(vouched.pins), [one.hex() for one in vouched.left])
    assert caught.value.code == "identity.keys"
    assert pins.vouch(node.journal, node.world, key, AT + 1).pins == tuple(
        one for one in vouched.pins if one.topic == SPACE.topic
    )
    await node.close()
