"""Sync between real pipelines: forks are found and end alike everywhere, floods stay their own."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio.lowlevel

from node import frontier, pulling, session, wire
from node.door import Bounds
from node.keyring import Keyring
from node.net.memory import memory_network
from node.net.peer_id import peer_id_of
from node.talk import Conversation, ask
from protocol import equivocation, keys, limits, record
from protocol.errors import Refused
from protocol.kinds.common import Vote
from protocol.kinds.space import Commitment
from protocol.machines.space import CHARTER_SLOT
from protocol.record import Place, Record
from protocol.topic import Feeds, Head
from tests.sim.nodes import Peer, charter, eventually, make_keyring, peer, yes

NOW = int(time.time())


def signed(ring: Keyring, topic: bytes, kind: str, body: object, place: Place) -> Record:
    return record.sign(
        ring.record,
        topic=topic,
        author=ring.did,
        kind=kind,
        body=body,
        place=place,
        at=NOW,
        salt=bytes(16),
    )


def chain(ring: Keyring, topic: bytes, numbers: range, after: Record) -> list[Record]:
    """Commitments of one author, one after the other."""
    made, head = [], after
    for number in numbers:
        body = Commitment(digest=number.to_bytes(32, "big"))
        head = signed(ring, topic, "commitment", body, Place(seq=head.seq + 1, prev=head.id))
        made.append(head)
    return made


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.spread.PULL_EVERY", 0.2)
    monkeypatch.setattr("node.spread.LOOK_EVERY", 0.2)


class Scene:
    """Two connected founders, and a third, whose node is not there, as the test plays it."""

    def __init__(self, a: Peer, b: Peer, liar: Keyring, topic: bytes) -> None:
        self.a, self.b, self.liar, self.topic = a, b, liar, topic
        vote = Vote(slot=CHARTER_SLOT, subject=topic, choice="yes", identity=liar.me.id)
        self.first = signed(liar, topic, "vote", vote, Place())

    @property
    def key(self) -> bytes:
        return self.liar.me.vote_key

    def heads(self, one: Peer) -> dict[bytes, bytes]:
        return {key: head.id for key, head in one.world.room(self.topic).feeds.heads.items()}


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    rings = [make_keyring(name) for name in "abc"]
    raw = charter(rings, rings[0])
    async with memory_network() as network, AsyncExitStack() as stack:
        peers = []
        for number, ring in enumerate(rings[:2]):
            other = peer_id_of(keys.public(rings[1 - number].node))
            known = (f"/ip4/127.0.0.1/tcp/{2 - number}/p2p/{other}",)
            one = await stack.enter_async_context(peer(network, folder / ring.me.name, ring, known))
            room = await one.pipeline.open(raw)
            peers.append(one)
        played = Scene(peers[0], peers[1], rings[2], room.topic)
        for one in peers:
            await one.pipeline.publish(room.topic, "vote", yes(one, CHARTER_SLOT, room.topic))
            await one.pipeline.take([played.first.raw])
        await eventually(lambda: all(next(p.world.spaces()).founded for p in peers))
        yield played


@pytest.mark.parametrize(("common", "ours", "theirs"), [(3, 4, 7), (0, 1, 1), (20, 1, 30)])
async def test_two_nodes_with_different_records_of_a_liar_end_alike(
    tmp_path: Path, common: int, ours: int, theirs: int
) -> None:
    """Each held what the other never saw; the fork is found, proven, and what follows is void."""
    async with scene(tmp_path) as s:
        trunk = chain(s.liar, s.topic, range(common), s.first)
        root = trunk[-1] if trunk else s.first
        left = chain(s.liar, s.topic, range(100, 100 + ours), root)
        right = chain(s.liar, s.topic, range(200, 200 + theirs), root)
        await s.a.pipeline.take([one.raw for one in (*trunk, *left)])
        await s.b.pipeline.take([one.raw for one in (*trunk, *right)])
        await eventually(lambda: s.a.world.room(s.topic).feeds.barred == {s.key: root.seq + 1})
        await eventually(lambda: s.b.world.room(s.topic).feeds.barred == {s.key: root.seq + 1})
        await eventually(lambda: s.heads(s.a) == s.heads(s.b))
        assert s.heads(s.a)[s.key] == root.id
        for one in (s.a, s.b):
            (proof,) = one.journal.equivocations(s.topic)
            assert (proof.key, proof.seq) == (s.key, root.seq + 1)
            taken = await one.pipeline.take([chain(s.liar, s.topic, range(9, 10), root)[0].raw])
            assert taken.refused == ["record.equivocation"]
        assert next(s.a.world.spaces()).founded, "what stands before the fork stands"
    ring = s.a.keyring
    async with memory_network() as network, peer(network, tmp_path / "a", ring) as again:
        room = again.world.room(s.topic)
        assert room.feeds.barred == {s.key: root.seq + 1}
        assert room.feeds.heads[s.key].id == root.id
        assert room.forks[s.key].seq == root.seq + 1


async def test_a_liar_who_never_lied_to_one_node_is_barred_there_too(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        left = chain(s.liar, s.topic, range(2), s.first)
        right = chain(s.liar, s.topic, range(5, 6), s.first)
        await s.a.pipeline.take([one.raw for one in (*left, *right)])
        await eventually(lambda: s.b.world.room(s.topic).feeds.barred == {s.key: 1})
        assert s.heads(s.b)[s.key] == s.first.id
        await eventually(lambda: s.heads(s.a) == s.heads(s.b))


async def test_a_proof_against_a_stranger_is_not_kept(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        stranger = make_keyring("stranger")
        one, other = (
            signed(stranger, s.topic, "commitment", Commitment(digest=bytes([n]) * 32), Place())
            for n in range(2)
        )
        fork = equivocation.prove(one.raw, other.raw)
        assert not await s.a.pipeline.accuse(fork.raw)
        assert s.a.journal.equivocations(s.topic) == []


async def test_a_node_that_has_nothing_gets_everything_page_by_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PUSH", 7)
    async with scene(tmp_path) as s:
        made = chain(s.liar, s.topic, range(40), s.first)
        await s.b.pipeline.take([one.raw for one in made])
        await eventually(lambda: s.heads(s.a).get(s.key) == made[-1].id)


async def test_a_peer_that_names_forks_where_none_are_costs_a_few_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    async with scene(tmp_path) as s:
        ask = Conversation.ask

        async def lied(self: Conversation, request: object, answer: type, **rest: float) -> object:
            asked.append(request)
            found = await ask(self, request, answer, **rest)
            if isinstance(found, wire.Batch):
                forks = (s.topic + s.key,) * 50
                return wire.Batch(
                    records=found.records,
                    parts=found.parts,
                    proofs=(),
                    forks=forks,
                    more=True,
                    others=(),
                )
            return found

        monkeypatch.setattr(Conversation, "ask", lied)
        (other,) = s.a.spread.reached()
        await eventually(lambda: other not in s.a.spread.puller.pulling)
        asked.clear()
        assert await s.a.spread.pull(other)
        assert s.a.world.room(s.topic).feeds.barred == {}
        assert sum(isinstance(one, wire.GetHeader) for one in asked) <= 2 * pulling.FORKS
        assert len(asked) <= 40


async def test_a_flood_of_one_peer_does_not_hold_up_another(tmp_path: Path) -> None:
    """One sender has one batch on the road: a record of somebody else waits for that at most."""
    async with scene(tmp_path) as s:
        early = chain(s.liar, s.topic, range(1200), s.first)[5:]
        batches = [[one.raw for one in early[n : n + 100]] for n in range(0, 1100, 100)]
        done: list[bytes] = []

        async def flood(batch: list[bytes]) -> None:
            await s.a.pipeline.take(batch, s.liar.did)
            done.append(s.liar.did)

        async with trio.open_nursery() as nursery:
            for batch in batches:
                nursery.start_soon(flood, batch)
            await trio.lowlevel.checkpoint()
            made = await s.b.pipeline.publish(s.topic, "commitment", Commitment(digest=bytes(32)))
            await s.a.pipeline.take([made.raw], s.b.keyring.did)
            assert len(done) <= 6
        assert s.heads(s.a)[made.key] == made.id
        assert len(s.a.pipeline.quarantine) <= 256
        assert s.a.pipeline.quarantine.dropped >= 800


def test_pages_name_every_feed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PUSH", 10)
    rooms = {}
    for number in range(5):
        topic = bytes([number * 9 + 1]) * 32
        feeds = Feeds(topic, "space")
        for key in range(number * 8):
            feeds.heads[bytes([key * 3]) * 32] = Head(key, bytes(32), 0)
        rooms[topic] = SimpleNamespace(topic=topic, feeds=feeds, forks={})
    low, seen, pages = frontier.LOWEST, [], 0
    while low is not None:
        asked, low = frontier.page(rooms, low, {})
        pages += 1
        for one in asked.topics:
            keys_ = [head.key for head in one.heads]
            seen += [(one.topic, key) for key in keys_]
            assert all(asked.low <= one.topic + key <= asked.high for key in keys_)
        assert sum(1 + len(one.heads) for one in asked.topics) <= 11
    assert pages > 5
    assert seen == sorted((topic, key) for topic, room in rooms.items() for key in room.feeds.heads)
    assert session.BATCH < 2**20


async def test_a_flood_of_questions_is_slowed_and_refused_and_its_peer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Bounds(streams=4, all_streams=99, requests=1.0, burst=20.0, bytes=1e6, bytes_burst=1e7)
    monkeypatch.setattr(session, "BOUNDS", few)
    async with scene(tmp_path) as s:
        (other,) = s.a.spread.reached()
        codes: list[str] = []

        async def poke() -> None:
            question, transport = wire.Poke(topic=s.topic), s.a.spread.transport
            try:
                await ask(transport, other, wire.SESSION, wire.SESSION_WIRE, question, wire.Took)
            except Refused as error:
                codes.append(error.code)

        with trio.move_on_after(1):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(poke)
        assert set(codes) == {"door.busy"}
        assert len(codes) >= 20
        made = await s.b.pipeline.publish(s.topic, "commitment", Commitment(digest=bytes(32)))
        await eventually(lambda: s.heads(s.a).get(made.key) == made.id)
