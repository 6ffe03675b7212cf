"""Which way the frames of a share and of its copies go, and what is said of it."""

import logging
import time

import pytest
import trio

from node import share_lane, shares, wire
from node.bulk_lane import Lanes
from node.net.proxy import direct
from node.share_way import Beside
from protocol.effects import Rewrap as Owed
from tests.sim.lane_rig import HERE, LaneSender, lane_stage, pack, share_of_a
from tests.sim.share_rig import Sender, Stage, until

DATASET = "vitals-v1"


def none() -> Lanes:
    """network.bulk = "stream"."""
    return Lanes()


def dialling() -> Lanes:
    """network.bulk = "dial"."""
    return Lanes(connect=direct)


def listening() -> Lanes:
    """network.bulk = "HOST:PORT"."""
    return Lanes(HERE, connect=direct)


async def push(stage: Stage) -> tuple[str, str | None]:
    """The way that a push took, and why not by a lane."""
    with trio.fail_after(20):
        outcome = await stage.owner.push(stage.rig.id, DATASET, stage.source())
    assert outcome.receipt.verdict == "kept"
    happened = stage.sites["hospital-a"].pipeline.happenings.kept
    said = [one.details for one in happened if one.event == "share progress"][-1]
    assert stage.owner.way(stage.rig.id, outcome.share) == (said["way"], said["why"])
    assert said["lane"] == (said["why"] is None)
    return said["way"], said["why"]


NOTHING_OFFERED = "the other side takes no bulk lane"
NO_PORT = "the other side has no port for it"


@pytest.mark.parametrize(
    ("owner", "host", "way", "why"),
    [
        (dialling, listening, "lane", None),
        (listening, listening, "lane", None),
        (listening, dialling, "reverse lane", None),
        (
            dialling,
            dialling,
            "inside",
            f"{NO_PORT}; this node has no port for it either (network.bulk)",
        ),
        (listening, none, "inside", NOTHING_OFFERED),
        (none, listening, "inside", "this node takes none (network.bulk)"),
        (none, dialling, "inside", "this node takes none (network.bulk)"),
        (none, none, "inside", NOTHING_OFFERED),
    ],
)
async def test_the_way_of_a_share(tmp_path, monkeypatch, owner, host, way, why):
    lanes = {"hospital_a": owner(), "host_1": host()}
    async with lane_stage(tmp_path, monkeypatch, **lanes) as stage:
        assert await push(stage) == (way, why)
        for one in stage.lanes.values():
            assert (one._listeners, one._expected) == ([], {})


async def test_a_port_that_cannot_be_reached_is_dialled_from_there(tmp_path, monkeypatch):
    """The host listens behind a wall, and comes to the owner's port."""
    monkeypatch.setattr("node.share_road.dialable", lambda *_: [])
    async with lane_stage(tmp_path, monkeypatch, hospital_a=listening()) as stage:
        assert await push(stage) == ("reverse lane", None)


async def test_two_walls_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("node.share_road.dialable", lambda *_: [])
    monkeypatch.setattr("node.share_intake.dialable", lambda *_: [])
    async with lane_stage(tmp_path, monkeypatch, hospital_a=listening()) as stage:
        way, why = await push(stage)
        assert way == "inside"
        assert "does not answer at no known host; it does not come to port" in why


async def test_a_lane_that_never_carries_gives_way_to_the_stream(tmp_path, monkeypatch):
    """Something on the way cuts every lane: the push does not try for ever."""
    monkeypatch.setattr(shares, "PAUSE", 0.02)
    monkeypatch.setattr(shares, "LONGEST_PAUSE", 0.05)

    def cut(*_):
        raise trio.BrokenResourceError("the bulk lane broke")

    monkeypatch.setattr(Beside, "put", cut)
    async with lane_stage(tmp_path, monkeypatch) as stage:
        assert await push(stage) == ("inside", "the bulk lane brought nothing 3 times")
        happened = stage.sites["hospital-a"].pipeline.happenings.kept
        waits = [one.details for one in happened if one.event == "share waits"]
        assert ["the bulk lane broke" in one["why"] for one in waits] == [True] * 3


