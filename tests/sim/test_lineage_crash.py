"""Enclaves that die with all that they held, at any step of a run and of what comes before it: the
lineage is handed on or made anew, each number ends in one record, and the next one runs.

As in test_run_crash.py the enclaves are real, and what they would compute in the sandbox is played.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import trio

from enclave_host import enclave as enclave_module
from enclave_host.conduct import Conduct
from protocol import record
from tests.sim.share_rig import until
from tests.sim.test_run_crash import Fuse, World, compute, living, whole

STEPS = 48
"""More than there are in a take-over, one number that is computed again, and one that is new."""


@pytest.fixture
async def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with living(tmp_path, monkeypatch, spares=2) as made:
        yield made


async def first_run(world: World) -> None:
    await whole(world)
    await until(lambda: world.results() == ["model"], 10)


def said(world: World, kind: str) -> int:
    """How many records of a kind the enclaves of all terms made."""
    heard = {one.id: one for one in map(record.parse, world.stage.records + world.stage.outbox)}
    return sum(one.kind == kind for one in heard.values())


async def ends(world: World, number: int) -> None:
    """Whatever died, the number has its one end, and its recipient the result, once."""
    with trio.fail_after(20):
        while number not in world.ended():  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert world.ended()[number][1].outcome == "released"
    await until(lambda: world.results() == ["model"] * number, 10)


async def survives(world: World, name: str, fuse: Fuse, number: int) -> bool:
    """Wait until the node is killed, and start it again; False if the number ended before."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_first, nursery.cancel_scope, fuse.burnt.wait)
        nursery.start_soon(_first, nursery.cancel_scope, ends, world, number)
    if not fuse.burnt.is_set():
        return False
    world.kill(name)
    await world.host(name)
    return True


async def _first(scope: trio.CancelScope, act: Any, *arguments: Any) -> None:
    await act(*arguments)
    scope.cancel()


# --- handed on -----------------------------------------------------------------------------------


async def two_fail_overs(world: World, at: int | None) -> bool:
    """Nothing is released between: each heir hands on as soon as it is in office. The node of the
    last is killed at a step.
    """
    await first_run(world)
    world.kill("host-1")
    await world.reboot("host-1")
    await world.host("host-2")
    await world.fail_over("host-2", 2, "host-1")
    bequests = world.stage.sites["hospital-b"].machine.runs.heritage
    heir = world.stage.hosts["host-1"].id
    (lineage,) = (run.lineage for _, run in world.ended().values())
    await until(lambda: bequests.wraps(lineage, heir) != (), 10)
    await world.reboot("host-2")
    world.kill("host-1")
    fuse = await world.host("host-1", at)
    await world.fail_over("host-1", 3, "host-2")
    await world.order()
    killed = await survives(world, "host-1", fuse, 2)
    await ends(world, 2)
    assert said(world, "lost") == 0
    assert {n: run.term for n, (_, run) in world.ended().items()} == {1: 1, 2: 3}, "once each"
    return killed


@pytest.mark.parametrize("at", [None, 6])
async def test_two_fail_overs_without_a_release_lose_nothing(world: World, at: int | None) -> None:
    assert await two_fail_overs(world, at) == (at is not None)


@pytest.mark.soak
@pytest.mark.parametrize("at", range(1, STEPS // 2))
async def test_two_fail_overs_and_a_death_at_any_step(world: World, at: int) -> None:
    assert await two_fail_overs(world, at) or at > 12


# --- made anew -----------------------------------------------------------------------------------


async def all_lost(world: World, at: int | None) -> tuple[bool, Fuse]:
    """Every enclave that had the lineage is gone, and the node of the next is killed at a step."""
    await first_run(world)
    fuse = await world.reboot("host-1", at)
    await world.fail_over("host-1", 2)
    await world.order()
    return await survives(world, "host-1", fuse, 2), fuse


async def test_what_was_lost_is_computed_again_before_the_next_number(world: World) -> None:
    _, fuse = await all_lost(world, None)
    await ends(world, 2)
    assert said(world, "lost") == 1
    assert {n: run.term for n, (_, run) in world.ended().items()} == {1: 2, 2: 2}
    assert fuse.steps < STEPS


@pytest.mark.parametrize("at", [3])
async def test_a_node_killed_while_the_lineage_is_made_anew_goes_on(world: World, at: int) -> None:
    killed, _ = await all_lost(world, at)
    await ends(world, 2)
    assert killed


@pytest.mark.soak
@pytest.mark.parametrize("at", range(1, STEPS))
async def test_a_node_killed_at_every_step_of_it_goes_on(world: World, at: int) -> None:
    killed, _ = await all_lost(world, at)
    await ends(world, 2)
    assert killed or at > 22


async def test_what_is_lost_for_good_ends_each_order_and_blocks_no_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first_run(world)
    monkeypatch.setattr(enclave_module, "compute", lambda task: replace(compute(task), rows=7))
    monkeypatch.setattr(Conduct, "_is_late", lambda *_: True)
    await world.reboot("host-1")
    await world.fail_over("host-1", 2)
    for number in (2, 3):
        await world.order()
        await until(lambda n=number: n in world.ended(), 10)
        _, run = world.ended()[number]
        assert (run.outcome, run.refusal_code) == ("refused", "gate.lineage")
        assert run.refusal_detail == "run 1 cannot be computed again (run.adopted)"
    assert world.results() == ["model"], "what was there stays"


async def lost_twice(world: World, at: int) -> bool:
    """The enclave that makes it anew dies too, for good, at a step."""
    await first_run(world)
    fuse = await world.reboot("host-1", at)
    await world.fail_over("host-1", 2)
    await world.order()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_first, nursery.cancel_scope, fuse.burnt.wait)
        nursery.start_soon(_first, nursery.cancel_scope, ends, world, 2)
    if not fuse.burnt.is_set():
        return False
    await world.reboot("host-1")
    await trio.sleep(0.1)  # what was on its way to others arrives: votes, too
    await world.fail_over("host-1", 3)
    await ends(world, 2)
    return True


@pytest.mark.parametrize("at", [9])
async def test_an_enclave_that_dies_while_it_learns_is_followed_by_one_that_does(
    world: World, at: int
) -> None:
    assert await lost_twice(world, at)


@pytest.mark.soak
@pytest.mark.parametrize("at", range(1, STEPS))
async def test_an_enclave_that_dies_at_every_step_of_it(world: World, at: int) -> None:
    assert await lost_twice(world, at) or at > 22
