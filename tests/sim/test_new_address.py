"""A node that comes back at another address: others find it, also one that nobody can dial."""

from contextlib import AsyncExitStack

import pytest

from node.net.memory import memory_network
from tests.sim.nodes import charter, eventually, make_keyring, peer


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr("node.spread.PULL_EVERY", 0.1)
    monkeypatch.setattr("node.spread.LOOK_EVERY", 0.1)
    monkeypatch.setattr("node.spread.ASK_EVERY", 0.3)


async def test_who_can_only_dial_hears_of_a_new_address_from_others(tmp_path):
    rings = {name: make_keyring(name) for name in ("owner", "third", "host")}
    raw = charter(list(rings.values()), rings["third"])
    async with memory_network() as network, AsyncExitStack() as stack:

        async def start(name, *bootstrap, listens=True):
            known = tuple(one.spread.transport.addresses()[0] for one in bootstrap)
            made = peer(network, tmp_path / name, rings[name], known, listens=listens)
            found = await stack.enter_async_context(made)
            await found.pipeline.open(raw, invited=True)
            return found

        third = await start("third")
        owner = await start("owner", third, listens=False)
        async with AsyncExitStack() as first:
            made = peer(
                network, tmp_path / "host", rings["host"], third.spread.transport.addresses()
            )
            host = await first.enter_async_context(made)
            await host.pipeline.open(raw, invited=True)
            ident = host.spread.transport.peer_id
            await eventually(lambda: ident in owner.spread.reached())
        await eventually(lambda: ident not in owner.spread.reached())
        await start("host", third)
        await eventually(lambda: ident in owner.spread.reached())
