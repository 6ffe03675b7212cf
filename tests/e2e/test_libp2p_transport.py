"""Two and more real transports over loopback sockets, and a stock py-libp2p peer."""

import hashlib
import os
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from node.net.libp2p.host import libp2p_transport
from node.net.libp2p.limits import Timeouts
from node.net.peer_id import peer_id_of
from node.net.transport import (
    FRAME_LIMIT,
    GOSSIP_LIMIT,
    Closed,
    FrameTooLarge,
    NotAdmitted,
    Unreachable,
)

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
TCP, WS = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"
MIB = 1024 * 1024


def everybody(_peer):
    return True


async def echo(stream):
    while True:
        await stream.send(await stream.receive())


def transport(number, listen=(TCP,), admits=everybody, **options):
    return libp2p_transport(bytes([number]) * 32, listen, admits, **options)


@asynccontextmanager
async def pair(listen=(TCP,), **options):
    async with transport(1, listen, **options) as alice, transport(2, ()) as bob:
        alice.serve("/echo", echo)
        yield alice, bob


async def until(condition, seconds=30.0):
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what is watched has no event
            await trio.sleep(0.02)


@pytest.mark.parametrize("listen", [TCP, WS])
async def test_frames_over_each_kind_of_address(listen):
    async with pair([listen]) as (alice, bob):
        assert await bob.dial(alice.addresses()[0]) == alice.peer_id
        stream = await bob.open(alice.peer_id, "/echo")
        assert stream.peer == alice.peer_id
        for frame in (b"", b"one", os.urandom(FRAME_LIMIT)):
            await stream.send(frame)
            assert await stream.receive() == frame
        await stream.close()
        with pytest.raises(Closed):
            await stream.receive()


async def test_who_only_dials_is_reached_over_its_own_connection():
    async with pair() as (alice, bob):
        bob.serve("/back", echo)
        assert bob.addresses() == ()
        await bob.dial(alice.addresses()[0])
        stream = await alice.open(bob.peer_id, "/back")
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_the_peer_id_is_the_one_of_the_key():
    from nacl.signing import SigningKey

    async with transport(7, ()) as node:
        assert node.peer_id == peer_id_of(bytes(SigningKey(bytes([7]) * 32).verify_key))


async def test_another_identity_at_an_address_is_refused():
    async with pair() as (alice, bob), transport(3, ()) as carol:
        place = alice.addresses()[0].split("/p2p/")[0]
        for address in (f"{place}/p2p/{carol.peer_id}", place, f"{place}/p2p/{bob.peer_id}"):
            with pytest.raises(Unreachable):
                await bob.dial(address)


async def test_nobody_at_an_address_is_unreachable_and_waiters_share_the_news():
    async with transport(2, ()) as bob:
        failures = []

        async def try_it():
            with pytest.raises(Unreachable) as caught:
                await bob.dial(f"/ip4/127.0.0.1/tcp/9/p2p/{peer_id_of(bytes(32))}")
            failures.append(str(caught.value))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(try_it)
        assert len(failures) == 20


async def test_a_second_daemon_on_a_port_fails_to_start():
    async with transport(1) as alice:
        taken = alice.addresses()[0].split("/p2p/")[0]
        with pytest.raises(Unreachable, match="cannot listen"):
            async with transport(2, [taken]):
                pytest.fail("one port, two daemons")


async def test_only_admitted_peers_are_served_unless_all_are():
    async with pair(admits=lambda _peer: False) as (alice, bob):
        alice.serve("/all", echo, admit_all=True)
        await bob.dial(alice.addresses()[0])
        for protocol in ("/echo", "/unknown", "/meshsub/1.1.0"):
            with pytest.raises(NotAdmitted):
                await bob.open(alice.peer_id, protocol)
        stream = await bob.open(alice.peer_id, "/all")
        await stream.send(b"may I join?")
        assert await stream.receive() == b"may I join?"


async def test_admission_is_followed_while_connected():
    members, heard = set(), []
    async with pair(admits=members.__contains__) as (alice, bob):
        for node in (alice, bob):
            node.subscribe("t", lambda _peer, data: heard.append(data))
        await bob.dial(alice.addresses()[0])
        stream = None
        members.add(bob.peer_id)
        with trio.fail_after(10):
            while b"in" not in heard:
                await bob.publish("t", b"in")
                await trio.sleep(0.2)
        stream = await bob.open(alice.peer_id, "/echo")
        members.clear()
        with trio.fail_after(5), pytest.raises(Closed):
            await stream.receive()


