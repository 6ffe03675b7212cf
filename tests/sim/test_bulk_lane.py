"""The bulk lane: real sockets between sender, host and enclave; what is refused, what remains."""

import socket
from collections.abc import AsyncIterator

import pytest

from node import bulk_lane, share_intake, wire
from node.bulk_lane import Terms
from node.enclave_link import EnclaveLink, EnclaveUnreachable
from node.store import StoreFull
from node.store.blobs import ShareWriter
from protocol import enclave_wire as enclave
from protocol import record
from tests.enclave_rig import Sealed
from tests.sim.lane_rig import (
    DIALS,
    HERE,
    LaneSender,
    flipped,
    lane_stage,
    pack,
    refusal,
    share_of_a,
    taken,
)
from tests.sim.share_rig import Stage, until


@pytest.fixture
async def stage(tmp_path, monkeypatch) -> AsyncIterator[Stage]:
    async with lane_stage(tmp_path, monkeypatch) as found:
        yield found


def progress(stage: Stage) -> dict[str, object]:
    """What the owner's node said last of its push."""
    found = [
        one.details
        for one in stage.sites["hospital-a"].pipeline.happenings.kept
        if one.event == "share progress"
    ]
    assert found[-1]["sent"] == found[-1]["total"]
    assert found[-1]["left"] == 0
    return found[-1]


async def test_a_push_goes_by_the_lane(stage):
    outcome = await stage.owner.push(stage.rig.id, "vitals-v1", stage.source())
    assert outcome.receipt.verdict == "kept"
    assert outcome.receipt.rows == 200
    assert stage.lane.intake.lanes._listeners == []
    assert progress(stage)["lane"] is True


async def test_a_lane_that_cannot_be_dialled_leaves_the_stream(stage, monkeypatch):
    monkeypatch.setattr("node.share_road.dialable", lambda *_: [])
    outcome = await stage.owner.push(stage.rig.id, "vitals-v1", stage.source())
    assert outcome.receipt.verdict == "kept"
    assert progress(stage)["lane"] is False


async def test_a_receiver_that_forbids_the_lane_offers_none(stage):
    stage.lane.intake.lanes._host = stage.lane.intake.lanes._connect = None
    sender = await LaneSender(stage, "hospital-a").open()
    assert (await sender.offer(await share_of_a(stage))).lane is None


@pytest.mark.parametrize(
    "lie",
    [{"key": bytes(32)}, {"ticket": bytes(16)}, {"share": bytes(32)}, {"chunks": 7}],
    ids=["key", "ticket", "share", "offset"],
)
async def test_who_cannot_prove_the_key_gets_no_lane(stage, lie, monkeypatch):
    monkeypatch.setattr(bulk_lane, "ARRIVE_TIME", 0.3)
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    assert await sender.take(share, **lie) is None
    assert await refusal(sender) == "share.unfinished"
    await taken(stage, share)


async def test_a_ticket_is_good_once(stage):
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    await sender.take(share)
    offer = sender.resume.lane
    terms = Terms(ticket=offer.ticket, key=offer.key, share=share.id, chunks=0)
    assert await DIALS.dial([HERE], offer.port, terms) is None


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda f: [f[0], flipped(f[1])], "share.chunk"),
        (lambda f: [f[0], f[2]], "share.chunk"),
        (lambda f: [f[0], f[1], f[1]], "share.chunk"),
        (lambda f: [f[0], f[1], f[-1]], "share.unfinished"),
        (lambda f: [f[0], f[1], b"\x07junk"], "share.chunk"),
    ],
    ids=["flipped", "missing", "repeated", "truncated", "junk"],
)
async def test_a_bad_frame_is_refused_where_it_stands(stage, lie, code):
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(pack(*lie(share.frames)))
    assert await refusal(sender) == code
    await taken(stage, share)


@pytest.mark.parametrize("size", [0, 1 << 31], ids=["empty", "huge"])
async def test_a_lying_length_is_refused(stage, size):
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(size.to_bytes(4, "big"))
    assert await refusal(sender) == "share.chunk"
    await taken(stage, share)


@pytest.mark.parametrize("within", [False, True])
async def test_a_lane_that_breaks_goes_on_where_it_was(stage, within):
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(pack(*share.frames[:4]) + (pack(share.frames[4])[:50] if within else b""))
    await lane.aclose()
    assert await refusal(sender) == "share.unfinished"
    again = await LaneSender(stage, "hospital-a").open()
    assert (await again.offer(share)).chunks == 3
    await again.stream.close()
    await taken(stage, share)