# --- copies ---------------------------------------------------------------------------------------


def way_of_copy(caplog: pytest.LogCaptureFixture) -> str:
    said = [one.getMessage() for one in caplog.records if one.name == "village.replica"]
    return said[-1].rpartition(": ")[2]


@pytest.mark.parametrize(
    ("host", "standby", "way"),
    [
        (listening, listening, "lane"),
        (listening, dialling, "reverse lane"),
        (dialling, listening, "lane"),
        (listening, none, NOTHING_OFFERED),
    ],
)
async def test_the_way_of_a_copy(tmp_path, monkeypatch, caplog, host, standby, way):
    caplog.set_level(logging.INFO)
    lanes = {"host_1": host(), "host_2": standby()}
    async with lane_stage(tmp_path, monkeypatch, **lanes) as stage:
        share = await share_of_a(stage)
        await (await Sender(stage, "hospital-a").open()).offer(share)
        sender = await LaneSender(stage, "hospital-a").open()
        await sender.inside(share)
        await sender.frames(*share.frames)
        assert (await sender.hear(wire.ShareTaken)).replicas == 1
        assert tuple(stage.sites["host-2"].lane.frames(share.id)) == share.frames
        assert way_of_copy(caplog) == way


async def test_a_copy_goes_on_by_the_lane_where_it_broke(tmp_path, monkeypatch):
    async with lane_stage(tmp_path, monkeypatch, host_2=listening()) as stage:
        share = await share_of_a(stage)
        sender = await LaneSender(stage, "host-1").open(wire.REPLICA, "host-2")
        lane = await sender.take(share)
        await lane.send_all(pack(*share.frames[:5]) + pack(share.frames[5])[:40])
        await lane.aclose()
        standby = stage.sites["host-2"].lane
        await until(lambda: not standby.replicas._taking)
        owner = await LaneSender(stage, "hospital-a").open()
        await owner.inside(share)
        await owner.frames(*share.frames)
        assert (await owner.hear(wire.ShareTaken)).replicas == 1
        copied = tuple(standby.frames(share.id))
        assert copied == (*share.frames[:5], share.frames[0], *share.frames[5:])


async def test_a_standby_of_a_later_term_gets_its_copy_without_the_source(tmp_path, monkeypatch):
    monkeypatch.setattr(share_lane, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(share_lane, "LATER", 0.05)
    async with lane_stage(tmp_path, monkeypatch, host_2=listening()) as stage:
        first, second = stage.hosts.values()
        await stage.tell(*stage.elect(2, first, ()))
        source = stage.source()
        with trio.fail_after(20):
            stage.say(stage.rig.a, "verdict", stage.verdict_on(first, 2, True))
            machine = stage.sites["hospital-a"].machine
            await until(lambda: (2, first.candidacy.id) in machine.election.verdicts)
            outcome = await stage.owner.push(stage.rig.id, DATASET, source)
        assert outcome.replicas == 0
        source.file.unlink()
        assert machine.wrapped_to(outcome.share) == {first.id}
        await stage.tell(*stage.elect(3, first, (second,)))
        standby = stage.sites["host-2"].lane
        await until(lambda: standby.index.complete(outcome.share))
        for host in (first, second):
            stage.say(stage.rig.a, "verdict", stage.verdict_on(host, 3, True))
            await until(lambda host=host: (3, host.candidacy.id) in machine.election.verdicts)
        assert machine._owner_duties(int(time.time())) == [Owed(outcome.share, first.candidacy.id)]
        await stage.owner.rewrap(outcome.share, first.candidacy.id)
        assert machine.wrapped_to(outcome.share) == {first.id, second.id}
        assert machine._owner_duties(int(time.time())) == []
