"""The sender's thread: what it costs when the other side does not read, and how it is freed."""

import socket
import threading
from collections.abc import AsyncIterator

import pytest
import trio

from node import share_upload, share_way, wire
from node.share_plain import plain_bytes
from node.share_upload import Parcel, Progress
from node.share_way import Beside
from protocol import keys, limits, shape
from protocol.kinds.share import ShareHeader
from protocol.sealing import wrap
from protocol.sealing.stream import AROUND, Opener, Sealer

KEY = bytes(range(32))
HEADER = shape.encode(
    ShareHeader(
        agreement=bytes(32),
        owner=keys.public(bytes(32)),
        dataset="vitals-v1",
        contract=bytes(32),
        commitment=wrap.commitment(KEY),
        salt=bytes(32),
    )
)
PLAIN = bytes(range(256)) * 4096 * 16
START = wire.Resume(chunks=0, chain=bytes(32), finished=False, lane=None)


def parcel(plain: bytes = PLAIN) -> Parcel:
    offer = wire.OfferShare(agreement=bytes(32), share=b"record")
    return Parcel(
        share=bytes(32),
        key=KEY,
        header=HEADER,
        offer=offer,
        open_plain=plain_bytes(plain),
    )


@pytest.fixture
async def ends() -> AsyncIterator[tuple[trio.SocketStream, socket.socket]]:
    """A lane, and the receiver's end of it."""
    ours, theirs = socket.socketpair()
    lane = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    yield lane, theirs
    await trio.aclose_forcefully(lane)
    theirs.close()


async def send(lane: trio.SocketStream, resume: wire.Resume = START) -> None:
    await share_upload._send(Beside(lane), parcel(), resume, lambda _: None)


def take(receiver: socket.socket, frames: list[bytes]) -> None:
    """Read frames until the sender hangs up."""
    with receiver.makefile("rb") as file:
        while head := file.read(4):
            frames.append(file.read(int.from_bytes(head, "big")))


async def test_all_of_it_arrives_and_opens(ends):
    lane, receiver = ends
    frames: list[bytes] = []
    thread = threading.Thread(target=take, args=(receiver, frames))
    thread.start()
    await send(lane)
    await trio.to_thread.run_sync(thread.join)
    opener = Opener(KEY, HEADER)
    assert b"".join(bytes(opener.feed(frame)) for frame in frames) == PLAIN
    assert opener.finished


async def test_a_receiver_that_does_not_read_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(share_way, "STILL", 0.1)
    with pytest.raises(trio.TooSlowError), trio.fail_after(10):
        await send(ends[0])


async def test_a_sender_that_waits_can_be_cancelled(ends):
    with trio.move_on_after(0.2) as scope:
        await send(ends[0])
    assert scope.cancelled_caught
    assert share_upload.THREADS.borrowed_tokens == 0


async def test_a_lane_that_breaks_is_said(ends):
    lane, receiver = ends
    receiver.close()
    with pytest.raises(trio.BrokenResourceError):
        await send(lane)


async def test_progress_tells_of_rate_and_time_left(monkeypatch):
    monkeypatch.setattr(share_upload.time, "monotonic", lambda: 14.0)
    progress = Progress(100, "lane", sent=60, started=10.0, passed_over=20)
    assert (progress.rate, progress.left) == (10.0, 4.0)
    assert Progress(100, "lane", sent=20, started=10.0, passed_over=20).left is None


def test_a_reused_buffer_seals_the_same_frames():
    whole, reused = (Sealer(KEY, HEADER) for _ in range(2))
    assert whole.segment(b"s" * 32) == reused.segment(b"s" * 32)
    buffer = memoryview(bytearray(limits.CHUNK + AROUND))
    for piece, last in ((b"first", False), (b"2", False), (b"the last", True)):
        assert whole.chunk(piece, last) == reused.chunk_into(buffer, piece, last)
    assert whole.end() == reused.end()
