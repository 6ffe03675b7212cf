"""A village for people, on a network in memory: parties, a registrar, a gateway, and a host whose
enclave opens people's envelopes for real but runs no sandbox.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from node import wire
from node.bulk_lane import Lanes
from node.door import Door
from node.gateway import BOUNDS, Gateway
from node.happenings import Happenings
from node.inbox import Inbox
from node.keyring import Keyring
from node.net.memory import MemoryNetwork, memory_network
from node.net.peer_id import peer_id_of
from node.net.transport import Stream, TransportError
from node.pipeline import Pipeline
from node.registrar import Registrar
from node.session import Session
from node.share_frames import Tally
from node.share_lane import ShareLane
from node.spread import Spread
from node.store import keystore
from node.store.blobs import Blobs, SealedShares
from node.store.journal import Journal
from node.talk import serve
from node.vault import checks, light
from node.vault.light import LightPeer
from node.vault.vault import Vault
from node.world import World
from protocol import enclave_wire as ew
from protocol import keys
from protocol.attestation.evidence import enclave_id
from protocol.dialogue import Done
from protocol.errors import Refused
from protocol.sealing import stream
from tests.agreements import seed
from tests.people_story import (
    BUNDLE,
    CONTRACT,
    FOUNDERS,
    HOSTS,
    NAMES,
    NOTICE,
    PARTIES,
    PASSPHRASE,
    RINGS,
    ROW,
    Enclave,
    Story,
)


@dataclass
class Host:
    """The doors of a host's node: challenges and shares. `cut` breaks an upload after n frames,
    `cuts` times.
    """

    enclave: Enclave
    cut: int | None = None
    cuts: int = 1000
    offers: list[bytes] = field(default_factory=list)

    async def challenge(self, request: object, _: str) -> wire.Evidence:
        assert isinstance(request, wire.Challenge)
        return wire.Evidence(bundle=self.enclave.attest(request))

    async def share(self, stream_: Stream) -> None:
        raw = await stream_.receive()
        self.offers.append(raw)
        try:
            await self._take(stream_, wire.SHARE_WIRE.read_request(raw))
        except Refused as error:
            await stream_.send(wire.SHARE_WIRE.pack_refusal(error))
        except TransportError:
            return

    async def _take(self, stream_: Stream, request: object) -> None:
        assert isinstance(request, wire.OfferPersonShare)
        mine = [e for e in request.person.envelopes if e.enclave == enclave_id(self.enclave.keys)]
        if not mine:
            raise Refused("share.wrap", "no envelope for this enclave")
        held = self.enclave.begin(mine[0].sealed)
        tally = Tally(stream.header_digest(held.share.header))
        resume = wire.Resume(chunks=0, chain=tally.chain, finished=False)
        await stream_.send(wire.SHARE_WIRE.pack_answer(resume))
        frames: list[bytes] = []
        last = False
        while not last:
            frame = wire.SHARE_WIRE.read_request(await stream_.receive())
            frames.append(frame.frame)
            last = frame.last
            if self.cut is not None and self.cuts and len(frames) >= self.cut:
                self.cuts -= 1
                await stream_.reset()
                return
        receipt = self.enclave.take(held, frames)
        await stream_.send(
            wire.SHARE_WIRE.pack_answer(wire.ShareTaken(receipt=receipt, replicas=0))
        )


class Link:
    """An enclave as node/enclave_link.py reaches it, for shares alone."""

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave
        self.held: Any = None
        self.opener: stream.Opener | None = None
        self.frames: list[bytes] = []

    one_kernel = False

    async def ask(
        self, request: object, answer: type[Any], *, seconds: float = 0, descriptors: Any = ()
    ) -> Any:
        await trio.lowlevel.checkpoint()
        match request:
            case ew.ShareBegin(share=sealed, person=True):
                self.held, self.frames = self.enclave.begin(sealed), []
                share = self.held.share
                self.opener = stream.Opener(share.key, share.header)
                return ew.ShareReady(
                    share=share.id, owner=share.owner, chunks=0, chain=self.opener.chain
                )
            case ew.ShareFrame(frame=frame):
                assert self.opener is not None
                self.opener.feed(frame)
                self.frames.append(frame)
                return Done()
            case ew.ShareEnd():
                return ew.Records(records=(self.enclave.take(self.held, self.frames),))
            case _:
                raise AssertionError(request)


@dataclass
class Node:
    """One node without daemon, sandbox or socket."""

    ring: Keyring
    journal: Journal
    pipeline: Pipeline
    spread: Spread
    session: Session
    transport: Any

    @property
    def address(self) -> str:
        return address_of(self.ring.me.name)


def address_of(name: str) -> str:
    port = NAMES.index(name) + 1
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id_of(keys.public(RINGS[name].node))}"


@dataclass
class Village:
    """Everything that runs."""

    story: Story
    network: MemoryNetwork
    nodes: dict[str, Node]
    hosts: dict[str, Host]
    registrar: Registrar
    gateway: Gateway
    folder: Path
    peers: list[str] = field(default_factory=list)

    @property
    def gateway_address(self) -> str:
        return address_of("hospital-a")

    @property
    def registrar_address(self) -> str:
        return address_of("registrar")

    async def take(self, records: Iterable[bytes]) -> None:
        """Every party learns these records, and the receipts of shares before them."""
        found = [*self.story.receipts, *records]
        for name in PARTIES:
            taken = await self.nodes[name].pipeline.take(found)
            assert (taken.refused, taken.gaps) == ([], set()), name

    @asynccontextmanager
    async def connect(self, node: bytes) -> AsyncIterator[Any]:
        """The light peers' way into the network."""
        peer = peer_id_of(keys.public(node))
        self.peers.append(peer)
        transport = self.network.join(peer, listens=False)
        yield transport
        self.network.leave(peer)

    def vault(self, name: str = "07", row: bytes = ROW) -> Vault:
        vault = Vault.create(self.folder / f"vault-{name}", name, PASSPHRASE)
        vault.add_row("lung-v1", "own.csv", row)
        return vault

    async def person(self, name: str = "07", person: str = "row-224") -> LightPeer:
        """A light peer whose vault has a row and is enrolled."""
        light = LightPeer(self.vault(name), self.connect)
        code = self.registrar.enrol_new(person, "patient", 30)
        await light.enrol(code, self.registrar_address)
        return light


