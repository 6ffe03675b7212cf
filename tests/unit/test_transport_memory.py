import pytest
import trio
import trio.testing

from node.net.memory import Weather, memory_network
from node.net.peer_id import peer_id_of
from node.net.transport import (
    FRAME_LIMIT,
    GOSSIP_LIMIT,
    Closed,
    FrameTooLarge,
    NotAdmitted,
    Stalled,
    Unreachable,
)

ALICE, BOB, CAROL = (peer_id_of(bytes([n]) * 32) for n in (1, 2, 3))


async def echo(stream):
    while True:
        await stream.send(await stream.receive())


async def sleep_for_ever(stream):
    await trio.sleep_forever()


async def connected(network, task=echo, *, protocol="/echo"):
    alice, bob = network.join(ALICE), network.join(BOB)
    bob.serve(protocol, task)
    assert await alice.dial(bob.addresses()[0]) == BOB
    return alice, bob


async def test_frames_keep_their_order_and_bounds():
    async with memory_network() as network:
        alice, _ = await connected(network)
        stream = await alice.open(BOB, "/echo")
        assert stream.peer == BOB
        for frame in (b"", b"one", b"x" * FRAME_LIMIT):
            await stream.send(frame)
            assert await stream.receive() == frame


async def test_a_peer_is_reached_over_the_link_it_made():
    async with memory_network() as network:
        alice, bob = await connected(network)
        alice.serve("/back", echo)
        stream = await bob.open(ALICE, "/back")
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"


async def test_who_does_not_listen_cannot_be_dialled():
    async with memory_network() as network:
        alice, bob = network.join(ALICE), network.join(BOB, listens=False)
        assert bob.addresses() == ()
        with pytest.raises(Unreachable):
            await alice.open(BOB, "/echo")
        for address in ("/ip4/127.0.0.1/tcp/2/p2p/" + BOB, "/ip4/127.0.0.1/tcp/9"):
            with pytest.raises(Unreachable):
                await alice.dial(address)


async def test_only_admitted_peers_are_served_unless_all_are():
    async with memory_network() as network:
        alice = network.join(ALICE)
        bob = network.join(BOB, lambda peer: peer != ALICE)
        bob.serve("/members", echo)
        bob.serve("/all", echo, admit_all=True)
        await alice.dial(bob.addresses()[0])
        for protocol in ("/members", "/unknown"):
            with pytest.raises(NotAdmitted):
                await alice.open(BOB, protocol)
        stream = await alice.open(BOB, "/all")
        await stream.send(b"may I join?")
        assert await stream.receive() == b"may I join?"


async def test_too_large_frames_are_neither_sent_nor_received():
    async with memory_network() as network:
        alice, _ = await connected(network)
        stream = await alice.open(BOB, "/echo")
        with pytest.raises(FrameTooLarge):
            await stream.send(bytes(FRAME_LIMIT + 1))
        await stream.send(bytes(11))
        with pytest.raises(FrameTooLarge):
            await stream.receive(10)
        with pytest.raises(Closed):
            await stream.receive()


async def test_closing_delivers_what_was_sent_and_resetting_does_not():
    async with memory_network() as network:

        async def say_two(stream):
            await stream.send(b"1")
            await stream.send(b"2")

        alice, bob = await connected(network, say_two)
        stream = await alice.open(BOB, "/echo")
        assert [await stream.receive(), await stream.receive()] == [b"1", b"2"]
        with pytest.raises(Closed):
            await stream.receive()

        async def say_and_reset(stream):
            await stream.send(b"1")
            await stream.reset()

        bob.serve("/reset", say_and_reset)
        stream = await alice.open(BOB, "/reset")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Closed):
            await stream.receive()


async def test_a_sender_waits_for_its_reader_and_a_cancelled_one_resets():
    async with memory_network() as network:
        alice, _ = await connected(network, sleep_for_ever)
        stream = await alice.open(BOB, "/echo")
        sent = 0
        with trio.move_on_after(0):
            while sent < 1000:
                await stream.send(bytes(1000))
                sent += 1
        assert sent < 1000
        with pytest.raises(Closed):
            await stream.send(b"")


async def test_receiving_is_safe_to_cancel(autojump_clock):
    weather = Weather(latency=lambda a, b: 1.0)
    async with memory_network(weather) as network:
        alice, _ = await connected(network)
        stream = await alice.open(BOB, "/echo")
        await stream.send(b"late")
        for _ in range(5):
            with trio.move_on_after(0.3):
                await stream.receive()
                pytest.fail("two seconds of latency")
        assert await stream.receive() == b"late"


async def test_silence_stalls(autojump_clock):
    async with memory_network() as network:
        alice, _ = await connected(network, sleep_for_ever)
        stream = await alice.open(BOB, "/echo")
        with pytest.raises(Stalled):
            await stream.receive()


async def test_a_partition_breaks_streams_and_stops_dialling():
    whole = True
    weather = Weather(reaches=lambda a, b: whole)
    async with memory_network(weather) as network:
        alice, bob = await connected(network)
        stream = await alice.open(BOB, "/echo")
        whole = False
        with pytest.raises(Closed):
            await stream.send(b"")
        with pytest.raises(Unreachable):
            await alice.open(BOB, "/echo")
        with pytest.raises(Unreachable):
            await alice.dial(bob.addresses()[0])
        whole = True
        await (await alice.open(BOB, "/echo")).send(b"")


async def test_a_crash_breaks_streams():
    async with memory_network() as network:
        alice, _ = await connected(network)
        stream = await alice.open(BOB, "/echo")
        await trio.testing.wait_all_tasks_blocked()
        network.leave(BOB)
        with pytest.raises(Closed):
            await stream.receive()
        with pytest.raises(Unreachable):
            await alice.open(BOB, "/echo")


async def test_gossip_reaches_admitted_subscribers_once():
    heard = []
    lost = False
    async with memory_network(Weather(loses=lambda a, b: lost)) as network:
        alice, bob = network.join(ALICE), network.join(BOB, lambda peer: peer != CAROL)
        carol = network.join(CAROL)
        for node in (alice, bob):
            node.subscribe("t", lambda peer, data, me=node.peer_id: heard.append((me, peer, data)))
        await alice.publish("t", b"a")
        await carol.publish("t", b"c")
        await alice.publish("u", b"nobody")
        with pytest.raises(FrameTooLarge):
            await alice.publish("t", bytes(GOSSIP_LIMIT + 1))
        lost = True
        await alice.publish("t", b"lost")
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(heard) == sorted([(BOB, ALICE, b"a"), (ALICE, CAROL, b"c")])
