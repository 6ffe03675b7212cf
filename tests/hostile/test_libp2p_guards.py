"""One regression test for each way in which a peer could hurt a node through libp2p.

The numbers are those of the dangers found in py-libp2p 0.8.1 (shared design, "libp2p"); gossip has
its own file. Attackers speak raw bytes, or shake hands honestly and misbehave after it.
"""

import os
import random
import socket
import subprocess
import sys
import textwrap
import time

import pytest
import trio

from node.net.libp2p import secure
from node.net.libp2p.limits import LIMITS, Limits, Timeouts
from node.net.libp2p.yamux_stream import DATA, FIN, HEADER, PING, RST, SYN, WINDOW, WINDOW_UPDATE
from node.net.transport import FRAME_LIMIT, Closed, FrameTooLarge, Stalled, Unreachable
from tests.hostile.libp2p_attack import (
    HELLO,
    MIB,
    NOISE,
    ROOMY,
    ROOT,
    TCP,
    WS,
    attacker,
    connections,
    descriptors,
    nobody,
    port_of,
    resident,
    still_serves,
    throw,
    transport,
    until,
    victim,
)

pytestmark = pytest.mark.hostile


# --- garbage below the encryption --------------------------------------------------------------


async def test_garbage_before_and_during_the_handshake():
    chance = random.Random(3)  # noqa: S311
    cases = [[chance.randbytes(chance.randrange(1, 3000))] for _ in range(40)]
    cases += [
        [b""],
        [HELLO, b"\xff" * 20],
        [HELLO, b"\xff\xff\xff\xff\x7f" + b"x" * 100_000],
        [HELLO, (b"\x0b/" + b"a" * 9 + b"\n") * 2000],
        [HELLO, b"\x02\xff\n"],
        [HELLO, b"\x00" * 10],
        [HELLO, NOISE, b"\x00\x20zzzzz"],
        [HELLO, NOISE, b"\x00\x20" + bytes(32)],
        [HELLO, NOISE, b"\xff\xff" + os.urandom(65535)],
        [HELLO, NOISE, b"\x00\x00" * 10],
    ]
    async with victim([TCP, WS]) as node:
        for index in (0, 1):
            for case in cases:
                await throw(node, *case, index=index)


async def test_half_open_handshakes_lock_nobody_out():
    async with victim() as node:
        before = descriptors()
        held = [await trio.open_tcp_stream("127.0.0.1", port_of(node)) for _ in range(200)]
        for stream in held:
            await stream.send_all(HELLO + NOISE)
        await still_serves(node)
        assert descriptors() <= before + len(held) + LIMITS.handshakes + 5
        for stream in held:
            await stream.aclose()


async def test_only_noise_and_yamux_are_offered():
    async with victim() as node:
        for offer in (b"/plaintext/2.0.0", b"/secio/1.0.0", b"/tls/1.0.0"):
            stream = await trio.open_tcp_stream("127.0.0.1", port_of(node))
            async with stream:
                await stream.send_all(HELLO + bytes([len(offer) + 1]) + offer + b"\n")
                answer = b""
                while len(answer) < len(HELLO) + 4:
                    answer += await stream.receive_some(100)
                assert answer == HELLO + b"\x03na\n"


# --- yamux ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        (1, DATA, 0, 1, 0),
        (0, 9, 0, 1, 0),
        (0, WINDOW_UPDATE, SYN, 0, 0),
        (0, WINDOW_UPDATE, SYN, 2, 0),
        (0, DATA, 0, 7, 2**32 - 1),
    ],
    ids=["version", "kind", "stream-zero", "foreign-number", "four-gibibytes"],
)
async def test_broken_yamux_frames_end_their_connection_only(frame):
    async with victim() as node, attacker(node) as bad:
        await bad.wire.send(HEADER.pack(*frame))
        assert await bad.is_cut_off()


async def test_garbage_inside_the_encryption():
    chance = random.Random(4)  # noqa: S311
    async with victim() as node:
        for _ in range(30):
            async with attacker(node) as bad:
                await bad.wire.send(chance.randbytes(chance.randrange(1, 3000)))


