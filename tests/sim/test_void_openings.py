"""A key that was taken back opens nothing any more; what was open before goes on."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from node.happenings import Happenings
from node.keyring import Keyring
from node.pipeline import Pipeline
from node.store.journal import Journal
from node.world import World
from protocol import keys, record
from protocol.errors import Refused
from protocol.kinds.identity import Keys, Pin
from protocol.record import Record
from protocol.topic import read_opening
from tests.agreements import AT, CAST, Pen, renewed, seed
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


async def test_an_agreement_that_was_in_force_before_survives_a_restart(tmp_path: Path) -> None:
    node = restored(tmp_path)
    await node.open(CHARTER)
    room = await node.open(OPENING)
    assert (await node.take([taken_back().raw])).new == 1
    assert await node.open(OPENING) is room
    await node.close()
    node = restored(tmp_path)
    assert ID in node.world.rooms
    assert (await node.open(OPENING)).topic == ID
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
