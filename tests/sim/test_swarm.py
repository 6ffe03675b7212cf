"""What honest parties agree on, whatever the network does: elections, run slots, convergence."""

import itertools
import os
import random

import pytest

from protocol import keys
from protocol.kinds.advisory import Advisory
from tests.agreements import CAST
from tests.in_force import OPENING, VOTERS
from tests.sim.swarm import Swarm, Weather

SEEDS = {name: actor.signing for name, actor in CAST.items()}


def swarm(number: int, **weather: float) -> Swarm:
    made = Swarm(number, OPENING, SEEDS, Weather(**weather))
    made.start()
    made.boot("host-1")
    made.boot("host-2")
    return made


def hosts_of(made: Swarm, term: int) -> set[bytes]:
    """Whom each voter saw elected in a term; at most one element, ever."""
    seen = set()
    for name in VOTERS:
        elected = made.players[name].machine.election.elected(term)
        if elected is not None:
            seen.add(elected.subject)
    return seen


def settle(made: Swarm) -> None:
    """Let the weather clear, and everybody hear everything."""
    made.weather.loss, made.weather.partition = 0.0, set()
    made.run(made.now + 40)


def check_safety(made: Swarm) -> None:
    for term in range(1, 12):
        assert len(hosts_of(made, term)) <= 1, f"two hosts in term {term}"
    for name, other in itertools.combinations(VOTERS, 2):
        mine, theirs = made.committed(name), made.committed(other)
        for number in mine.keys() & theirs.keys():
            assert mine[number] == theirs[number], f"two results of run {number}"


def test_the_first_candidate_in_order_is_elected_with_the_other_as_standby() -> None:
    made = swarm(1)
    made.run(5)
    elected = made.players["hospital-a"].machine.election.elected(1)
    assert elected.appointment.host == CAST["host-1"].did
    assert len(elected.appointment.standbys) == 1
    assert len(hosts_of(made, 1)) == 1


def test_a_run_is_ordered_stated_voted_and_committed() -> None:
    made = swarm(2)
    made.run(5)
    made.order("sponsor")
    made.run(12)
    assert {name: len(made.committed(name)) for name in VOTERS} == dict.fromkeys(VOTERS, 1)
    check_safety(made)


def test_a_host_that_dies_in_a_run_is_replaced_and_the_number_ends_once() -> None:
    made = swarm(3)
    made.run(5)
    made.order("sponsor")
    while not made.players["host-1"].machine.runs.started:
        made.run(made.now + 0.05)
    made.kill("host-1")
    made.run(made.now + 60)
    first = made.players["hospital-a"].machine
    assert first.election.elected().appointment.host == CAST["host-2"].did
    assert first.election.term > 1
    assert set(made.committed("hospital-a")) == {1}
    check_safety(made)


def test_a_record_that_ignores_a_stop_never_ends_a_number() -> None:
    """Parties hold a stop that the record omits: they vote no, and the next term honours it."""
    stop = keys.digest("stop", b"s")
    made = swarm(4)
    made.run(5)
    made.order("sponsor")
    while not made.players["host-1"].machine.runs.proposals:
        made.run(made.now + 0.02)
        if made.players["host-1"].machine.runs.started:
            for name in VOTERS:
                made.players[name].machine.runs.hear_stop(stop, b"s")
    made.run(made.now + 20)
    watcher = made.players["hospital-a"].machine
    assert stop not in watcher.runs.proposals[1, 1][1].stops
    assert watcher.runs.committed()[1][1].term > 1
    assert stop in watcher.runs.committed()[1][1].stops


@pytest.mark.parametrize("number", range(5))
def test_after_an_advisory_no_new_run_starts_on_the_host_that_it_hits(number: int) -> None:
    """Whenever it comes: one round of sync later the next candidate runs, the old one never."""
    made = swarm(200 + number, delay=0.2)
    made.run(5)
    assert made.players["hospital-a"].machine.election.elected(1) is not None
    made.advise(Advisory(technology="simulated", platform="host-1", reason="stolen"))
    made.run(made.now + 1.5)  # one round of sync
    made.order("sponsor")
    made.run(made.now + 60)
    hit = CAST["host-1"].did
    for name in VOTERS:
        machine = made.players[name].machine
        assert machine.election.elected().appointment.host == CAST["host-2"].did
        assert 1 not in {term for _, term in machine.runs.started}, "host-1 started nothing"
        assert all(run.term > 1 for _, run in machine.runs.committed().values())
        lapsed = machine.election.lapses[1]
        assert len(lapsed) >= 2
        assert hit not in machine.election.elected().appointment.standbys
    assert set(made.committed("sponsor")) == {1}
    check_safety(made)


@pytest.mark.parametrize("number", [int(os.environ["SEED"])] if "SEED" in os.environ else range(12))
def test_any_weather_ends_in_one_state(number: int) -> None:
    """`make sim SEED=7` runs one seed alone."""
    live_through(number)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(12, 500))
def test_any_weather_ends_in_one_state_at_length(number: int) -> None:
    live_through(number)


def live_through(number: int) -> None:
    chance = random.Random(number)  # noqa: S311 (a simulation)
    made = swarm(100 + number, loss=chance.random() * 0.3, delay=chance.random() * 2)
    made.run(chance.random() * 8)
    made.order("sponsor")
    for _ in range(6):
        if chance.random() < 0.3:
            made.weather.partition = set(chance.sample(VOTERS, chance.randrange(1, 3)))
        elif chance.random() < 0.3:
            made.weather.partition = set()
        if chance.random() < 0.15:
            made.kill("host-1")
        made.run(made.now + chance.random() * 10)
        check_safety(made)
    settle(made)
    check_safety(made)
    assert set(made.committed("sponsor")) == {1}, f"seed {number}: run 1 never ended"
    heads = {
        tuple(sorted((k, h.seq) for k, h in made.players[name].feeds.heads.items()))
        for name in VOTERS
    }
    assert len(heads) == 1, "honest nodes hold different records"


def test_order_of_arrival_never_changes_the_state() -> None:
    made = swarm(7)
    made.run(5)
    made.order("sponsor")
    made.run(15)
    everything = list(made.players["hospital-a"].known.values())
    chance = random.Random(5)  # noqa: S311 (a simulation)
    for _ in range(5):
        chance.shuffle(everything)
        other = Swarm(0, OPENING, SEEDS, Weather())
        watcher = other.players["hospital-b"]
        other.now = made.now
        other.step = lambda _player: None
        for found in everything:
            other.receive(watcher, found)
        assert watcher.machine.runs.committed().keys() == {1}
        assert other.committed("hospital-b") == made.committed("hospital-a")
        assert watcher.machine.election.elected(1) == hosts(made)


def hosts(made: Swarm) -> object:
    return made.players["hospital-a"].machine.election.elected(1)