async def test_danger_3_overrunning_a_receive_window_ends_the_connection():
    async with victim() as node, attacker(node) as bad:
        await bad.open(1, "/never")
        for _ in range(7):
            await bad.data(1, bytes(WINDOW // 8))
        await trio.sleep(0.2)
        [connection] = connections(node)
        assert connection.unread > WINDOW // 2  # all within the window: fine so far
        await bad.data(1, bytes(WINDOW // 8))
        assert await bad.is_cut_off()


async def test_unread_bytes_of_all_streams_are_bounded():
    limits = Limits(stranger_streams=1000)
    async with victim(limits=limits, admits=nobody) as node, attacker(node) as bad:
        sent = 0
        with trio.move_on_after(10):
            try:
                for number in range(1, 1000, 2):
                    await bad.open(number, "/never")
                    await bad.data(number, bytes(WINDOW // 2))
                    sent += WINDOW // 2
            except Exception:
                assert sent >= limits.stranger_unread
        assert await bad.is_cut_off()


async def test_data_for_streams_that_are_gone_is_dropped():
    async with victim(admits=nobody) as node, attacker(node) as bad:
        before = resident()
        for _ in range(100):
            await bad.data(12345, bytes(32 * 1024))
        await bad.frame(DATA, FIN | RST, 777, 0)
        await trio.sleep(0.2)
        [connection] = connections(node)
        assert (connection.unread, connection.busy) == (0, 0)
        assert resident() - before < 32 * MIB


async def test_a_flood_of_streams_is_refused_beyond_the_cap():
    async with victim(admits=nobody) as node, attacker(node) as bad:
        for number in range(1, 1001, 2):
            await bad.open(number, "/never")
        await trio.sleep(0.3)
        [connection] = connections(node)
        assert connection.busy == LIMITS.stranger_streams


async def test_opening_and_resetting_streams_fast_is_bounded():
    async with victim(admits=nobody) as node, attacker(node) as bad:
        before = resident()
        for number in range(1, 8001, 2):
            await bad.frame(WINDOW_UPDATE, SYN, number, 0)
            await bad.frame(WINDOW_UPDATE, RST, number, 0)
        await trio.sleep(0.3)
        assert all(each.busy == 0 for each in connections(node))
        assert resident() - before < 32 * MIB


async def test_asking_without_reading_the_answers_ends_the_connection():
    async with victim() as node, attacker(node) as bad:
        before = resident()
        with trio.move_on_after(20) as scope:
            try:
                while True:
                    pings = HEADER.pack(0, PING, SYN, 0, 1) * 5000
                    await bad.wire.send(pings)
            except Exception:
                assert resident() - before < 64 * MIB
        assert not scope.cancelled_caught


# --- streams ----------------------------------------------------------------------------------


async def test_danger_2_an_error_in_a_task_ends_its_stream_only():
    async def fail(stream):
        await stream.receive()
        raise RuntimeError("a bug of ours")

    async with victim() as node, transport(2, ()) as peer:
        node.serve("/fail", fail)
        await peer.dial(node.addresses()[0])
        stream = await peer.open(node.peer_id, "/fail")
        await stream.send(b"x")
        with pytest.raises(Closed):
            await stream.receive()


async def test_danger_4_a_reader_may_pause_longer_than_five_seconds():
    async def pause_first(stream):
        await trio.sleep(6)
        await stream.receive()
        await stream.receive()
        await stream.send(b"done")

    async with victim() as node, transport(2, ()) as peer:
        node.serve("/pause", pause_first)
        await peer.dial(node.addresses()[0])
        stream = await peer.open(node.peer_id, "/pause")
        await stream.send(bytes(FRAME_LIMIT))
        await stream.send(bytes(FRAME_LIMIT))
        assert await stream.receive() == b"done"


async def send_for_ever(stream):
    while True:
        await stream.send(bytes(FRAME_LIMIT))


async def test_danger_4_a_reader_that_stays_away_stalls_its_writer():
    timeouts = Timeouts(frame=0.4, idle=0.4)
    async with victim() as node, transport(2, (), timeouts=timeouts) as peer:
        await peer.dial(node.addresses()[0])
        stream = await peer.open(node.peer_id, "/never")
        with pytest.raises(Stalled):
            await send_for_ever(stream)
        silent = await peer.open(node.peer_id, "/never")
        with pytest.raises(Stalled):
            await silent.receive()
        assert len(connections(peer)) == 1


async def test_danger_5_a_cancelled_write_wedges_nothing():
    async with victim() as node, transport(2, ()) as peer:
        await peer.dial(node.addresses()[0])
        for _ in range(20):
            stream = await peer.open(node.peer_id, "/never")
            with trio.move_on_after(0.03):
                await send_for_ever(stream)
            with pytest.raises(Closed):
                await stream.send(b"after half a frame")
        stream = await peer.open(node.peer_id, "/echo")
        await stream.send(b"still well")
        assert await stream.receive() == b"still well"
        assert len(connections(peer)) == 1


async def test_danger_5_a_cancelled_read_loses_nothing():
    async with victim() as node, transport(2, ()) as peer:
        await peer.dial(node.addresses()[0])
        stream = await peer.open(node.peer_id, "/echo")
        frame = os.urandom(FRAME_LIMIT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send, frame)
            received = None
            while received is None:
                with trio.move_on_after(0.001):
                    received = await stream.receive()
        assert received == frame


async def test_danger_6_reset_and_kill_end_like_a_clean_end():
    async def say_and_reset(stream):
        await stream.receive()
        await stream.reset()

    async with victim() as node, transport(2, ()) as peer:
        node.serve("/reset", say_and_reset)
        await peer.dial(node.addresses()[0])
        stream = await peer.open(node.peer_id, "/reset")
        await stream.send(b"x")
        with pytest.raises(Closed):
            await stream.receive()
        stream = await peer.open(node.peer_id, "/echo")
        [connection] = connections(peer)
        connection.abort()
        with pytest.raises(Closed):
            await stream.receive()


async def test_frames_too_large_are_refused_before_they_are_read():
    async with victim() as node, attacker(node) as bad:
        heard = []

        async def listen(stream):
            try:
                await stream.receive(1000)
            except FrameTooLarge as error:
                heard.append(error.code)

        node.serve("/small", listen)
        await bad.open(1, "/small")
        await bad.data(1, (2**32 - 1).to_bytes(4, "big") + bytes(1000))
        await until(lambda: heard == ["net.frame-too-large"])


async def test_a_frame_dripped_byte_by_byte_is_cut_off():
    ended = []

    async def listen(stream):
        try:
            await stream.receive()
        except Stalled as error:
            ended.append(error.code)

    async with victim(timeouts=Timeouts(frame=0.5)) as node, attacker(node) as bad:
        node.serve("/slow", listen)
        await bad.open(1, "/slow")
        await bad.data(1, (1000).to_bytes(4, "big"))
        for _ in range(20):
            if not ended:
                await bad.data(1, b"x")
                await trio.sleep(0.05)
        assert ended == ["net.stalled"]


# --- connections ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TCP, WS])
async def test_danger_8_three_hundred_connections_come_and_go(kind):
    async with victim([kind], limits=ROOMY) as node:
        before = descriptors()
        for number in range(310):
            async with attacker(node, number % 250 + 2) as bad:
                await bad.frame(PING, SYN, 0, 1)
        await until(lambda: not connections(node))
        await until(lambda: descriptors() <= before + 2)


async def knock(node, header):
    """Return the status of a WebSocket handshake with one more header."""
    stream = await trio.open_tcp_stream("127.0.0.1", port_of(node))
    async with stream:
        await stream.send_all(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"{header}\r\n\r\n".encode()
        )
        return (await stream.receive_some(100)).split(b" ")[1]


async def test_danger_9_only_named_web_pages_may_connect():
    async with victim([WS], origins=["https://vault.example"]) as node:
        for origin in ("https://evil.example", "null", "https://vault.example.evil", "http:", ""):
            assert await knock(node, f"Origin: {origin}") == b"403"
        assert await knock(node, "Origin: https://vault.example") == b"101"
        assert await knock(node, "X-No-Browser: true") == b"101"
        both = "Origin: https://vault.example\r\nOrigin: https://evil.example"
        assert await knock(node, both) != b"101"


async def test_danger_9_one_address_gets_no_more_than_its_part():
    async with (
        victim(limits=Limits(per_address=3)) as node,
        attacker(node, 2),
        attacker(node, 3),
        trio.open_nursery() as nursery,
    ):
        async with attacker(node, 4):
            await until(lambda: len(connections(node)) == 3)
            async with attacker(node, 5) as fourth:
                assert await fourth.is_cut_off()
        await until(lambda: len(connections(node)) == 2)
        nursery.cancel_scope.cancel()


async def test_strangers_leave_room_for_members():
    members = set()
    limits = Limits(strangers=2, connections=4)
    async with transport(1, admits=members.__contains__, limits=limits) as node:  # noqa: SIM117
        async with attacker(node, 2), attacker(node, 3):
            await until(lambda: len(connections(node)) == 2)
            async with attacker(node, 4) as third:
                assert await third.is_cut_off()
            async with transport(5, ()) as honest:
                members.add(honest.peer_id)
                await honest.dial(node.addresses()[0])
                await until(lambda: len(connections(node)) == 3)


async def test_a_peer_that_connects_again_and_again_loses_its_oldest():
    async with victim() as node, attacker(node, 2) as first:  # noqa: SIM117
        async with attacker(node, 2), attacker(node, 2), attacker(node, 2), attacker(node, 2):
            assert await first.is_cut_off()
            assert len(connections(node)) == LIMITS.per_peer


async def test_danger_9_idle_sockets_lock_nobody_out():
    async with victim([WS]) as node:
        idle = [socket.create_connection(("127.0.0.1", port_of(node))) for _ in range(300)]
        await still_serves(node)
        for each in idle:
            each.close()


async def test_danger_10_a_frozen_peer_is_noticed():
    async with victim(timeouts=Timeouts(ping=0.3)) as node, attacker(node):
        await until(lambda: len(connections(node)) == 1)
        await until(lambda: not connections(node), 3)


async def test_danger_10_a_frozen_process_is_noticed():
    script = """
        import sys, trio
        from node.net.libp2p.host import libp2p_transport

        async def main():
            async with libp2p_transport(bytes([9]) * 32, [], lambda _: True) as node:
                await node.dial(sys.argv[1])
                print("connected", flush=True)
                await trio.sleep_forever()

        trio.run(main)
    """
    async with victim(timeouts=Timeouts(ping=0.4)) as node:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", textwrap.dedent(script), node.addresses()[0]],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            with trio.fail_after(15):
                assert await process.stdout.receive_some(100)
            await trio.sleep(2)
            assert len(connections(node)) == 1  # awake, it answers pings and stays
            process.send_signal(19)  # SIGSTOP
            await until(lambda: not connections(node), 3)
        finally:
            process.kill()
            await process.wait()
            await process.stdout.aclose()


async def test_danger_11_redials_of_one_peer_are_spaced():
    async with transport(1) as node, transport(2, ()) as peer:
        await peer.dial(node.addresses()[0])
        began = time.monotonic()
        for _ in range(3):
            for connection in connections(peer):
                connection.abort()
            await peer.dial(node.addresses()[0])
        assert time.monotonic() - began > 2.5 * Timeouts().backoff


async def test_a_dialled_host_that_lies_or_is_silent_ends_in_unreachable():
    async def lie(stream):
        await stream.send_all(os.urandom(2000))

    async def be_silent(_stream):
        await trio.sleep_forever()

    timeouts = Timeouts(dial=0.5)
    for behaviour in (lie, be_silent):
        async with transport(2, (), timeouts=timeouts) as peer, trio.open_nursery() as nursery:
            [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, behaviour, [listener])
            port = listener.socket.getsockname()[1]
            for suffix in ("", "/ws"):
                target = secure.Identity.from_seed(bytes([len(suffix) + 7]) * 32).peer
                with pytest.raises(Unreachable):
                    await peer.dial(f"/ip4/127.0.0.1/tcp/{port}{suffix}/p2p/{target}")
            nursery.cancel_scope.cancel()


async def test_credit_without_end_costs_nothing():
    async with victim() as node, attacker(node) as bad:
        await bad.open(1, "/echo")
        for _ in range(10):
            await bad.frame(WINDOW_UPDATE, 0, 1, 2**32 - 1)
        await bad.data(1, bytes(8))
        await trio.sleep(0.1)
        assert len(connections(node)) == 1
