"""A secured connection over pipes in memory: how bytes become messages, and whose turn it is."""

import os
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from node.net.libp2p.secure import Identity, inbound, outbound
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux import Connection
from node.net.libp2p.yamux_stream import DATA, HEADER, PING, SYN, WINDOW_UPDATE

MESSAGE = 65_519
NOISE_MOST = 65_535


class Pipe:
    """One end; `sent` is all that went out of it."""

    remote = "here"

    def __init__(self):
        self.sent = []
        self._out, self._in = trio.open_memory_channel(1000)

    def join(self, other):
        self._in, other._in = other._in, self._in

    async def receive(self):
        try:
            return await self._in.receive()
        except trio.EndOfChannel:
            raise WireClosed("ended") from None

    async def send(self, data):
        self.sent.append(bytes(data))
        await self._out.send(bytes(data))

    async def close(self):
        self._out.close()


@asynccontextmanager
async def wires():
    """Two ends that shook hands."""
    ours, theirs, ends = Pipe(), Pipe(), {}
    ours.join(theirs)
    mine, other = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2))

    async def dial():
        ends["ours"] = await outbound(ours, mine, str(other.peer))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        ends["theirs"] = await inbound(theirs, other)
    ours.sent.clear()
    yield ends["ours"], ends["theirs"], ours


def messages(raw):
    """The lengths of the Noise messages in what was sent."""
    found = []
    while raw:
        size = int.from_bytes(raw[:2], "big")
        found.append(size)
        raw = raw[2 + size :]
    return found


async def test_each_piece_begins_a_message_and_all_leave_at_once():
    async with wires() as (ours, theirs, pipe):
        await ours.send(b"a", bytes(MESSAGE), b"c")
        [sent] = pipe.sent
        assert messages(sent) == [17, NOISE_MOST, 17]
        assert await theirs.exactly(MESSAGE + 2) == b"a" + bytes(MESSAGE) + b"c"


async def test_what_is_longer_than_a_message_is_cut():
    async with wires() as (ours, theirs, pipe):
        data = os.urandom(3 * MESSAGE + 1)
        await ours.send(data)
        assert messages(pipe.sent[0]) == [NOISE_MOST] * 3 + [17]
        assert await theirs.exactly(len(data)) == data


async def test_what_was_changed_under_way_ends_the_connection():
    async with wires() as (ours, theirs, pipe):
        await ours.send(b"a", b"b")
        whole = bytearray(await theirs._bare.exactly(len(pipe.sent[0])))
        whole[25] ^= 1
        theirs._bare._reader._rest = memoryview(whole)
        assert await theirs.exactly(1) == b"a"
        with pytest.raises(WireClosed):
            await theirs.exactly(1)


async def turns_during(read):
    """How often another task ran while `read` did."""
    turns = 0

    async def count():
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await read()
        nursery.cancel_scope.cancel()
    return turns


async def test_messages_with_nothing_in_them_do_not_take_all_turns():
    async with wires() as (ours, theirs, _pipe):
        empty = [ours._noise.encrypt(b"") for _ in range(2000)]
        await ours._bare.write(b"".join(len(one).to_bytes(2, "big") + one for one in empty))
        await ours.send(b"x")
        assert await turns_during(lambda: theirs.exactly(1)) > 100


def muxed(wire, nursery, accept=None):
    return Connection(
        wire, wire.peer_id, outbound=accept is None, member=True, accept=accept, tasks=nursery,
        streams=10, unread=1 << 20, ping=15.0,
    )  # fmt: skip


async def test_tiny_frames_do_not_take_all_turns():
    async with wires() as (ours, theirs, _pipe), trio.open_nursery() as nursery:
        connection = muxed(theirs, nursery)
        await ours.send(HEADER.pack(0, WINDOW_UPDATE, 0, 9, 0) * 5000)
        await ours.send(HEADER.pack(0, 3, 0, 0, 0))
        assert await turns_during(connection.run) > 15


async def test_streams_of_a_connection_take_turns_frame_by_frame():
    async with wires() as (ours, theirs, _pipe), trio.open_nursery() as nursery:
        connection = muxed(ours, nursery)
        for _ in range(3):
            stream = connection.open_stream()
            nursery.start_soon(stream.write, bytes(200_000))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(connection.run)
        numbers = []
        while len(numbers) < 9:
            _, kind, flags, number, size = HEADER.unpack(await theirs.exactly(HEADER.size))
            if kind == DATA:
                await theirs.exactly(size)
                numbers.append(number)
            else:
                assert flags == SYN
        assert sorted(numbers[:3]) == [1, 3, 5]
        assert numbers == numbers[:3] * 3
        nursery.cancel_scope.cancel()


async def test_answers_pass_by_data_that_waits():
    async with wires() as (ours, theirs, _pipe), trio.open_nursery() as nursery:
        connection = muxed(ours, nursery)
        nursery.start_soon(connection.open_stream().write, bytes(200_000))
        await trio.testing.wait_all_tasks_blocked()
        connection.control(PING, SYN, 0, 7)
        nursery.start_soon(connection.run)
        kinds = [HEADER.unpack(await theirs.exactly(HEADER.size))[1] for _ in range(3)]
        assert kinds == [WINDOW_UPDATE, PING, DATA]
        nursery.cancel_scope.cancel()
