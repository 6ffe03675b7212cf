"""What an operator sees of a push that is under way, and how it is given up."""

import pytest
import trio

from node import shares
from node.share_pushes import under_way
from protocol.errors import Refused
from tests.sim.share_rig import staged, until

DATASET = "vitals-v1"


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr(shares, "PAUSE", 0.02)
    async with staged(tmp_path, monkeypatch) as made:
        yield made


def seen(stage):
    site = stage.sites["hospital-a"]
    return list(under_way(site.owner, site.pipeline.happenings))


async def push(stage, source, faults):
    try:
        await stage.owner.push(stage.rig.id, DATASET, source)
    except Refused as error:
        faults.append(error.code)


async def test_nothing_is_under_way(stage):
    assert seen(stage) == []
    await stage.owner.push(stage.rig.id, DATASET, stage.source(20))
    assert seen(stage) == [], "what a host confirmed is not under way"


async def test_a_push_that_waits_says_for_what_and_can_be_given_up(stage):
    stage.link.down = True
    faults = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(push, stage, stage.source(200), faults)
        await until(lambda: seen(stage) and seen(stage)[0].state == "waits")
        (one,) = seen(stage)
        assert (one.dataset, one.agreement) == (DATASET, stage.rig.id)
        assert "enclave" in one.waits
        given_up = stage.owner.give_up(stage.rig.id, DATASET)
        assert given_up.share == one.share
    assert faults == ["share.changed"]
    assert seen(stage) == []
    assert stage.owner.give_up(stage.rig.id, DATASET) is None
    stage.link.down = False
    again = await stage.owner.push(stage.rig.id, DATASET, stage.source(200))
    assert again.share != one.share


async def test_a_push_that_stopped_says_why(stage):
    stage.link.stop_at = 2
    source = stage.source(200)
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(push, stage, source, [])
            await stage.link.stopped.wait()
            scope.cancel()
    assert [one.state for one in seen(stage)] == ["sending"]
    source.file.write_text("person,site,value\nperson-1,x,1\n")
    stage.link.stop_at = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.owner.run)
        await until(lambda: seen(stage)[0].state == "stopped")
        nursery.cancel_scope.cancel()
    (one,) = seen(stage)
    assert "Row 1, column 'site'" in one.waits or one.waits.startswith("share.changed")
