"""One stream of a connection against a carrier that only notes: windows, turns, ends."""

import pytest
import trio
import trio.testing

from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import (
    FIN,
    HEADER,
    RST,
    WINDOW,
    WINDOW_UPDATE,
    MuxedStream,
    StreamBroken,
)

MIB = 1024 * 1024


class Carrier:
    def __init__(self):
        self.unread = 0
        self.peer_id = self.host = None
        self.said = []
        self.waiting = []

    def ready(self, stream):
        self.waiting.append(stream)

    def control(self, kind, flags, number, value):
        self.said.append((kind, flags, number, value))

    def forget(self, number):
        self.said.append(("forgotten", number))

    def abort(self):
        raise AssertionError

    def credit(self):
        return sum(value for kind, flags, _, value in self.said if (kind, flags) == (1, 0))


def deliver(stream, data):
    assert stream.admit(len(data))
    stream.deliver(memoryview(data))


def sent(stream):
    """The data of all frames that may go now."""
    data = b""
    while frame := stream.next_frame():
        _, kind, _, _, size = HEADER.unpack(frame[: HEADER.size])
        assert (kind, size) == (0, len(frame) - HEADER.size)
        data += frame[HEADER.size :]
    return data


# --- reading --------------------------------------------------------------------------------------


async def test_what_a_reader_waits_for_makes_room_before_it_is_whole():
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)
    frame = bytes(range(256)) * 4096
    async with trio.open_nursery() as nursery:
        got = []

        async def read():
            got.append(await stream.exactly(MIB))

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        for start in range(0, MIB, WINDOW // 4):
            deliver(stream, frame[start : start + WINDOW // 4])
            assert carrier.unread == 0
    assert got == [frame]
    assert carrier.credit() > MIB - WINDOW


async def test_what_nobody_waits_for_makes_no_room():
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)
    deliver(stream, bytes(WINDOW))
    assert carrier.unread == WINDOW
    assert not stream.admit(1)
    assert not carrier.credit()


async def test_a_cancelled_reader_loses_nothing_and_nothing_counts_twice():
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)
    for _ in range(5):
        deliver(stream, b"abc")
        with trio.move_on_after(0):
            await stream.exactly(100)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.exactly, 100)
            await trio.testing.wait_all_tasks_blocked()
            assert carrier.unread == 0
            deliver(stream, b"def")
            scope.cancel()
    deliver(stream, b"ghi")
    assert carrier.unread == 3
    assert await stream.exactly(21) == b"abc" * 5 + b"defghi"
    assert carrier.unread == 0


async def test_a_stream_dropped_within_a_frame_counts_nothing_that_still_comes():
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)
    deliver(stream, bytes(100))
    assert stream.admit(200)
    stream.deliver(memoryview(bytes(50)))
    stream.drop()
    stream.deliver(memoryview(bytes(150)))
    assert carrier.unread == 0
    with pytest.raises(WireClosed):
        await stream.exactly(1)


async def test_after_the_peers_end_what_came_can_still_be_read():
    stream = MuxedStream(Carrier(), 1)
    deliver(stream, b"last")
    stream.mark_ended()
    with pytest.raises(WireClosed):
        await stream.arrived(5)
    assert await stream.exactly(4) == b"last"


# --- writing --------------------------------------------------------------------------------------


async def test_a_writer_waits_until_all_has_left_and_the_window_holds():
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)
    data = bytes(range(256)) * 2048
    done = trio.Event()

    async def write():
        await stream.write(b"head", memoryview(data))
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        assert carrier.waiting == [stream]
        first = sent(stream)
        assert len(first) == WINDOW
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        stream.add_credit(2**32 - 1)
        assert carrier.waiting == [stream, stream]
        assert first + sent(stream) == b"head" + data
    assert done.is_set()


async def test_writers_take_turns_and_do_not_mix():
    stream = MuxedStream(Carrier(), 1)
    async with trio.open_nursery() as nursery:
        for letter in (b"a", b"b", b"c"):
            nursery.start_soon(stream.write, letter * 1000)
        left = b""
        while len(left) < 3000:
            await trio.testing.wait_all_tasks_blocked()
            left += sent(stream)
    assert sorted(left[start : start + 1000] for start in (0, 1000, 2000)) == [
        letter * 1000 for letter in (b"a", b"b", b"c")
    ]


async def test_a_cancelled_writer_leaves_nothing_to_send():
    stream = MuxedStream(Carrier(), 1)
    buffer = bytearray(WINDOW)
    with trio.move_on_after(0):
        await stream.write(memoryview(buffer))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, memoryview(buffer))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sent(stream) == b""
    buffer += b"is not held any more"


@pytest.mark.parametrize("end", ["close", "drop"])
async def test_after_our_end_no_data_follows_it(end):
    carrier = Carrier()
    stream = MuxedStream(carrier, 1)

    async def write():
        with pytest.raises(StreamBroken):
            await stream.write(bytes(WINDOW))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        assert stream.next_frame()
        if end == "close":
            await stream.close()
        else:
            stream.drop()
        assert stream.next_frame() == b""
    assert (WINDOW_UPDATE, FIN if end == "close" else RST, 1, 0) in carrier.said
