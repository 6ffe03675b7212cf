"""The bulk lane: real sockets between sender, host and enclave; what is refused, what remains."""

import shutil
import socket
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from enclave_host.server import Server
from node import bulk_lane, share_intake, wire
from node.bulk_lane import Lanes, Reach, Terms
from node.enclave_link import EnclaveLink, EnclaveUnreachable
from node.share_lane import ShareLane
from node.store.blobs import SealedShares
from protocol import enclave_wire as enclave
from protocol import record
from protocol.errors import Refused
from tests.enclave_rig import Sealed, rows_of
from tests.sim.share_rig import Sender, Stage, staged, until

NUMBERS = range(150)
HERE = "127.0.0.1"
LANES: list[trio.SocketStream] = []
"""What the senders of one test opened."""

SENDERS: list[Sender] = []
"""Whose streams one test opened."""


@pytest.fixture
async def stage(tmp_path, monkeypatch) -> AsyncIterator[Stage]:
    async with staged(tmp_path, monkeypatch) as found:
        site = found.sites["host-1"]
        folder = tempfile.mkdtemp(prefix="village-")  # a socket's path must be short
        path = Path(folder, "enclave.sock")
        server = Server(path, found.hosts["host-1"].door.enclave.answer)
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        link = EnclaveLink(path)
        files = SealedShares(site.folder / "bulk", 1 << 30)
        site.lane = ShareLane(site.pipeline, site.transport, link, files, Lanes(HERE))
        async with trio.open_nursery() as running:
            running.start_soon(site.lane.run)
            await trio.testing.wait_all_tasks_blocked(0.05)
            yield found
            running.cancel_scope.cancel()
        while LANES:
            await trio.aclose_forcefully(LANES.pop())
        while SENDERS:
            await SENDERS.pop().stream.reset()
        await until(lambda: not site.lane._streams)
        await link.close()
        server.stop()
        shutil.rmtree(folder)


async def share_of_a(stage: Stage) -> Sealed:
    enclaves = [one.keys for one in stage.hosts.values()]
    share = stage.rig.share(stage.rig.a, rows_of(*NUMBERS), *enclaves)
    await stage.tell(*set(share.opener.values()))
    return share


def pack(*frames: bytes) -> bytes:
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


class LaneSender(Sender):
    """Somebody who takes the lane, and can lie there."""

    async def open(self, *arguments: str) -> "LaneSender":
        await super().open(*arguments)
        SENDERS.append(self)
        return self

    async def take(self, share: Sealed, /, **lies: object) -> trio.SocketStream | None:
        """Offer the share and dial; `lies` change what is proven."""
        resume = await self.offer(share)
        assert resume.lane is not None
        self.resume = resume
        honest = {
            "ticket": resume.lane.ticket,
            "key": resume.lane.key,
            "share": share.id,
            "chunks": resume.chunks,
        }
        lane = await bulk_lane.dial(Reach([HERE]), resume.lane.port, Terms(**{**honest, **lies}))
        if lane is not None:
            LANES.append(lane)
        await self.say(wire.ChooseWay(lane=True))
        return lane


async def taken(stage: Stage, share: Sealed) -> None:
    """An honest push gets through."""
    sender = await LaneSender(stage, "hospital-a").open()
    lane = await sender.take(share)
    chunks = sender.resume.chunks
    await lane.send_all(pack(share.frames[0], *share.frames[1 + chunks :]))
    answer = await sender.hear(wire.ShareTaken)
    assert record.parse(answer.receipt).kind == "receipt"
    frames = [frame for frame in stage.lane.frames(share.id) if frame[:1] != b"\x01"]
    assert frames == list(share.frames[1:])


async def refusal(sender: Sender) -> str:
    with pytest.raises(Refused) as caught:
        await sender.hear(wire.ShareTaken)
    return caught.value.code


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
    monkeypatch.setattr("node.shares._hosts", lambda _: [])
    outcome = await stage.owner.push(stage.rig.id, "vitals-v1", stage.source())
    assert outcome.receipt.verdict == "kept"
    assert progress(stage)["lane"] is False


async def test_a_receiver_that_forbids_the_lane_offers_none(stage):
    stage.lane.intake.lanes._host = None
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
    assert await bulk_lane.dial(Reach([HERE]), offer.port, terms) is None


def flipped(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 1])


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


async def test_more_lanes_than_one_peer_may_have_are_not_offered(stage, monkeypatch):
    monkeypatch.setattr(bulk_lane, "TICKETS_OF_ONE", 0)
    sender = await LaneSender(stage, "hospital-a").open()
    assert (await sender.offer(await share_of_a(stage))).lane is None


# --- the same frames inside the stream -----------------------------------------------------------


async def inside(stage: Stage, share: Sealed) -> tuple[LaneSender, int]:
    """A sender that leaves the lane, and the chunk where it goes on."""
    sender = await LaneSender(stage, "hospital-a").open()
    resume = await sender.offer(share)
    await sender.say(wire.ChooseWay(lane=False))
    return sender, resume.chunks


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
    resume = await sender.offer(share)
    monkeypatch.setattr(EnclaveLink, "ask", gone)
    terms = Terms(ticket=resume.lane.ticket, key=resume.lane.key, share=share.id, chunks=0)
    LANES.append(await bulk_lane.dial(Reach([HERE]), resume.lane.port, terms))
    await sender.say(wire.ChooseWay(lane=True))
    assert await refusal(sender) == "enclave.unreachable"
    monkeypatch.setattr(EnclaveLink, "ask", ask)
    await taken(stage, share)
