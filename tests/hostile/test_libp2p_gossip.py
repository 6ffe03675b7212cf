"""Hostile gossip: dangers 1 and 7 of py-libp2p 0.8.1, floods, and our own bugs."""

import contextlib
import os
import time

import pytest
import trio

from node.net.libp2p import secure
from node.net.libp2p.guards import Bucket
from node.net.libp2p.limits import Limits
from node.net.libp2p.stock import RPC
from node.net.libp2p.wire import WireClosed
from tests.hostile.libp2p_attack import (
    MIB,
    attacker,
    connections,
    nobody,
    resident,
    transport,
    until,
    victim,
)

pytestmark = pytest.mark.hostile


def framed(rpc):
    data = rpc if isinstance(rpc, bytes) else rpc.SerializeToString()
    size, prefix = len(data), b""
    while size >= 0x80:
        prefix += bytes([size & 0x7F | 0x80])
        size >>= 7
    return prefix + bytes([size]) + data


def message(from_id=b"", key=b"", signature=b"s", topic="t", data=b"x", seqno=bytes(8)):
    rpc = RPC()
    rpc.publish.add(
        data=data, topicIDs=[topic], from_id=from_id, seqno=seqno, signature=signature, key=key
    )
    return rpc


def control(**entries):
    rpc = RPC()
    for kind, entry in entries.items():
        getattr(rpc.control, kind).add(**entry)
    return rpc


def subscriptions(count, length=8):
    rpc = RPC()
    for number in range(count):
        rpc.subscriptions.add(subscribe=True, topicid=f"{number}".ljust(length, "x"))
    return rpc


def member():
    return secure.Identity.from_seed(bytes([66]) * 32).peer.to_bytes()


BAD_GOSSIP = {
    "garbage": os.urandom(300),
    "bad-key": message(from_id=b"\x12\x20" + os.urandom(32), key=b"garbage-key"),
    "empty-from": message(),
    "random-from": message(from_id=os.urandom(40), key=os.urandom(36)),
    "bad-signature": message(from_id=member(), signature=bytes(64)),
    "no-signature": message(from_id=member(), signature=b""),
    "long-message": message(from_id=member(), data=bytes(100_000)),
    "no-seqno": message(from_id=member(), seqno=b""),
    "sender-record": RPC(senderRecord=os.urandom(100)),
    "ihave": control(ihave={"topicID": "t", "messageIDs": [os.urandom(8)] * 50}),
    "ihave-flood": control(ihave={"topicID": "t", "messageIDs": [os.urandom(8)] * 20_000}),
    "iwant": control(iwant={"messageIDs": [b"zzzz"] * 5000}),
    "idontwant": control(idontwant={"messageIDs": [os.urandom(8)] * 5000}),
    "graft": control(graft={"topicID": "nope" * 100}),
    "prune": control(
        prune={
            "topicID": "t",
            "backoff": 2**60,
            "peers": [{"peerID": b"bad", "signedPeerRecord": b"bad"}],
        }
    ),
    "subscriptions": subscriptions(4000),
    "long-topic": subscriptions(1, 100_000),
}


@pytest.mark.parametrize("name", BAD_GOSSIP)
async def test_danger_1_malformed_gossip_ends_nobody_else(name):
    async with victim() as node, attacker(node) as bad:
        await bad.open(1, "/meshsub/1.1.0")
        await bad.data(1, framed(BAD_GOSSIP[name]))
        await trio.sleep(0.1)
        assert node._gossip._pubsub is not None
        topics = node._gossip._pubsub.peer_topics
        assert sum(len(name) for name in topics) < 40_000


async def test_danger_1_bad_lengths_of_gossip():
    async with victim() as node:
        for prefix in (b"\xff\xff\xff\xff\x0f", b"\xff" * 30, b"\xff\xff\x7f"):
            async with attacker(node) as bad:
                await bad.open(1, "/meshsub/1.1.0")
                await bad.data(1, prefix)
                assert await bad.is_cut_off()


async def test_strangers_cannot_gossip():
    async with victim(admits=nobody) as node, attacker(node) as bad:
        await bad.open(1, "/meshsub/1.1.0")
        await bad.data(1, framed(subscriptions(10)))
        await trio.sleep(0.2)
        assert not node._gossip._pubsub.peer_topics


async def test_a_gossip_flood_waits_for_its_rate(monkeypatch):
    taken = []

    async def count(_pubsub, _peer, message):
        taken.append(message.seqno)

    rpc = RPC()
    for number in range(600):
        rpc.publish.add(
            data=b"x",
            topicIDs=["t"],
            from_id=member(),
            seqno=number.to_bytes(8, "big"),
            signature=bytes(64),
        )
    limits = Limits(gossip_messages=100)  # bursts of 500, so these take a second
    async with victim(limits=limits) as node, attacker(node) as bad:
        monkeypatch.setattr(type(node._gossip._pubsub), "push_msg", count)
        await bad.open(1, "/meshsub/1.1.0")
        await bad.data(1, framed(rpc))
        await trio.sleep(0.6)
        assert not taken
        await until(lambda: len(taken) == 600, 3)


async def test_a_gossip_flood_beyond_the_window_is_cut_off():
    flood = framed(RPC(publish=[{"data": bytes(50_000), "topicIDs": ["t"]}] * 8))
    async with victim(limits=Limits(gossip_bytes=10_000)) as node, attacker(node) as bad:
        await bad.open(1, "/meshsub/1.1.0")
        before, sent = resident(), 0
        with trio.move_on_after(3), contextlib.suppress(WireClosed):
            while True:
                await bad.data(1, flood[:60_000])
                sent += 60_000
        assert sent < 64 * MIB
        assert resident() - before < 64 * MIB
        assert await bad.is_cut_off()


def test_buckets_make_their_user_wait():
    now = 0.0
    bucket = Bucket(10.0, 50.0, lambda: now)
    assert bucket.delay(50) == 0
    assert bucket.delay(10) == 1.0
    now = 100.0
    assert bucket.delay(60) == 1.0


async def test_the_gossip_engine_is_rebuilt_if_it_fails(monkeypatch):
    async with victim() as node:
        first = node._gossip._pubsub
        first.manager.run_task(_raise)
        await until(lambda: node._gossip._pubsub not in (None, first))
        assert "t" in node._gossip._pubsub.topic_ids


async def _raise():
    raise RuntimeError("a bug of libp2p")


async def test_an_error_of_a_gossip_receiver_is_not_blamed_on_a_peer():
    def fail(_peer, data):
        heard.append(data)
        raise RuntimeError("a bug of ours")

    heard = []
    async with victim() as node, transport(2, ()) as peer:
        node.subscribe("t", fail)
        peer.subscribe("t", lambda _peer, _data: None)
        await peer.dial(node.addresses()[0])
        with trio.fail_after(10):
            while len(heard) < 3:
                await peer.publish("t", os.urandom(8))
                await trio.sleep(0.2)
        assert len(connections(node)) == 1


async def test_danger_7_sequence_numbers_go_on_after_a_restart():
    async with victim() as node:
        assert abs(node._gossip._pubsub.counter - time.time_ns()) < 60 * 10**9
