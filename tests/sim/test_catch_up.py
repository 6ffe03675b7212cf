"""A node that was off for long catches up, and what it keeps in memory does not grow with it."""

import gc
import tracemalloc
from collections import deque
from pathlib import Path

import pytest

from bench import records, rig
from node.happenings import Happenings
from node.pipeline import Pipeline
from node.store.journal import Journal
from node.world import World
from protocol import topic

AUTHORS = 4


async def test_memory_does_not_grow_with_records(tmp_path: Path) -> None:
    authors = [rig.new_author(f"author-{number}") for number in range(AUTHORS)]
    opening = rig.charter_of(authors)
    id_ = topic.read_opening(opening).topic
    feeds = [[entry.raw for entry in rig.feed(one, id_, 500)] for one in authors]
    journal = Journal.open(tmp_path / "journal.db")
    pipeline = Pipeline(journal, authors[0], World(authors[0].me), Happenings(deque(maxlen=10)))
    room = await pipeline.open(opening)
    await pipeline.take([feed[0] for feed in feeds])

    async def take(first: int, last: int) -> int:
        for feed in feeds:
            await pipeline.take(feed[first:last])
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await take(1, 100)
    tracemalloc.start()
    try:
        early, late = await take(100, 200), await take(200, 501)
    finally:
        tracemalloc.stop()
    assert room.feeds.count() == AUTHORS * 501
    assert room.feeds.seen == {}
    assert late - early < AUTHORS * 300 * 40, "forty bytes a record would be its id alone"
    await pipeline.close()


async def test_a_start_reads_heads_and_what_machines_keep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authors = [rig.new_author(f"author-{number}") for number in range(AUTHORS)]
    opening = rig.charter_of(authors)
    journal = Journal.open(tmp_path / "journal.db")
    rig.fill(journal, opening, authors, 4000)
    parsed = []
    parse = rig.record.parse
    monkeypatch.setattr("node.restoring.record.parse", lambda raw: parsed.append(raw) or parse(raw))
    pipeline = Pipeline(journal, authors[0], World(authors[0].me), Happenings())
    pipeline.restore()
    (room,) = pipeline.world.rooms.values()
    assert room.feeds.count() == 4000 + AUTHORS
    assert room.machine.founded
    assert len(parsed) < 10 * AUTHORS, "commitments are not read at a start"
    await pipeline.close()


@pytest.mark.soak
def test_a_million_records_in_64_mib(tmp_path: Path) -> None:
    found = records.transfer(tmp_path, 1_000_000, 2)
    assert found["kept"] >= 1_000_000
    assert found["growth"] < records.MEMORY_BAR
