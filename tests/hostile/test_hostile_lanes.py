"""What a hostile end does to a share on its way, by bulk lane and inside the stream.

Hostile senders attack the host, whose enclave verifies every frame, and a standby, which has no
key; hostile receivers attack the sender. Meanwhile an honest share is on its way, and ends well;
files, sockets, threads and places are free again. What else issue 7 calls bad input stands here:

| attack | test |
|---|---|
| wrong lane key, ticket, share or place; a lane used twice | test_bulk_lane.py |
| strangers at the port; a lane that breaks or stands still; too many lanes | test_bulk_lane.py |
| wrong peer; no owner's signature; another agreement | test_share_lane.py |
| another key for the same ciphertext | test_sealing_stream.py, test_enclave_shares.py |
| slow-loris inside the stream; endless and too many streams; a full disk | test_share_lane.py |
| a host that lies about what it has | test_shares.py |
| a peer that stops reading a stream, or sends endless bytes | test_libp2p_guards.py |
"""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product

import pytest
import trio

from node import bulk_lane, share_intake, share_replica, share_upload, share_way, wire
from node.bulk_lane import Lanes, Terms, dialable
from node.net.memory import memory_network
from node.net.peer_id import peer_id_of
from node.net.proxy import direct
from node.share_upload import upload
from node.share_way import Reach
from protocol import keys, limits, record
from protocol.dialogue import Done
from protocol.errors import Refused
from tests.enclave_rig import Sealed, rows_of
from tests.sim.lane_rig import (
    DIALS,
    HERE,
    LANES,
    LaneSender,
    descriptors,
    flipped,
    lane_stage,
    pack,
    refusal,
    share_of_a,
)
from tests.sim.share_rig import Stage, until
from tests.unit.test_share_upload import parcel

pytestmark = pytest.mark.hostile

Frames = tuple[bytes, ...]


