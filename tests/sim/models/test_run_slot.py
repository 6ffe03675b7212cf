"""One number ends once, whatever dies and whoever lies within the bound; a later term can end it
again, and only as it was. Without adoption, or with one liar more, two ends are found.
"""

import random

import pytest

from tests.sim.models.run_slot import Explored, Model, explore, look


@pytest.mark.parametrize("losing", [False, True])
@pytest.mark.parametrize(("n", "liars", "terms"), [(1, 0, 3), (2, 0, 2), (2, 1, 2)])
def test_no_schedule_ends_a_number_twice(n: int, liars: int, terms: int, losing: bool) -> None:
    found = explore(Model(n, liars, terms, losing=losing))
    assert found.double == []
    assert found.again > 0, "a result whose host is gone must be releasable again"


@pytest.mark.soak
@pytest.mark.parametrize(("n", "liars", "terms"), [(2, 0, 3), (3, 0, 3), (3, 2, 2), (4, 1, 2)])
def test_no_schedule_ends_a_number_twice_as_far_as_time_allows(
    n: int, liars: int, terms: int
) -> None:
    assert explore(Model(n, liars, terms, losing=True), 150_000).double == []


def walk(model: Model, seed: int, length: int) -> Explored:
    """One schedule at random."""
    chance, found, state = random.Random(seed), Explored(), model.start()  # noqa: S311 (simulated)
    for _ in range(length):
        steps = list(model.steps(state))
        if not steps:
            break
        state = chance.choice(steps)
    look(model, state, found)
    return found


@pytest.mark.parametrize(("n", "liars", "terms"), [(3, 0, 4), (4, 1, 3), (5, 2, 3)])
def test_no_walk_ends_a_number_twice(n: int, liars: int, terms: int) -> None:
    found = [walk(Model(n, liars, terms, losing=True), seed, 60) for seed in range(10)]
    assert not any(one.double for one in found)


def test_used_up_attempts_end_in_void() -> None:
    assert any(walk(Model(1, 0, 4), seed, 40).void for seed in range(80))


@pytest.mark.parametrize(
    "model", [Model(2, 0, 2, needed=1), Model(3, 1, 2, needed=2, adopting=False)]
)
def test_what_keeps_it_safe_is_needed(model: Model) -> None:
    """The explorer finds what a smaller quorum, or no adoption, lets happen."""
    assert explore(model, 60_000).double
