"""A person's result that died with its host: the vault says so, a gateway that is a party says it
to all, once.
"""

from pathlib import Path

import pytest

from tests.people_rig import Village, cheap, give, village
from tests.unit.test_light_results import ran, told


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheap(monkeypatch)


def said(here: Village) -> list[bytes]:
    """What parties said that they lack, as the gateway's machine has it."""
    (found,) = here.nodes["hospital-a"].pipeline.world.collaborations()
    return sorted(found.runs.lacks)


async def fail_over(here: Village) -> None:
    await here.take(here.story.elect(2, "host-2"))


async def test_a_vault_asks_for_the_result_that_died_with_its_host(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        run_id = await ran(here, peer, 1, used=True)
        await peer.fetch(here.story.id)
        assert said(here) == [], "its host is at work"
        await fail_over(here)
        await peer.fetch(here.story.id)
        await peer.fetch(here.story.id)
        assert said(here) == [run_id]
        await told(here, peer, run_id)
        part = await peer.fetch(here.story.id)
        assert [one.number for one in part.results] == [1]


@pytest.mark.parametrize(("wants", "used"), [(False, True), (True, False)])
async def test_who_gets_nothing_asks_for_nothing(tmp_path: Path, wants: bool, used: bool) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=wants)
        await ran(here, peer, 1, used=used)
        await fail_over(here)
        await peer.fetch(here.story.id)
        assert said(here) == []


async def test_who_has_the_result_asks_for_nothing(tmp_path: Path) -> None:
    async with village(tmp_path) as here:
        peer = await here.person()
        await give(peer, here, told=True)
        await told(here, peer, await ran(here, peer, 1, used=True))
        await fail_over(here)
        await peer.fetch(here.story.id)
        assert said(here) == []