@asynccontextmanager
async def village(
    folder: Path, tell: Callable[[Story], None] = lambda story: None, **changes: Any
) -> AsyncIterator[Village]:
    """A village after the election of host-1, with host-2 as standby. `tell` may go on before."""
    story = Story(**changes)
    story.elect()
    tell(story)
    async with memory_network() as network, AsyncExitStack() as stack:
        nodes = {name: await _node(network, stack, folder / name, name) for name in NAMES[:6]}
        for name, one in nodes.items():
            await _learn(one, story, name)
        hosts = {name: _host(network, story, name) for name in HOSTS}
        for one in nodes.values():
            for name in NAMES:
                if name != one.ring.me.name:
                    await one.transport.dial(address_of(name))
        gate = nodes["hospital-a"]
        gateway = Gateway(gate.pipeline, gate.spread, gate.session, gate.transport)
        registrar = Registrar(nodes["registrar"].pipeline, nodes["registrar"].transport)
        yield Village(story, network, nodes, hosts, registrar, gateway, folder)


def _journal(folder: Path) -> Journal:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Journal.open(folder / "journal.db")


async def _node(network: MemoryNetwork, stack: AsyncExitStack, folder: Path, name: str) -> Node:
    ring = RINGS[name]
    journal = _journal(folder)
    stack.callback(journal.close)
    world = World(ring.me)
    pipeline = Pipeline(journal, ring, world, Happenings())
    transport = network.join(
        peer_id_of(keys.public(ring.node)), admits=lambda p: world.owner_of(p) is not None
    )
    assert transport.addresses() == (address_of(name),)
    blobs = Blobs(folder / "blobs", ring.store)
    for blob in (NOTICE, BUNDLE, CONTRACT):
        blobs.put(blob)
    spread = Spread(pipeline, blobs, transport, ())
    session = Session(pipeline, spread, blobs, transport, Inbox(pipeline))
    return Node(ring, journal, pipeline, spread, session, transport)


async def _learn(one: Node, story: Story, name: str) -> None:
    if name in FOUNDERS:
        await one.pipeline.open(story.charter)
        taken = await one.pipeline.take(story.space_records)
        assert taken.refused == [], taken
    if name in (*PARTIES, *HOSTS):
        await one.pipeline.open(story.opening, invited=name in HOSTS)
        taken = await one.pipeline.take(story.records)
        assert taken.refused == [], taken


async def real_lane(here: Village, folder: Path) -> Node:
    """host-1 again, with the share lane of the product in front of its enclave."""
    here.network.leave(peer_id_of(keys.public(RINGS["host-1"].node)))
    async with AsyncExitStack() as stack:
        here.network._ports = NAMES.index("host-1")
        one = await _node(here.network, stack, folder, "host-1")
        stack.pop_all()
    await _learn(one, here.story, "host-1")
    host = here.hosts["host-1"]
    _answer_challenges(one.transport, host)
    files = SealedShares(folder / "shares", 2**24)
    ShareLane(one.pipeline, one.transport, Link(host.enclave), files, Lanes())
    for name in PARTIES:
        await here.nodes[name].transport.dial(address_of("host-1"))
    return one


def _host(network: MemoryNetwork, story: Story, name: str) -> Host:
    host = Host(story.enclaves[name])
    transport = network.join(peer_id_of(keys.public(RINGS[name].node)))
    assert transport.addresses() == (address_of(name),)
    _answer_challenges(transport, host)
    transport.serve(wire.SHARE, host.share)
    return host


# --- what the tests of light peers have in common ------------------------------------------------


def cheap(monkeypatch: pytest.MonkeyPatch, *, connector: bool = False) -> None:
    """Cheap passphrases; and the connector's own process only where a test is about it."""
    monkeypatch.setattr(keystore, "MEMLIMIT", 2**20)
    if not connector:

        async def arrow(*_: object) -> bytes:
            return b"arrow stream"

        monkeypatch.setattr(light, "to_arrow", arrow)


async def refused(call: Any, code: str) -> None:
    """Await a call that must be refused by this code."""
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.code == code, caught.value


async def give(peer: LightPeer, here: Village, **more: Any) -> Any:
    """The person says yes through the first gateway."""
    return await peer.give(here.story.id, here.gateway_address, **more)


def pile(story: Story, **changes: Any) -> checks.Pile:
    """What an honest gateway shows, but for `changes`."""
    honest = checks.Pile(
        agreement=story.opening,
        charter=story.charter,
        charter_votes=tuple(story.space_records[:5]),
        reviews=tuple(story.space_records[5:]),
        records=tuple(story.records),
    )
    return replace(honest, **changes)


def examine(story: Story, **changes: Any) -> checks.Dossier:
    """The dossier of what a gateway shows."""
    return checks.examine(pile(story, **changes), story.id, person=seed("p"), now=now())


def now() -> int:
    """Wall time."""
    return int(time.time())


def _answer_challenges(transport: Any, host: Any) -> None:
    answer = serve(wire.ENCLAVE_WIRE, host.challenge, Door(BOUNDS))
    transport.serve(wire.ENCLAVE, answer, admit_all=True)
