"""A running node: every part, put together once. The methods of the admin API take this."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from node import restored
from node.appraisal import Appraiser
from node.bulk_lane import Lanes
from node.confidential import CodeSender
from node.config import Config
from node.effects import Effects
from node.enclave_link import EnclaveLink
from node.erasing import Erasing
from node.gateway import Gateway
from node.happenings import Happenings
from node.host import Host
from node.inbox import Inbox
from node.keyring import Keyring
from node.net.transport import Transport
from node.pipeline import Pipeline
from node.registrar import Registrar
from node.session import Session
from node.share_lane import ShareLane
from node.shares import Owner
from node.spread import Spread
from node.store.blobs import Blobs, SealedShares
from node.store.journal import Journal
from node.world import World

BOOTSTRAP: Final = "bootstrap/"
"""State of the journal: addresses that an operator or an invitation named, to be dialled."""


@dataclass(slots=True, kw_only=True)
class Node:
    """All parts of one node. `host` is there where an enclave is configured, `registrar` where the
    participant is an identity authority; `console` is the link that opens the web console, once.
    """

    config: Config
    keyring: Keyring
    journal: Journal
    blobs: Blobs
    world: World
    happenings: Happenings
    pipeline: Pipeline
    transport: Transport
    spread: Spread
    inbox: Inbox
    session: Session
    effects: Effects
    lanes: Lanes
    owner: Owner
    erasing: Erasing
    gateway: Gateway
    host: Host | None
    registrar: Registrar | None
    console: str | None = None


def build(config: Config, keyring: Keyring, journal: Journal, transport: Transport) -> Node:
    """Put a node together on a journal and a transport; nothing runs yet, all is restored."""
    happenings = Happenings()
    world = World(keyring.me, floor=restored.floors(journal, keyring.me.vote_key))
    blobs = Blobs(config.node.state / "blobs", keyring.store, config.limits.disk // 2)
    pipeline = Pipeline(journal, keyring, world, happenings)
    pipeline.restore()
    added = (name.removeprefix(BOOTSTRAP) for name in journal.states(BOOTSTRAP))
    spread = Spread(pipeline, blobs, transport, (*config.network.bootstrap, *added))
    inbox = Inbox(pipeline)
    session = Session(pipeline, spread, blobs, transport, inbox)
    appraiser = Appraiser(pipeline, blobs, transport)
    effects = Effects(pipeline, spread, appraiser)
    lanes = _lanes(config, transport)
    owner = Owner(pipeline, transport, appraiser.verify, lanes)
    gateway = Gateway(pipeline, spread, session, transport)
    registrar = Registrar(pipeline, transport) if config.registrar.enabled else None
    host = _host(config, pipeline, spread, blobs, transport, lanes)
    effects.owner, effects.host = owner, host
    erasing = Erasing(pipeline, host.lane if host is not None else None)
    pipeline.connect(spread.send, effects.perform, spread.warn)
    for room in world.rooms.values():
        spread.listen(room)
    return Node(
        config=config,
        keyring=keyring,
        journal=journal,
        blobs=blobs,
        world=world,
        happenings=happenings,
        pipeline=pipeline,
        transport=transport,
        spread=spread,
        inbox=inbox,
        session=session,
        effects=effects,
        lanes=lanes,
        owner=owner,
        erasing=erasing,
        gateway=gateway,
        host=host,
        registrar=registrar,
    )


def _host(
    config: Config,
    pipeline: Pipeline,
    spread: Spread,
    blobs: Blobs,
    transport: Transport,
    lanes: Lanes,
) -> Host | None:
    if config.enclave is None:
        return None
    link = EnclaveLink(config.enclave.socket)
    stored = SealedShares(config.node.state / "shares", config.limits.disk // 2)
    lane = ShareLane(pipeline, transport, link, stored, lanes)
    operator = config.enclave.operator or config.node.name
    region = config.enclave.region or ""
    return Host(pipeline, spread, blobs, transport, link, lane, operator, region)


def _lanes(config: Config, transport: Transport) -> Lanes:
    bulk = config.network.bulk
    connect = transport.connect if bulk.dials else None
    if bulk.listen is None:
        return Lanes(connect=connect)
    return Lanes(bulk.listen.host, bulk.listen.port, connect)


@asynccontextmanager
async def running(node: Node) -> AsyncIterator[Node]:
    """Run the parts of a node that act by themselves, until the block is left."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(node.spread.run)
        nursery.start_soon(node.effects.run)
        nursery.start_soon(node.lanes.run)
        nursery.start_soon(node.owner.run)
        nursery.start_soon(node.erasing.run)
        nursery.start_soon(CodeSender(node.owner, node.spread, node.keyring).run)
        nursery.start_soon(restored.Restored(node.pipeline, node.spread).run)
        if node.host is not None:
            nursery.start_soon(node.host.run)
            nursery.start_soon(node.host.lane.run)
        yield node
        nursery.cancel_scope.cancel()
