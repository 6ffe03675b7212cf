"""A share that its owner replaced: earlier runs are still computed again from the old one, and no
host brings the old one back for a new run.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from protocol import enclave_wire as enclave
from tests.sim import test_run_crash as crash
from tests.sim.share_rig import until
from tests.sim.test_run_crash import World


@pytest.fixture
async def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(crash, "OF_A_RUN", (enclave.Release,))
    async with crash.living(tmp_path, monkeypatch) as made:
        yield made


async def replace(world: World, to: str) -> bytes:
    """Hospital A brings other rows to the host in office."""
    stage = world.stage
    newer: bytes = (await stage.owner.push(stage.rig.id, "vitals-v1", stage.source(6))).share
    for name in ("hospital-a", to):
        await until(partial(stage.receipt, name, newer))
    return newer


async def test_a_share_replaced_between_the_votes_and_the_next_term(world: World) -> None:
    """The host dies with the result; until another is in office, an owner replaces its share. The
    number can only say the same again, so it is computed from the share that was in it.
    """
    fuse = await crash.whole(world, 1)
    await fuse.burnt.wait()
    world.kill("host-1")
    await until(lambda: 1 in world.ended())
    first = world.ended()[1][1]
    world.silent = True
    await world.fail_over("host-2", 2)
    newer = await replace(world, "host-2")
    world.silent = False
    await until(lambda: world.results() == ["model"], 10)
    again = world.ended()[1][1]
    assert (again.term, again.withheld, again.shares) == (2, None, first.shares)
    world.accepted.clear()  # of number 1: nobody shows it for number 2
    await world.say([world.stage.rig.order().raw])
    await until(lambda: 2 in world.ended(), 10)
    assert newer in world.ended()[2][1].shares
    assert not set(first.shares) <= set(world.ended()[2][1].shares)
