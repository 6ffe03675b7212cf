"""A node that dies at any point between commit and effect goes on to the same end.

The other parties, a host and its enclave are a script of records that arrive again after each
crash, as a pull brings them. The node's own duties (two verdicts, two votes, a statement) must each
come out exactly once, and nothing may have left that is not in the journal.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.happenings import Happenings
from node.keyring import Keyring
from node.pipeline import Pipeline
from node.store.journal import Journal
from node.world import Room, World
from protocol import record
from protocol.effects import Challenge, Effect
from protocol.errors import Refused
from protocol.events import Appraised
from protocol.record import Record
from tests.agreements import AT, CAST, DOCUMENT, seed
from tests.in_force import OPENING, VOTERS, Telling, verdict
from tests.sim.nodes import follow_space

ME = CAST["hospital-a"]
OTHERS = [name for name in VOTERS if name != "hospital-a"]
DUTIES = Counter({"verdict": 2, "vote": 2, "statement": 1})


def script() -> list[Record]:
    """A whole run by everybody but one party."""
    told = Telling("hospital-b")
    candidacy, other = told.offer("host-1"), told.offer("host-2", "two")
    for name in OTHERS:
        told.judge(name, other.id, why="evidence.stale")
        told.judge(name, candidacy.id)
    for name in OTHERS:
        told.vote_host(name, told.appointment(candidacy))
    order = told.order()
    told.summon(order)
    statements = [told.state(name) for name in OTHERS]
    told.start()
    made = told.say("one", "run", told.run(order, statements))
    for name in OTHERS:
        told.vote_run(name, made)
    return told.told


class Crash(Exception):
    """The process is gone."""


class Fuse:
    """Counts what a node does, and burns at one step, before or after it."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.steps - 1 == self.at:
            raise Crash

    def wire(self, action: Callable[..., Any]) -> Callable[..., Any]:
        def wired(*arguments: object) -> object:
            self.step()
            result = action(*arguments)
            self.step()
            return result

        return wired


class Life:
    """One life of the node on the journal in a folder."""

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        self.journal = Journal.open(folder / "journal.db")
        ring = Keyring(
            node=seed("node"),
            record=ME.signing,
            sealing=seed("sealing"),
            store=seed("store"),
            me=ME.participant,
        )
        self.sent: list[Record] = []
        self.asked: list[Challenge] = []
        self.pipeline = Pipeline(self.journal, ring, World(ring.me), Happenings())
        self.pipeline.restore()
        self.journal.commit = fuse.wire(self.journal.commit)  # type: ignore[method-assign]
        self.journal.add_topic = fuse.wire(self.journal.add_topic)  # type: ignore[method-assign]
        self.pipeline.connect(fuse.wire(self._send), fuse.wire(self._perform))

    def _send(self, _room: Room, made: Record) -> None:
        self.sent.append(made)

    def _perform(self, _room: Room, effect: Effect) -> None:
        if isinstance(effect, Challenge):
            self.asked.append(effect)

    async def live(self, records: list[Record]) -> None:
        room = await self.pipeline.open(OPENING)
        follow_space(self.pipeline.world, DOCUMENT.space)
        for made in records:
            await self.pipeline.take([made.raw])
            while self.asked:
                asked = self.asked.pop()
                answer = Appraised(verdict(asked.candidacy, asked.term))
                await self.pipeline.tell(room.topic, answer)
        await self.pipeline.tick()

    def own(self) -> list[Record]:
        rows = (record.parse(raw) for raw in self.journal.records(Telling().topic))
        return [made for made in rows if made.author == ME.did]

    def end(self) -> tuple[object, ...]:
        """What must be the same in the end, whatever happened on the way."""
        machine = self.pipeline.world.collaboration(Telling().topic)
        committed = {number: found.id for number, (found, _) in machine.runs.committed().items()}
        return committed, machine.election.term, Counter(made.kind for made in self.own())


@pytest.fixture(autouse=True)
def _at_the_time_of_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.pipeline.time", SimpleNamespace(time=lambda: AT))


async def lives(folder: Path, fuse: Fuse, records: list[Record]) -> bool:
    """One life; False if it ended by a crash. What was sent must be in the journal."""
    life = Life(folder, fuse)
    try:
        await life.live(records)
    except Crash:
        return False
    else:
        assert life.end() == ({1: records[-1 - len(OTHERS)].id}, 1, DUTIES)
        return True
    finally:
        for made in life.sent:
            assert life.journal.get(made.id) == made.raw, "sent before it was saved"
        own = life.own()
        assert [made.seq for made in own] == list(range(len(own)))
        assert life.journal.equivocations(Telling().topic) == []
        life.journal.close()


async def test_a_crash_at_any_point_changes_nothing_in_the_end(tmp_path: Path) -> None:
    records = script()
    whole = Fuse()
    assert await lives(tmp_path / "whole", whole, records)
    assert whole.steps > 60
    for point in range(whole.steps):
        folder = tmp_path / str(point)
        assert not await lives(folder, Fuse(point), records)
        assert await lives(folder, Fuse(), records), f"after a crash at step {point}"


async def test_a_party_without_the_space_judges_no_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot know the floors and advisories that its members agreed on."""
    monkeypatch.setattr("tests.sim.test_pipeline_crash.follow_space", lambda *_: None)
    life = Life(tmp_path / "node", Fuse())
    await life.live(script())
    assert (life.sent, life.asked) == ([], [])
    with pytest.raises(Refused) as caught:
        life.pipeline.world.ground(DOCUMENT.space)
    assert caught.value.code == "topic.unknown"
    life.journal.close()


async def test_crash_after_crash_still_ends(tmp_path: Path) -> None:
    records = script()
    for point in itertools.count(1):
        if await lives(tmp_path / "node", Fuse(point), records):
            return
        assert point < 500
