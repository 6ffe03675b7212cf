"""No schedule makes two changes of one epoch final, whatever up to 2q-n-1 liars say to whom; more
liars can, and the code then proves who lied. Split votes end.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.decision import quorum, tolerated
from protocol.machines.epochs import Rounds
from tests.sim.models.two_step import (
    EPOCH,
    SUBJECTS,
    Known,
    Model,
    Said,
    accused,
    explore,
    finals,
    spoken,
    voter,
)


def bound(n: int) -> int:
    """How many may lie: two quorums share at least one honest voter."""
    return 2 * quorum(n) - n - 1


@pytest.mark.parametrize(
    ("n", "liars", "rounds"), [(1, 0, 2), (2, 0, 2), (2, 1, 2), (3, 0, 2), (3, 2, 1), (4, 1, 1)]
)
def test_no_schedule_decides_twice(n: int, liars: int, rounds: int) -> None:
    found = explore(Model(n, liars, rounds))
    assert found.double == []
    assert found.final > 0, "the model must be able to decide at all"


@pytest.mark.soak
@pytest.mark.parametrize(("n", "liars", "rounds"), [(3, 1, 2), (3, 2, 2)])
def test_no_schedule_decides_twice_in_full(n: int, liars: int, rounds: int) -> None:
    found = explore(Model(n, liars, rounds))
    assert found.double == []
    assert found.final > 0


@pytest.mark.soak
@pytest.mark.parametrize("liars", [0, 1])
def test_four_voters_and_two_rounds_as_far_as_time_allows(liars: int) -> None:
    """The whole of it takes days in Python; walks at random (below) cover the rest."""
    found = explore(Model(4, liars, 2), 20_000)
    assert found.double == []
    assert found.final > 0


@pytest.mark.parametrize(("n", "needed"), [(4, 3), (3, 2), (4, 2)])
def test_above_the_bound_the_liars_are_proven(n: int, needed: int) -> None:
    """One more liar than the bound: two changes become final, and the proof names no honest one."""
    liars = max(0, 2 * needed - n)
    model = Model(n, liars, 1, needed)
    found = explore(model)
    assert found.double
    for state in found.double:
        named = accused(model, model.sent(state))
        assert named <= set(range(n - liars, n))
        assert len(named) >= 2 * needed - n


class Walk:
    """One seeded schedule of a larger model: votes arrive late, twice, in any order, or never."""

    def __init__(self, model: Model, seed: int, loss: float) -> None:
        self.model, self.random, self.loss = model, random.Random(seed), loss  # noqa: S311
        self.state: list[Known] = list(model.start())

    def hear(self, who: int, all_: bool) -> None:
        sent = sorted(self.model.sent(tuple(self.state)) - self.state[who])
        heard = sent if all_ else [one for one in sent if self.random.random() > self.loss]
        self.state[who] |= frozenset(heard)

    def speak(self, who: int, *, freely: bool) -> bool:
        options = sorted(self.model.options(who, self.state[who]))
        if not options:
            return False
        said = self.random.choice(options) if freely else self._with_the_most(who, options)
        self.state[who] |= {said}
        return True

    def _with_the_most(self, who: int, options: list[Said]) -> Said:
        """What people do in a split: they go with the change that has the most votes."""
        votes = [one for one in self.state[who] if one[1] == "change"]
        newest = max((one[2] for one in votes), default=0)
        count = [sum(v[2] == newest and v[3] == one for v in votes) for one in (0, 1)]
        confirms = [one for one in options if one[1] == "confirm"]
        return (confirms or sorted(options, key=lambda one: -count[one[3]]))[0]

    def check(self) -> None:
        votes = self.model.sent(tuple(self.state))
        decided = {subject for _, subject in finals(self.model, votes)}
        assert len(decided) <= 1, f"two final changes: {sorted(votes)}"
        assert accused(self.model, votes) <= set(range(len(self.model.honest), self.model.n))


@settings(max_examples=25)
@given(st.integers(4, 16), st.integers(0, 2**32), st.floats(0.0, 0.9), st.data())
def test_no_walk_of_a_large_space_decides_twice(
    n: int, seed: int, loss: float, data: st.DataObject
) -> None:
    model = Model(n, data.draw(st.integers(0, bound(n))), 3)
    walk = Walk(model, seed, loss)
    for _ in range(6 * n):
        who = walk.random.choice(model.honest)
        walk.hear(who, all_=False)
        walk.speak(who, freely=True)
    walk.check()


@settings(max_examples=25)
@given(st.integers(4, 16), st.integers(0, 2**32))
def test_a_split_vote_ends(n: int, seed: int) -> None:
    """Once votes arrive, and people in a split go with the most, one change becomes final, though
    as many as may be absent are absent.
    """
    model = Model(n, tolerated(n), 64)
    walk = Walk(Silent(n, model.liars, 64), seed, 0.5)
    for _ in range(3 * n):
        who = walk.random.choice(model.honest)
        walk.hear(who, all_=False)
        walk.speak(who, freely=True)
    for _ in range(24):
        for who in model.honest:
            walk.hear(who, all_=True)
        for who in model.honest:
            walk.speak(who, freely=False)
    decided = {subject for _, subject in finals(model, walk.model.sent(tuple(walk.state)))}
    assert len(decided) == 1


class Silent(Model):
    """Its liars say nothing: they are absent."""

    def lies(self) -> Known:
        """Nothing."""
        return frozenset()


def test_who_confirmed_and_turned_is_proven() -> None:
    """It confirmed X in round 0, and voted for Y in round 1 with nothing certified in between."""
    rounds = Rounds(EPOCH, Model(4, 0).rule)
    for said in ((0, "confirm", 0, 0), (0, "change", 1, 1)):
        rounds.add(said[1], said[2], spoken(said))  # type: ignore[arg-type]
    assert [(lie.voter, lie.why) for lie in rounds.lies()] == [
        (voter(0), "turned without a certificate")
    ]
    honest = Rounds(EPOCH, Model(4, 0).rule)
    for who in (1, 2, 3):
        honest.add("change", 1, spoken((who, "change", 1, 1)))
    for said in ((0, "confirm", 0, 0), (0, "change", 2, 1)):
        honest.add(said[1], said[2], spoken(said))  # type: ignore[arg-type]
    assert list(honest.lies()) == []


def test_the_bound() -> None:
    assert [bound(n) for n in (1, 2, 3, 4, 5, 6, 7, 10)] == [0, 1, 2, 1, 2, 3, 2, 3]
    assert len(SUBJECTS) == 2