async def test_a_lane_that_stands_still_is_let_go(stage, monkeypatch):
    monkeypatch.setattr(share_intake, "FRAME_TIME", 0.2)
    monkeypatch.setattr(share_intake, "WATCH_EVERY", 0.05)
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(pack(share.frames[0])[:3])
    assert await refusal(sender) == "share.unfinished"


async def test_strangers_on_the_port_cost_a_slot_each_for_a_moment(stage, monkeypatch):
    monkeypatch.setattr(bulk_lane, "GREETINGS", 3)
    monkeypatch.setattr(bulk_lane, "GREET_TIME", 0.3)
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    resume = await sender.offer(share)
    strangers = [socket.create_connection((HERE, resume.lane.port)) for _ in range(5)]
    await until(lambda: stage.lane.intake.lanes._greetings == 3)
    await until(lambda: stage.lane.intake.lanes._greetings == 0)
    for stranger in strangers:
        stranger.close()
    await sender.stream.close()
    await taken(stage, share)


async def test_a_disk_without_room_is_said_and_the_daemon_lives(stage):
    share = await share_of_a(stage)
    stage.lane.index.files._limit = 2000
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(pack(*share.frames))
    assert await refusal(sender) == "share.full"
    stage.lane.index.files._limit = 1 << 30
    await taken(stage, share)


async def test_a_disk_that_fails_while_a_share_comes_ends_the_lane(stage, monkeypatch):
    def fails(_writer):
        raise StoreFull("shares.full", "The disk took no more of it.", "Make room.")

    monkeypatch.setattr(share_intake, "SETTLE_EVERY", 0.05)
    share = await share_of_a(stage)
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    await lane.send_all(pack(*share.frames[:3]))
    with monkeypatch.context() as patch:
        patch.setattr(ShareWriter, "sync", fails)
        assert await refusal(sender) == "share.full"
    await taken(stage, share)


async def test_more_lanes_than_one_peer_may_have_are_not_offered(stage, monkeypatch):
    monkeypatch.setattr(bulk_lane, "TICKETS_OF_ONE", 0)
    sender = await LaneSender(stage, "hospital-a").open()
    assert (await sender.offer(await share_of_a(stage))).lane is None


# --- the same frames inside the stream -----------------------------------------------------------


async def inside(stage: Stage, share: Sealed) -> tuple[LaneSender, int]:
    """A sender that leaves the lane, and the chunk where it goes on."""
    sender = await LaneSender(stage, "hospital-a").open()
    return sender, await sender.inside(share)


async def test_frames_inside_the_stream_go_on_where_they_broke(stage):
    share = await share_of_a(stage)
    sender, _ = await inside(stage, share)
    await sender.frames(*share.frames[:4])
    await until(lambda: stage.lane.index.get(share.id) is not None)
    await sender.stream.close()
    await until(lambda: not stage.lane._streams)
    again, chunks = await inside(stage, share)
    assert chunks == 3
    await again.frames(share.frames[0], *share.frames[1 + chunks :])
    assert record.parse((await again.hear(wire.ShareTaken)).receipt).kind == "receipt"


async def test_a_bad_frame_inside_the_stream_is_refused_where_it_stands(stage):
    share = await share_of_a(stage)
    sender, _ = await inside(stage, share)
    await sender.frames(share.frames[0], flipped(share.frames[1]))
    assert await refusal(sender) == "share.chunk"
    await taken(stage, share)


async def test_something_else_between_the_frames_is_refused(stage):
    share = await share_of_a(stage)
    sender, _ = await inside(stage, share)
    await sender.frames(*share.frames[:2])
    await sender.say(wire.ChooseWay(lane=True))
    assert await refusal(sender) == "session.request"
    await taken(stage, share)


async def test_an_enclave_that_goes_away_is_said_and_the_daemon_lives(stage, monkeypatch):
    share = await share_of_a(stage)
    ask = EnclaveLink.ask

    async def gone(link, request, *arguments, **named):
        if isinstance(request, enclave.ShareStream):
            raise EnclaveUnreachable("gone")
        return await ask(link, request, *arguments, **named)

    sender = await LaneSender(stage, "hospital-a").open()
    await sender.offer(share)
    monkeypatch.setattr(EnclaveLink, "ask", gone)
    assert await sender.dial(share)
    await sender.say(wire.ChooseWay(lane=True))
    assert await refusal(sender) == "enclave.unreachable"
    monkeypatch.setattr(EnclaveLink, "ask", ask)
    await taken(stage, share)
