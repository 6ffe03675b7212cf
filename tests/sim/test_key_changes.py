"""Nodes whose keys change: others learn it, thieves are shut out, a second node helps."""

import secrets
import time
from contextlib import AsyncExitStack
from pathlib import Path

from node import identities
from node.happenings import Happenings
from node.keyring import Keyring, new_seeds, open_keyring, sign_identity
from node.net.memory import memory_network
from node.pipeline import Pipeline
from node.world import World
from protocol import keys, record
from protocol.identity import History, open_identity
from protocol.kinds.identity import KeyRequest, Pin
from protocol.kinds.space import Review
from tests.sim.nodes import Peer, eventually, open_journal, peer
from tests.sim.test_session import address, found_by, space

NOW = int(time.time())
SEEDS = {name: new_seeds() for name in "abc"}
REVIEW = Review(bundle=bytes(32), verdict="approved", text="sound")


def ring(name: str) -> Keyring:
    return open_keyring(SEEDS[name], sign_identity(SEEDS[name], name, NOW))


async def found(stack: AsyncExitStack, network: object, folder: Path) -> list[Peer]:
    return await found_by(stack, network, folder, [ring(name) for name in "abc"])


def request(one: Peer, seed: bytes, *pins: Pin) -> KeyRequest:
    ring_ = one.keyring
    return KeyRequest(
        identity=ring_.me.raw,
        node=keys.public(ring_.node),
        record=keys.public(seed),
        old=keys.public(ring_.record),
        pins=pins,
    )


def history(one: Peer, of: Peer) -> History:
    return space(one).histories[of.keyring.did]


async def replace_key(one: Peer, name: str, reason: str, *pins: Pin) -> bytes:
    """The peer signs with another key from now on; the seed of the old one."""
    old, new = one.keyring.record, secrets.token_bytes(32)
    plan = identities.replaced(
        one.keyring.me, request(one, new, *pins), reason, pinned=reason == "stolen"
    )
    raw = identities.sign_next(SEEDS[name]["root"], one.keyring.me, plan, NOW)
    await one.pipeline.adopt(open_identity(raw), new)
    return old


async def test_a_rotated_key_is_known_everywhere_and_signs_on(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path)
        a, topic = peers[0], space(peers[0]).id
        before = await a.pipeline.publish(topic, "review", REVIEW)
        await replace_key(a, "a", "rotated")
        after = await a.pipeline.publish(topic, "review", REVIEW)
        assert after.key != before.key
        assert after.said > before.said
        await eventually(
            lambda: all({before.id, after.id} <= {r.id for r, _ in space(p).reviews} for p in peers)
        )
        assert all(history(p, a).participant == a.keyring.me for p in peers)


async def test_what_a_thief_signed_falls_also_where_it_was_taken(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path)
        a, b, topic = peers[0], peers[1], space(peers[0]).id
        mine = await a.pipeline.publish(topic, "review", REVIEW)
        await eventually(lambda: all(len(space(p).reviews) == 1 for p in peers))
        forged = record.sign(
            a.keyring.record,
            topic=topic,
            author=a.keyring.did,
            kind="review",
            body=REVIEW,
            place=b.world.rooms[topic].feeds.place(mine.key),
            at=NOW,
            salt=bytes(16),
        )
        taken = await b.pipeline.take([forged.raw])
        assert taken.new == 1
        await eventually(lambda: any(len(space(p).reviews) == 2 for p in peers))
        pin = Pin(topic=topic, seq=mine.seq, head=mine.id)
        await replace_key(a, "a", "stolen", pin)
        await eventually(lambda: all(history(p, a).participant.revision == 1 for p in peers))
        await eventually(
            lambda: all([r.id for r, _ in space(p).reviews] == [mine.id] for p in peers)
        )
        assert (await b.pipeline.take([forged.raw])).refused == ["identity.retired"]
        fresh = await a.pipeline.publish(topic, "review", REVIEW)
        await eventually(
            lambda: all(fresh.id in {r.id for r, _ in space(p).reviews} for p in peers)
        )


async def test_the_void_stays_void_after_a_restart(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path)
        a, topic = peers[0], space(peers[0]).id
        mine = await a.pipeline.publish(topic, "review", REVIEW)
        await a.pipeline.publish(topic, "review", REVIEW)
        await eventually(lambda: all(len(space(p).reviews) == 2 for p in peers))
        await replace_key(a, "a", "stolen", Pin(topic=topic, seq=mine.seq, head=mine.id))
        await eventually(lambda: all(len(space(p).reviews) == 1 for p in peers))
    own = ring("c")
    pipeline = Pipeline(open_journal(tmp_path / "c"), own, World(own.me), Happenings())
    pipeline.restore()
    assert [one.id for one, _ in next(pipeline.world.spaces()).reviews] == [mine.id]
    await pipeline.close()


async def test_a_second_node_shares_the_work_and_never_votes(tmp_path: Path) -> None:
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = await found(stack, network, tmp_path)
        a, topic = peers[0], space(peers[0]).id
        seeds = new_seeds()
        asked = KeyRequest(
            identity=a.keyring.me.raw,
            node=keys.public(seeds["node"]),
            record=keys.public(seeds["record"]),
        )
        plan = identities.added(a.keyring.me, asked)
        raw = identities.sign_next(SEEDS["a"]["root"], a.keyring.me, plan, NOW)
        await a.pipeline.adopt(open_identity(raw), a.keyring.record)
        await eventually(lambda: all(history(p, a).participant.revision == 1 for p in peers))
        twin_ring = open_keyring(seeds, raw)
        assert not twin_ring.votes
        known = (address(peers[1].keyring, 2),)
        twin = await stack.enter_async_context(peer(network, tmp_path / "twin", twin_ring, known))
        await twin.pipeline.open(space(a).opening.raw, invited=True)
        await eventually(lambda: space(twin).founded)
        said = await twin.pipeline.publish(topic, "review", REVIEW)
        await eventually(lambda: all(said.id in {r.id for r, _ in space(p).reviews} for p in peers))
        for one in peers:
            assert one.world.owners_of(twin.spread.transport.peer_id) == {a.keyring.did}
