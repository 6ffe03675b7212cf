"""Real pipelines, sessions and spreads of several nodes on an in-memory network."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from node.happenings import Happenings
from node.inbox import Inbox
from node.keyring import Keyring, new_seeds, open_keyring, sign_identity
from node.net.memory import MemoryNetwork
from node.net.peer_id import peer_id_of
from node.pipeline import Pipeline
from node.session import Session
from node.spread import Spread
from node.store.blobs import Blobs
from node.store.journal import Journal
from node.world import World
from protocol import keys, shape
from protocol.kinds.common import Vote
from protocol.kinds.space import Charter, Founder, Terms
from protocol.topic import Opening


@dataclass
class Peer:
    """One node without daemon, sandbox or socket."""

    keyring: Keyring
    journal: Journal
    pipeline: Pipeline
    spread: Spread

    @property
    def world(self) -> World:
        return self.pipeline.world


def make_keyring(name: str) -> Keyring:
    seeds = new_seeds()
    return open_keyring(seeds, sign_identity(seeds, name, int(time.time())))


def open_journal(folder: Path) -> Journal:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Journal.open(folder / "journal.db")


@asynccontextmanager
async def peer(
    network: MemoryNetwork,
    folder: Path,
    keyring: Keyring,
    bootstrap: tuple[str, ...] = (),
    *,
    listens: bool = True,
) -> AsyncIterator[Peer]:
    """Run one peer until the block is left; its journal stays in `folder`. Started again, it
    listens at another port.
    """
    journal = open_journal(folder)
    world = World(keyring.me)
    pipeline = Pipeline(journal, keyring, world, Happenings())
    pipeline.restore()
    transport = network.join(
        peer_id_of(keys.public(keyring.node)),
        admits=lambda p: world.owner_of(p) is not None,
        listens=listens,
    )
    blobs = Blobs(folder / "blobs", keyring.store)
    spread = Spread(pipeline, blobs, transport, bootstrap)
    Session(pipeline, spread, blobs, transport, Inbox(pipeline))
    pipeline.connect(spread.send, lambda _room, _effect: None, spread.warn)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spread.run)
        yield Peer(keyring, journal, pipeline, spread)
        nursery.cancel_scope.cancel()
    network.leave(transport.peer_id)
    await pipeline.close()


def charter(founders: list[Keyring], registrar: Keyring) -> bytes:
    """The opening of a space that these participants found."""
    return shape.encode(
        Charter(
            name="lung",
            purpose="survival",
            founders=tuple(Founder(identity=f.me.raw, roles=("data-provider",)) for f in founders),
            terms=Terms(registrars=(registrar.did,), advisors=(), recovery_delay=3600),
            salt=bytes(32),
        )
    )


def follow_space(world: World, space: bytes) -> None:
    """Let a node of a rig follow the space that its agreement names: without it, it judges no
    evidence. Nothing is kept of it.
    """
    document = Charter(
        name="lung",
        purpose="survival",
        founders=(Founder(identity=world.me.raw, roles=()),),
        terms=Terms(registrars=(), advisors=(), recovery_delay=3600),
        salt=bytes(32),
    )
    world.add(Opening(topic=space, type="space", document=document, raw=b""), invited=True)


def yes(peer_: Peer, slot: str, subject: bytes) -> Vote:
    return Vote(slot=slot, subject=subject, choice="yes", identity=peer_.keyring.me.id)


async def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `condition()` is true; a test that waits in vain fails."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (whatever is waited for)
            await trio.sleep(0.02)