@pytest.fixture
async def stage(tmp_path, monkeypatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(share_way, "LINGER", 0.2)
    standby = Lanes(HERE, connect=direct)
    async with lane_stage(tmp_path, monkeypatch, host_2=standby) as found:
        yield found


def threads() -> int:
    """Worker threads in use."""
    limiters = (share_upload.THREADS, share_replica.THREADS)
    own = trio.to_thread.current_default_thread_limiter()
    return own.borrowed_tokens + sum(one.borrowed_tokens for one in limiters)


def places(lanes: Lanes) -> int:
    """Tickets that are out, ports that are bound, strangers that say nothing."""
    return len(lanes._expected) + len(lanes._listeners) + lanes._greetings


def used(stage: Stage) -> tuple[int, ...]:
    """What streams and lanes use of this process."""
    hosts = [site.lane for site in stage.sites.values() if site.lane is not None]
    streams = sum(len(one._streams) + len(one._turns) + one.replicas._taking for one in hosts)
    return descriptors(), threads(), sum(map(places, stage.lanes.values())), streams


# --- hostile senders ------------------------------------------------------------------------------


def with_index(chunk: bytes, index: int) -> bytes:
    return chunk[:1] + index.to_bytes(8, "big") + chunk[9:]


@dataclass(frozen=True)
class Attack:
    """Frames of a share made wrong, how many chunks come before the wrong one, and the code."""

    frames: Callable[[Frames], Frames]
    good: int
    code: str = "share.chunk"


ATTACKS = {
    "flipped": Attack(lambda f: (*f[:3], flipped(f[3]), *f[4:]), 2),
    "flipped inside": Attack(lambda f: (*f[:3], flipped(f[3], 30), *f[4:-1], flipped(f[-1], 2)), 2),
    "flipped salt": Attack(lambda f: (flipped(f[0]), *f[1:-1], flipped(f[-1], 2)), 0),
    "reordered": Attack(lambda f: (*f[:2], f[3], f[2], *f[4:]), 1),
    "repeated": Attack(lambda f: (*f[:3], *f[2:]), 2),
    "missing": Attack(lambda f: (*f[:3], *f[4:]), 2),
    "truncated": Attack(lambda f: (*f[:4], f[-1]), 3, "share.unfinished"),
    "appended": Attack(lambda f: (*f[:-1], with_index(f[1], len(f) - 2), f[-1]), 9),
    "another segment": Attack(lambda f: (*f[:-1], f[0], flipped(f[-1], 2)), 9),
    "lying digest": Attack(lambda f: (*f[:-1], flipped(f[-1], 5)), 9),
    "lying count": Attack(lambda f: (*f[:-1], flipped(f[-1], 40)), 9),
    "no frame": Attack(lambda f: (f[0], b"\x07hello"), 0),
    "no salt": Attack(lambda f: (*f[1:-1], flipped(f[-1], 2)), 0),
    "undersize": Attack(lambda f: (f[0], f[1][:9]), 0),
    "oversize": Attack(lambda f: (f[0], f[1] + bytes(limits.CHUNK + 1), flipped(f[-1])), 0),
}
"""What stands in the frames, whichever way they come."""


def measured(frame: bytes, size: int) -> bytes:
    return size.to_bytes(4, "big") + frame


LENGTHS = {
    "empty": lambda f: measured(b"", 0),
    "huge": lambda f: measured(b"", 1 << 31),
    "too long": lambda f: measured(f[0], len(f[0]) + 4) + pack(*f[1:]),
    "too short": lambda f: measured(f[0], len(f[0]) - 4) + pack(*f[1:]),
}
"""What stands around the frames of a lane: bytes, refused before the first chunk."""


async def share_of_b(stage: Stage) -> Sealed:
    enclaves = [one.keys for one in stage.hosts.values()]
    share = stage.rig.share(stage.rig.b, rows_of(*range(200, 350)), *enclaves)
    await stage.tell(*set(share.opener.values()))
    return share


async def opened(stage: Stage, target: str, owner: str = "hospital-a") -> LaneSender:
    """Somebody who brings a share to the host, or a copy to the standby."""
    if target == "host":
        return await LaneSender(stage, owner).open()
    return await LaneSender(stage, "host-1").open(wire.REPLICA, "host-2")


async def attack(stage: Stage, target: str, share: Sealed, data: Frames | bytes, way: str) -> str:
    """Send it; the code with which it is refused."""
    sender = await opened(stage, target)
    if way == "lane":
        lane = await sender.take(share)
        with suppress(trio.BrokenResourceError):
            await lane.send_all(data if isinstance(data, bytes) else pack(*data))
    else:
        await sender.inside(share)
        await sender.frames(*data)
    code = await refusal(sender)
    await sender.stream.reset()
    if way == "lane":
        LANES.remove(lane)
        await trio.aclose_forcefully(lane)
    return code


@pytest.mark.parametrize("way", ["lane", "inside"])
@pytest.mark.parametrize("target", ["host", "standby"])
async def test_each_lie_is_refused_where_it_stands(stage, target, way):
    table = {name: (one.frames, one.good, one.code) for name, one in ATTACKS.items()}
    if way == "lane":
        table |= {name: (lie, 0, "share.chunk") for name, lie in LENGTHS.items()}
    index = stage.sites["host-1" if target == "host" else "host-2"].lane.index
    honest = await share_of_b(stage)
    other = await opened(stage, target, "hospital-b")
    lane = await other.take(honest)
    await lane.send_all(pack(*honest.frames[:4]))
    before = None
    for number, (name, (lie, good, code)) in enumerate(table.items()):
        share = await share_of_a(stage, *range(number, number + 150))
        found = await attack(stage, target, share, lie(share.frames), way)
        if target == "host":
            assert found == code, name
            stored = [frame for frame in index.frames(share.id) if frame[:1] == b"\x02"]
            assert tuple(stored) == share.frames[1 : 1 + good], name
        else:
            assert found == "share.chunk", name
            assert index.get(share.id) is None, name
        before = before or used(stage)
    with trio.move_on_after(2):
        await until(lambda: used(stage) == before)
    assert used(stage) == before
    await lane.send_all(pack(*honest.frames[4:]))
    answer = await other.hear(wire.ShareTaken if target == "host" else Done)
    assert index.complete(honest.id)
    if target == "host":
        assert record.parse(answer.receipt).kind == "receipt"


async def test_frames_of_another_share_do_not_open(stage):
    share = await share_of_a(stage)
    enclaves = [one.keys for one in stage.hosts.values()]
    other = stage.rig.share(stage.rig.a, [], *enclaves, plain=b"other" * 1000)
    for way in ("lane", "inside"):
        assert await attack(stage, "host", share, other.frames, way) == "share.chunk"
        assert await attack(stage, "standby", share, other.frames, way) == "share.chunk"


async def test_a_sender_that_drips_is_let_go(stage, monkeypatch):
    """Slow-loris: always something, never enough; or salts without end, and no chunk."""
    monkeypatch.setattr(share_intake, "FRAME_TIME", 0.3)
    monkeypatch.setattr(share_intake, "WATCH_EVERY", 0.05)
    share = await share_of_a(stage)
    slowly = [pack(*share.frames[:2])[n : n + 1] for n in range(100)]
    salts = [pack(share.frames[0])] * 100
    for target in ("host", "standby"):
        for drops in (slowly, salts):
            sender = await opened(stage, target)
            lane = await sender.take(share)
            async with trio.open_nursery() as dripping:
                dripping.start_soon(drip, lane, drops)
                found = await refusal(sender)
                dripping.cancel_scope.cancel()
            assert (target, found) == (target, "share.unfinished")
            await sender.stream.reset()
            await until(lambda: used(stage)[3] == 0)


async def drip(lane: trio.SocketStream, drops: list[bytes]) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for drop in drops:
            await lane.send_all(drop)
            await trio.sleep(0.05)


async def test_a_share_beyond_its_bound_is_refused(stage, monkeypatch):
    monkeypatch.setattr(limits, "SHARE", 3000)
    for first, (target, way) in enumerate(product(("host", "standby"), ("lane", "inside"))):
        share = await share_of_a(stage, *range(first, first + 150))
        # The enclave counts what it opens, a standby what it stores.
        code = "share.chunk" if target == "host" else "share.full"
        found = await attack(stage, target, share, share.frames, way)
        assert (target, way, found) == (target, way, code)


# --- hostile receivers ----------------------------------------------------------------------------

ALICE, BOB = (peer_id_of(keys.public(bytes([number]) * 32)) for number in (1, 2))


@dataclass
class Pair:
    """A sender whose dials are counted, and a receiver's lanes."""

    sender: Lanes
    receiver: Lanes
    dialled: list[tuple[str, int]]


async def offered(stream, lane=None, *, dials=False) -> wire.ChooseWay | None:
    """Take the offer and answer; the way that the sender chose."""
    await stream.receive()
    resume = wire.Resume(chunks=0, chain=bytes(32), finished=False, lane=lane, dials=dials)
    await stream.send(wire.SHARE_WIRE.pack_answer(resume))
    if lane is None and not dials:
        return None
    return wire.SHARE_WIRE.read_request(await stream.receive())


async def take_inside(stream) -> None:
    """Take the frames inside the stream, to the last."""
    while not wire.SHARE_WIRE.read_request(await stream.receive()).last:
        pass
    await stream.send(wire.SHARE_WIRE.pack_answer(wire.ShareTaken(receipt=b"r", replicas=0)))


async def nobody_listens(stream, pair):
    with trio.socket.socket() as unused:
        await unused.bind((HERE, 0))
        port = unused.getsockname()[1]
    assert not (await offered(stream, lane_at(port))).lane
    await take_inside(stream)


async def says_nothing(stream, pair):
    (listener,) = await trio.open_tcp_listeners(0, host=HERE)
    async with listener:
        assert not (await offered(stream, lane_at(listener.socket.getsockname()[1]))).lane
    await take_inside(stream)


async def does_not_know_the_key(stream, pair):
    async with pair.receiver.expect(bytes(32), 0, "sender") as expected:
        offer = wire.LaneOffer(
            port=expected.offer.port, ticket=expected.offer.ticket, key=bytes(32)
        )
        assert not (await offered(stream, offer)).lane
    await take_inside(stream)


async def no_port(stream, pair):
    assert not (await offered(stream, lane_at(0))).lane
    assert pair.dialled == []
    await take_inside(stream)


async def beyond_all_ports(stream, pair):
    assert not (await offered(stream, lane_at(1 << 20))).lane
    assert pair.dialled == []
    await take_inside(stream)


async def comes_with_a_wrong_key(stream, pair):
    chosen = await offered(stream, dials=True)
    ticket = chosen.offer.ticket
    terms = Terms(ticket=ticket, key=bytes(32), share=bytes(32), chunks=0, reverse=True)
    assert await DIALS.dial([HERE], chosen.offer.port, terms) is None
    await stream.send(wire.SHARE_WIRE.pack_answer(wire.Dialled(lane=False)))
    await take_inside(stream)


async def comes_as_if_it_listened(stream, pair):
    chosen = await offered(stream, dials=True)
    terms = Terms(ticket=chosen.offer.ticket, key=chosen.offer.key, share=bytes(32), chunks=0)
    assert await DIALS.dial([HERE], chosen.offer.port, terms) is None
    await stream.send(wire.SHARE_WIRE.pack_answer(wire.Dialled(lane=False)))
    await take_inside(stream)


async def claims_to_come(stream, pair):
    await offered(stream, dials=True)
    await stream.send(wire.SHARE_WIRE.pack_answer(wire.Dialled(lane=True)))
    await stream.receive()


async def answers_something_else(stream, pair):
    await offered(stream, dials=True)
    await stream.send(wire.SHARE_WIRE.pack_answer(wire.ShareTaken(receipt=b"r", replicas=0)))
    await stream.receive()


async def says_no_more(stream, pair):
    await offered(stream, dials=True)
    await stream.receive()


async def reads_nothing(stream, pair):
    async with pair.receiver.expect(bytes(32), 0, "sender") as expected:
        assert (await offered(stream, expected.offer)).lane
        await expected.wait()
        await stream.receive()


async def reads_in_drops(stream, pair):
    async with pair.receiver.expect(bytes(32), 0, "sender") as expected:
        assert (await offered(stream, expected.offer)).lane
        lane = await expected.wait()
        while await lane.receive_some(4096):  # noqa: ASYNC110 (it reads slowly)
            await trio.sleep(0.02)


async def hangs_up(stream, pair):
    async with pair.receiver.expect(bytes(32), 0, "sender") as expected:
        assert (await offered(stream, expected.offer)).lane
        await (await expected.wait()).receive_some(4096)
    await stream.receive()


async def refuses_in_the_middle(stream, pair):
    async with pair.receiver.expect(bytes(32), 0, "sender") as expected:
        assert (await offered(stream, expected.offer)).lane
        await (await expected.wait()).receive_some(4096)
        await stream.send(wire.SHARE_WIRE.pack_refusal(Refused("share.chunk")))
        await stream.receive()


def lane_at(port: int) -> wire.LaneOffer:
    return wire.LaneOffer(port=port, ticket=bytes(16), key=bytes(32))


RECEIVERS = {
    nobody_listens: None,
    says_nothing: None,
    does_not_know_the_key: None,
    no_port: None,
    beyond_all_ports: None,
    comes_with_a_wrong_key: None,
    comes_as_if_it_listened: None,
    claims_to_come: "share.unfinished",
    answers_something_else: "shape.mismatch",
    says_no_more: trio.TooSlowError,
    reads_nothing: trio.TooSlowError,
    reads_in_drops: trio.TooSlowError,
    hangs_up: trio.BrokenResourceError,
    refuses_in_the_middle: "share.chunk",
}
"""What a receiver does with an offer, and how the attempt ends: None: inside the stream."""


@pytest.fixture
async def pair(monkeypatch) -> AsyncIterator[Pair]:
    dialled = []

    async def connect(host, port):
        dialled.append((host, port))
        return await direct(host, port)

    for name, seconds in (("GREET_TIME", 0.3), ("ARRIVE_TIME", 0.3)):
        monkeypatch.setattr(bulk_lane, name, seconds)
    monkeypatch.setattr(share_way, "WAY_TIME", 0.3)
    monkeypatch.setattr(share_way, "STILL", 0.5)
    found = Pair(Lanes(HERE, connect=connect), Lanes(HERE, connect=direct), dialled)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.sender.run)
        nursery.start_soon(found.receiver.run)
        await trio.testing.wait_all_tasks_blocked()
        yield found
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("receiver", RECEIVERS, ids=lambda one: one.__name__)
async def test_a_hostile_receiver_costs_the_sender_one_attempt(pair, receiver):
    ends = RECEIVERS[receiver]
    ways = []
    async with memory_network() as network:
        alice, bob = network.join(ALICE), network.join(BOB)
        await alice.dial(bob.addresses()[0])

        async def serve(stream):
            with suppress(trio.BrokenResourceError):
                await receiver(stream, pair)

        bob.serve(wire.SHARE, serve)
        before = descriptors(), threads()
        stream = await alice.open(BOB, wire.SHARE)
        reach = Reach(dialable((), stream.host), pair.sender)
        with trio.fail_after(20):
            if ends is None:
                await upload(stream, parcel(), ways.append, reach)
                assert ways[0].way == "inside"
                assert ways[0].why
            else:
                with pytest.raises(Refused if isinstance(ends, str) else ends) as caught:
                    await upload(stream, parcel(), ways.append, reach)
                assert not isinstance(ends, str) or caught.value.code == ends
        assert {host for host, _ in pair.dialled} <= {HERE}
        network.leave(BOB)
        await until(lambda: places(pair.sender) == places(pair.receiver) == 0)
        await until(lambda: (descriptors(), threads()) == before)