async def test_redials_a_peer_that_came_back():
    async with transport(2, ()) as bob:
        async with transport(1) as alice:
            alice.serve("/echo", echo)
            address = alice.addresses()[0]
            await bob.dial(address)
            stream = await bob.open(alice.peer_id, "/echo")
        with pytest.raises(Closed):
            await stream.receive()
        with pytest.raises(Unreachable):
            await bob.open(alice.peer_id, "/echo")
        async with transport(1, [address.split("/p2p/")[0]]) as alice:
            alice.serve("/echo", echo)
            stream = await bob.open(alice.peer_id, "/echo")
            await stream.send(b"again")
            assert await stream.receive() == b"again"


async def test_bulk_is_fast_and_presses_back():
    async with pair() as (alice, bob):
        received, go_on = [], trio.Event()

        async def sink(stream):
            await go_on.wait()
            for _ in range(100):
                received.append(len(await stream.receive()))  # noqa: PERF401
            await stream.send(b"all")

        alice.serve("/sink", sink)
        await bob.dial(alice.addresses()[0])
        stream = await bob.open(alice.peer_id, "/sink")
        sent = 0

        async def send_all():
            nonlocal sent
            chunk = os.urandom(MIB)
            for _ in range(100):
                await stream.send(chunk)
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            await trio.sleep(0.5)
            assert sent < 4  # a window and the sockets' buffers, no more
            go_on.set()
            assert await stream.receive() == b"all"
        assert received == [MIB] * 100


async def test_many_streams_at_once():
    async with pair() as (alice, bob):
        await bob.dial(alice.addresses()[0])
        done = 0

        async def one(number):
            nonlocal done
            stream = await bob.open(alice.peer_id, "/echo")
            frame = os.urandom(10_000 + number)
            await stream.send(frame)
            assert await stream.receive() == frame
            await stream.close()
            done += 1

        for _ in range(5):
            async with trio.open_nursery() as nursery:
                for number in range(100):
                    nursery.start_soon(one, number)
        assert done == 500


async def test_gossip_is_forwarded_and_survives_a_restart():
    heard = []
    async with transport(1) as alice, transport(2) as bob:
        alice.subscribe("t", lambda peer, data: heard.append((peer, data)))
        bob.subscribe("t", lambda _peer, _data: None)
        await bob.dial(alice.addresses()[0])
        for word in (b"first", b"second"):  # the same key restarts within a second
            async with transport(3, ()) as carol:
                carol.subscribe("t", lambda _peer, _data: None)
                await carol.dial(bob.addresses()[0])
                with trio.fail_after(10):
                    while (carol.peer_id, word) not in heard:
                        await carol.publish("t", word)
                        await trio.sleep(0.2)
                with pytest.raises(FrameTooLarge):
                    await carol.publish("t", bytes(GOSSIP_LIMIT + 1))


async def test_gossip_passes_a_listener_by_that_may_not_hear_it_any_more():
    """Carol stays connected and subscribed; neither the speaker nor the forwarder tells her."""
    heard = {1: [], 2: [], 3: []}
    may = set()
    async with transport(1) as alice, transport(2) as bob, transport(3, ()) as carol:
        for number, node in ((1, alice), (2, bob), (3, carol)):
            listen = heard[number].append
            hears = may.__contains__
            node.subscribe("t", lambda _peer, data, listen=listen: listen(data), hears)
        may |= {alice.peer_id, bob.peer_id, carol.peer_id}
        await bob.dial(alice.addresses()[0])
        await carol.dial(bob.addresses()[0])
        await carol.dial(alice.addresses()[0])
        with trio.fail_after(10):
            while b"before" not in heard[3] or b"before" not in heard[2]:
                await alice.publish("t", b"before")
                await trio.sleep(0.2)
        may.discard(carol.peer_id)
        for number in range(3):
            await alice.publish("t", b"after %d" % number)
        await until(lambda: b"after 2" in heard[2])
        await carol.publish("t", b"asks")
        await until(lambda: b"asks" in heard[1] and b"asks" in heard[2])
        await trio.sleep(1.5)  # a heartbeat, with its offers of what was missed
        assert not {one for one in heard[3] if one.startswith(b"after")}


