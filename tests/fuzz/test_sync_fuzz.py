"""Feeds and sync: records in any sequence, frontiers and answers of any content, cut frames."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import frontier, wire
from node.talk import Conversation
from protocol import equivocation, limits, record
from protocol.errors import Refused
from protocol.kinds.space import Commitment
from protocol.record import Record
from protocol.topic import Feeds, Head
from tests.documents import documents
from tests.sim.nodes import eventually
from tests.sim.test_sync import chain, scene
from tests.strategies import SEEDS
from tests.vectors.gates import other_nonce, other_salt, unprotected
from tests.vectors.identities import TOPIC, written
from tests.vectors.judge import Anybody

# --- feeds ----------------------------------------------------------------------------------------


def branches(seed: bytes) -> list[Record]:
    """A feed of four, and from each of its places another end of two."""
    trunk: list[Record] = []
    for _ in range(4):
        trunk.append(written(seed, trunk[-1] if trunk else None))
    found = list(trunk)
    for at in range(4):
        other = written(seed, trunk[at - 1] if at else None, salt=at + 1)
        found += [other, written(seed, other)]
    return found


POOL = [(one, seed) for seed in SEEDS[:3] for one in branches(seed)]
TWISTS: list[Callable[[Record, bytes], bytes]] = [
    lambda one, _: one.raw,
    lambda one, _: record.redact(one.raw),
    lambda one, _: other_salt(one.raw),
    lambda one, _: unprotected(one.raw),
    lambda one, seed: other_nonce(seed, one.raw),
]

told = st.lists(
    st.tuples(st.sampled_from(POOL), st.sampled_from([*TWISTS[:1] * 4, *TWISTS])),
    min_size=20,
    max_size=60,
)


@settings(max_examples=150)
@given(told)
def test_feeds_in_any_sequence(
    sequence: list[tuple[tuple[Record, bytes], Callable[[Record, bytes], bytes]]],
) -> None:
    """What is taken is one chain from 0; who is barred signed two records; nothing else escapes."""
    feeds = Feeds(TOPIC, "negotiation")
    kept: dict[tuple[bytes, int], bytes] = {}
    barred: dict[bytes, int] = {}
    said: set[str] = set()
    for (whole, seed), twist in sequence:
        place = (whole.key, whole.seq)
        try:
            one = record.parse(twist(whole, seed))
            new = feeds.check(one, Anybody(), 2_000)
        except Refused as error:
            said.add(error.code)
            if error.code == "record.equivocation" and kept.get(place, whole.id) != whole.id:
                barred[whole.key] = min(whole.seq, barred.get(whole.key, whole.seq))
            continue
        assert new == (place not in kept)
        if new:
            assert one.seq < feeds.end(one.key)
            assert one.prev == kept.get((one.key, one.seq - 1))
            kept[place] = one.id
            feeds.add(one)
        assert kept[place] == one.id
    assert said <= {"record.gap", "record.equivocation", "record.body", "record.algorithm"}
    assert feeds.barred == barred
    newest = {key: max(seq for one, seq in kept if one == key) for key, _ in kept}
    assert {key: head.seq for key, head in feeds.heads.items()} == newest


# --- frontiers ------------------------------------------------------------------------------------

KEYS_ = [bytes([number]) * 32 for number in (1, 7, 9, 200, 255)]
FORK = equivocation.prove(written(SEEDS[0]).raw, written(SEEDS[0], salt=1).raw)


def room() -> Any:
    """What `lacking` looks at of a room."""
    feeds = Feeds(TOPIC, "space", held=lambda key, seq: bytes([seq]) * 32)
    for number, key in enumerate(KEYS_[:4]):
        feeds.heads[key] = Head(number * 50, bytes(32), 0)
    return SimpleNamespace(topic=TOPIC, feeds=feeds, forks={KEYS_[1]: FORK})


edges = st.sampled_from([bytes(32), *KEYS_, b"\xff" * 32]) | st.binary(min_size=32, max_size=32)


@settings(max_examples=200)
@given(documents(wire.TopicFrontier, (*KEYS_, TOPIC)), edges, edges)
def test_any_frontier_gets_what_is_here_and_nothing_else(
    theirs: wire.TopicFrontier, low: bytes, high: bytes
) -> None:
    here = room()
    found = frontier.lacking(here, theirs, low, high)
    for key, first, end in found.wants:
        assert low <= key <= high
        assert 0 <= first < end <= here.feeds.heads[key].seq + 1
    assert len(found.wants) + len(found.forks) <= len(here.feeds.heads)
    assert set(found.proofs) <= {FORK.raw}
    assert {place[32:] for place in found.forks} <= here.feeds.heads.keys()


@settings(max_examples=100)
@given(documents(wire.Pull, (*KEYS_, TOPIC, bytes(64), b"\xff" * 64)))
def test_any_page_has_bounds(request: wire.Pull) -> None:
    low, high = frontier.span(request, TOPIC)
    assert len(low) == len(high) == 32
    for one in frontier.rooms_of([room()], request):
        frontier.lacking(one, wire.TopicFrontier(topic=TOPIC, heads=()), low, high)


# --- frames ---------------------------------------------------------------------------------------

WIRE = wire.SESSION_WIRE
HEADER = record.redact(written(SEEDS[0]).raw)
HEAD = wire.FeedHead(key=KEYS_[0], next=3, head=KEYS_[1], end=9, fork=4)
REQUESTS = [
    wire.Push(records=(HEADER,), proofs=(FORK.raw,)),
    wire.Pull(
        low=bytes(64), high=b"\xff" * 64, topics=(wire.TopicFrontier(topic=TOPIC, heads=(HEAD,)),)
    ),
    wire.GetHeader(topic=TOPIC, key=KEYS_[0], seq=1),
    wire.GetFeed(topic=TOPIC, key=KEYS_[0], seq=1),
]
BATCH = wire.Batch(
    records=(HEADER,),
    parts=(wire.FeedPart(topic=TOPIC, key=KEYS_[0], next=1),),
    proofs=(FORK.raw,),
    forks=(bytes(64),),
    more=False,
    others=(TOPIC,),
)
FRAMES: list[tuple[bytes, Callable[[bytes], object]]] = [
    *((WIRE.pack_request(one), WIRE.read_request) for one in REQUESTS),
    (WIRE.pack_answer(BATCH), lambda raw: WIRE.read_answer(raw, wire.Batch)),
    (FORK.raw, equivocation.open_proof),
]


@pytest.mark.parametrize("number", range(len(FRAMES)))
def test_frames_of_sync_byte_by_byte(number: int) -> None:
    good, read = FRAMES[number]
    chance = random.Random(number)  # noqa: S311 (a fuzzer)
    read(good)
    for at in range(len(good)):
        flipped = good[:at] + bytes([good[at] ^ 1 << chance.randrange(8)]) + good[at + 1 :]
        put_in = good[:at] + bytes([chance.randrange(256)]) + good[at:]
        for raw in (flipped, put_in, good[:at], good[:at] + good[at + 1 :]):
            try:
                read(raw)
            except Refused:
                continue


# --- answers --------------------------------------------------------------------------------------


def lies(chance: random.Random, asked: type[Any], known: list[bytes], places: list[bytes]) -> Any:
    """Any answer of the type that was asked for."""

    def some(pool: list[bytes]) -> tuple[bytes, ...]:
        return tuple(chance.choices(pool, k=chance.randrange(4)))

    if asked is wire.HeaderAnswer:
        return wire.HeaderAnswer(header=record.redact(chance.choice(known)))
    if asked is not wire.Batch:
        raise Refused("session.request")
    parts = tuple(
        wire.FeedPart(topic=place[:32], key=place[32:], next=chance.choice([0, 1, 5, limits.FEED]))
        for place in some(places)
    )
    return wire.Batch(
        records=some([*known, b"", b"\xff" * 40]),
        parts=parts,
        proofs=some([FORK.raw, b"", *known[:1]]),
        forks=some(places),
        more=chance.random() < 0.5,
        others=some([TOPIC, places[0][:32]]),
    )


async def lied_to(folder: Path, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer answers anything for a while; then it is honest, and both hold the same."""
    chance = random.Random(rounds)  # noqa: S311 (a fuzzer)
    async with scene(folder) as s:
        made = chain(s.liar, s.topic, range(6), s.first)
        known = [one.raw for one in (s.first, *made)]
        places = [s.topic + s.key, s.topic + bytes(32), TOPIC + s.key]
        asked = 0

        async def lie(self: Conversation, request: object, answer: type, **rest: float) -> object:
            nonlocal asked
            asked += 1
            if chance.random() < 0.05 or asked % 40 == 0:
                raise Refused("session.request")
            return lies(chance, answer, known, places)

        (other,) = s.a.spread.reached()
        with monkeypatch.context() as patch:
            patch.setattr(Conversation, "ask", lie)
            for _ in range(rounds):
                await s.a.spread.pull(other)
        assert asked > rounds
        assert s.a.world.room(s.topic).feeds.barred == {}
        last = await s.b.pipeline.publish(s.topic, "commitment", Commitment(digest=bytes(32)))
        await eventually(lambda: s.heads(s.a).get(last.key) == last.id)


async def test_a_peer_that_answers_anything_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lied_to(tmp_path, 12, monkeypatch)


@pytest.mark.soak
async def test_a_peer_that_answers_anything_for_long_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lied_to(tmp_path, 2_000, monkeypatch)