@pytest.mark.parametrize(
    ("addresses", "reached", "hosts"),
    [
        ([], "10.0.0.1", ["10.0.0.1"]),
        ([], "", []),
        (["/ip4/10.0.0.1/tcp/1", "/dns4/a.example/tcp/2"], "10.0.0.1", ["10.0.0.1", "a.example"]),
        (["/ip4/127.0.0.1/tcp/22", "/ip6/::1/tcp/22"], "10.0.0.1", ["10.0.0.1"]),
        (["/ip4/0.0.0.0/tcp/22", "/ip4/169.254.169.254/tcp/80"], "10.0.0.1", ["10.0.0.1"]),
        (["/dns4/localhost/tcp/22", "/dns/x.localhost/tcp/22"], "10.0.0.1", ["10.0.0.1"]),
        (["/ip6/::ffff:127.0.0.1/tcp/22"], "10.0.0.1", ["10.0.0.1"]),
        (["/ip4/127.0.0.1/tcp/22", "nonsense"], "127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_a_lane_is_dialled_where_the_peer_itself_is(addresses, reached, hosts):
    assert dialable(addresses, reached) == hosts


async def test_who_dials_says_nothing_that_the_other_side_chose(pair):
    """A record may name a third party: what reaches it are 48 bytes that nobody could choose."""
    heard = []

    async def third(stream):
        while data := await stream.receive_some(4096):
            heard.append(data)

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, third, 0, host=HERE))
        port = listener.socket.getsockname()[1]
        ticket = b"FLUSHALL\r\nQUIT\r\n"
        terms = Terms(ticket=ticket, key=bytes(32), share=bytes(32), chunks=0)
        assert await pair.sender.dial([HERE], port, terms) is None
        nursery.cancel_scope.cancel()
    said = b"".join(heard)
    assert len(said) == 48
    assert b"FLUSHALL" not in said