async def test_gossip_takes_a_burst_of_an_honest_forwarder():
    heard = []
    async with pair() as (alice, bob):
        alice.subscribe("t", lambda _peer, data: heard.append(data))
        bob.subscribe("t", lambda _peer, _data: None)
        await bob.dial(alice.addresses()[0])
        with trio.fail_after(10):
            while b"ready" not in heard:
                await bob.publish("t", b"ready")
                await trio.sleep(0.2)
        for number in range(200):
            await bob.publish("t", b"%d" % number)
            await trio.sleep(0.01)
        await until(lambda: len(set(heard)) == 201)


def run(script, *arguments, seconds=30):
    return subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        check=False,
    )


def test_idle_it_is_small_and_it_stops_quickly_without_a_word():
    ended = run(
        """
        import time, trio
        from pathlib import Path
        from node.net.libp2p.host import libp2p_transport

        async def main():
            listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"]
            async with libp2p_transport(bytes(32), listen, lambda _: True) as alice:
                async with libp2p_transport(bytes([1]) * 32, [], lambda _: True) as bob:
                    for node in (alice, bob):
                        node.subscribe("t", lambda *_: None)
                    for address in alice.addresses():
                        await bob.dial(address)
                    await trio.sleep(1.5)
                    status = Path("/proc/self/status").read_text()
                    kilobytes = int(status.split("VmRSS:")[1].split()[0])
                    began = time.monotonic()
            print(kilobytes, time.monotonic() - began)

        trio.run(main)
        """
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    kilobytes, seconds = map(float, ended.stdout.split())
    assert kilobytes < 95_000
    assert seconds < 20  # it was left, and did not hang


STOCK_PEER = """
    import sys, trio
    from node.net.libp2p import fastecdsa_stand_in
    fastecdsa_stand_in.install()
    import libp2p
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as x25519
    from libp2p.io.utils import read_exactly
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.pubsub.gossipsub import GossipSub
    from libp2p.pubsub.pubsub import Pubsub
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.stream_muxer.yamux.yamux import Yamux
    from libp2p.tools.anyio_service import background_trio_service
    from multiaddr import Multiaddr

    async def echo(stream):
        head = await read_exactly(stream, 4)
        await stream.write(head + await read_exactly(stream, int.from_bytes(head, "big"), 10**6))
        await stream.close()

    async def main():
        keys = create_new_key_pair(bytes([9]) * 32)
        host = libp2p.new_host(
            key_pair=keys,
            sec_opt={PROTOCOL_ID: Transport(keys, noise_privkey=x25519().private_key)},
            muxer_opt={"/yamux/1.0.0": Yamux},
            listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")],
        )
        host.set_stream_handler("/echo", echo)
        async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            router = GossipSub(["/meshsub/1.1.0"], 6, 4, 12, heartbeat_interval=1)
            pubsub = Pubsub(host, router)
            async with background_trio_service(pubsub), background_trio_service(router):
                await pubsub.wait_until_ready()
                topic = await pubsub.subscribe("t")
                info = info_from_p2p_addr(Multiaddr(sys.argv[1]))
                await host.connect(info)
                stream = await host.new_stream(info.peer_id, ["/echo"])
                word = bytes(300_000)
                await stream.write(len(word).to_bytes(4, "big") + word)
                assert await read_exactly(stream, 4 + len(word), 10**6) == bytes(
                    len(word).to_bytes(4, "big") + word
                )
                print("echoed", flush=True)
                while True:
                    message = await topic.get()
                    await pubsub.publish("t", b"heard " + message.data)

    trio.run(main)
"""


async def test_speaks_with_a_stock_libp2p_peer():
    heard = []
    async with transport(1) as alice:
        alice.serve("/echo", echo)
        alice.subscribe("t", lambda _peer, data: heard.append(data))
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", textwrap.dedent(STOCK_PEER), alice.addresses()[0]],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        try:
            with trio.fail_after(30):
                assert (await process.stdout.receive_some(100)).startswith(b"echoed")
                [peer] = [str(each.peer_id) for each in alice._links._doors.all()]
                stream = await alice.open(peer, "/echo")
                word = os.urandom(700_000)
                await stream.send(word)
                assert await stream.receive() == word
                while b"heard hello" not in heard:
                    await alice.publish("t", b"hello")
                    await trio.sleep(0.3)
        finally:
            process.kill()
            await process.wait()
            await process.stdout.aclose()


STOCK_BULK = """
    import hashlib, os, sys, trio
    from node.net.libp2p import fastecdsa_stand_in
    fastecdsa_stand_in.install()
    import libp2p
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.crypto.x25519 import create_new_key_pair as x25519
    from libp2p.io.utils import read_exactly
    from libp2p.peer.peerinfo import info_from_p2p_addr
    from libp2p.security.noise.transport import PROTOCOL_ID, Transport
    from libp2p.stream_muxer.yamux.yamux import Yamux
    from multiaddr import Multiaddr

    async def up(host, peer):
        stream, state = await host.new_stream(peer, ["/up"]), hashlib.sha256()
        for _ in range(int(sys.argv[2])):
            frame = os.urandom(int(sys.argv[3]))
            state.update(frame)
            await stream.write(len(frame).to_bytes(4, "big") + frame)
        assert await read_exactly(stream, 36, 10**6) == bytes([0, 0, 0, 32]) + state.digest()

    async def down(host, peer):
        stream, state = await host.new_stream(peer, ["/down"]), hashlib.sha256()
        for _ in range(int(sys.argv[2])):
            size = int.from_bytes(await read_exactly(stream, 4, 10**6), "big")
            state.update(await read_exactly(stream, size, 10**6))
        await stream.write(bytes([0, 0, 0, 32]) + state.digest())
        assert await read_exactly(stream, 5, 10**6) == bytes([0, 0, 0, 1, 1])

    async def main():
        keys = create_new_key_pair(bytes([9]) * 32)
        host = libp2p.new_host(
            key_pair=keys,
            sec_opt={PROTOCOL_ID: Transport(keys, noise_privkey=x25519().private_key)},
            muxer_opt={"/yamux/1.0.0": Yamux},
        )
        async with host.run([]):
            info = info_from_p2p_addr(Multiaddr(sys.argv[1]))
            await host.connect(info)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(up, host, info.peer_id)
                nursery.start_soon(down, host, info.peer_id)
            print("same", flush=True)

    trio.run(main)
"""


async def test_bulk_goes_both_ways_at_once_with_a_stock_libp2p_peer():
    """Many windows' worth: the two sides account for windows alike."""
    frames, agreed = 12, []

    async def up(stream):
        state = hashlib.sha256()
        for _ in range(frames):
            state.update(await stream.receive())
        await stream.send(state.digest())

    async def down(stream):
        state = hashlib.sha256()
        for _ in range(frames):
            frame = os.urandom(FRAME_LIMIT)
            state.update(frame)
            await stream.send(frame)
        agreed.append(await stream.receive() == state.digest())
        await stream.send(b"\x01")

    async with transport(1) as alice:
        alice.serve("/up", up)
        alice.serve("/down", down)
        script = textwrap.dedent(STOCK_BULK)
        arguments = [alice.addresses()[0], str(frames), str(FRAME_LIMIT)]
        with trio.fail_after(60):
            ended = await trio.run_process(
                [sys.executable, "-c", script, *arguments],
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
                check=False,
            )
    assert ended.stdout == b"same\n"
    assert agreed == [True]


async def test_a_killed_peer_looks_like_an_ended_stream():
    async with transport(1, timeouts=Timeouts(ping=0.5)) as alice:
        alice.serve("/echo", echo)
        script = """
            import sys, trio
            from node.net.libp2p.host import libp2p_transport

            async def main():
                async with libp2p_transport(bytes([9]) * 32, [], lambda _: True) as node:
                    node.serve("/back", lambda stream: trio.sleep_forever())
                    await node.dial(sys.argv[1])
                    sys.stdout.write(node.peer_id)
                    sys.stdout.flush()
                    await trio.sleep_forever()

            trio.run(main)
        """
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", textwrap.dedent(script), alice.addresses()[0]],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        try:
            with trio.fail_after(15):
                peer = (await process.stdout.receive_some(100)).decode().strip()
                # Who dials knows of the connection a moment before who is dialled.
                await until(lambda: alice._links.of(peer))
                stream = await alice.open(peer, "/back")
                process.kill()
                with pytest.raises(Closed):
                    await stream.receive()
                with pytest.raises(Closed):
                    await stream.send(b"")
        finally:
            process.kill()
            await process.wait()
            await process.stdout.aclose()
