"""All honest nodes of a space end in one state: loss, reorder, doubles, partitions, skewed clocks,
crashes between any two steps, and up to a third of liars. A failing seed runs alone:
`make sim SEED=7`, with SIZE=50 for another size.
"""

import os
import random

import pytest

from protocol import keys
from tests.sim.space_swarm import SpaceSwarm, Weather

SIZE = int(os.environ.get("SIZE", "5"))
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range(10)


def live_through(number: int, size: int) -> SpaceSwarm:
    chance = random.Random(number)  # noqa: S311 (a simulation)
    weather = Weather(
        loss=chance.random() * 0.3,
        doubled=chance.random() * 0.3,
        delay=chance.random() * 3,
        crash=chance.choice([0.0, 0.002, 0.01]),
    )
    swarm = SpaceSwarm(number, size, weather, liars=chance.choice([0.0, 0.2, 1 / 3]))
    crash, weather.crash = weather.crash, 0.0
    swarm.found()
    swarm.run(10)
    weather.crash = crash
    authors = [node for node in swarm.nodes if node.key]
    names = [node.name for node in swarm.nodes]
    for _ in range(8):
        if chance.random() < 0.4:
            weather.cut = frozenset(chance.sample(names, chance.randrange(1, len(names))))
        elif chance.random() < 0.5:
            weather.cut = frozenset()
        for _ in range(6):
            swarm.write(chance.choice(authors))
            swarm.run(chance.random())
        swarm.run(chance.random() * 4)
    swarm.settle()
    return swarm


def check(number: int, size: int) -> None:
    swarm = live_through(number, size)
    again = f"make sim SEED={number} SIZE={size}"
    first, *others = swarm.honest()
    state = swarm.state(first)
    assert first.machine.founded, again
    for node in others:
        assert swarm.state(node) == state, f"{node.name} differs from {first.name}: {again}"
    for node in swarm.honest():
        if node.key:
            key = keys.public(node.key)
            assert key not in first.feeds.barred, f"{node.name} never lied: {again}"
            own = {found.id for (one, _), found in node.disk.items() if one == key}
            known = {found.id for (one, _), found in first.disk.items() if one == key}
            assert own == known, f"a record of {node.name} was lost: {again}"


@pytest.mark.parametrize("number", SEEDS)
def test_any_weather_ends_in_one_space(number: int) -> None:
    check(number, SIZE)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(100, 400))
def test_any_weather_ends_in_one_space_of_few(number: int) -> None:
    check(number, 5)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(40))
def test_any_weather_ends_in_one_space_of_fifty(number: int) -> None:
    check(number, 50)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(4))
def test_any_weather_ends_in_one_space_of_three_hundred(number: int) -> None:
    check(number, 300)


def test_a_liar_is_barred_everywhere_and_a_swarm_replays_exactly() -> None:
    one, other = (live_through(4, 12) for _ in range(2))
    assert [one.state(node) for node in one.nodes] == [other.state(node) for node in other.nodes]
    swarm = SpaceSwarm(1, 12, Weather(), liars=1 / 3)
    swarm.found()
    swarm.run(5)
    liar = next(node for node in swarm.nodes if node.lies == "forks")
    swarm.equivocate(liar)
    swarm.settle(20)
    for node in swarm.honest():
        assert keys.public(liar.key) in node.feeds.barred
