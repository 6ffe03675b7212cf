"""Real nodes around a real enclave, on a network in memory: owners, a host, a standby.

The enclave's contract check runs in this process; all else of it is what runs in earnest.
"""

import io
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import trio

from enclave_host import checking, environment
from enclave_host import session as enclave_session
from enclave_host.inputs import Checked
from enclave_host.runners import prepare
from node import config, wire
from node.bulk_lane import Lanes
from node.enclave_link import EnclaveUnreachable
from node.happenings import Happenings
from node.keyring import Keyring
from node.net.memory import MemoryNetwork, Weather, memory_network
from node.net.peer_id import peer_id_of
from node.pipeline import Pipeline
from node.share_lane import ShareLane
from node.shares import Owner
from node.store.blobs import SealedShares
from node.store.journal import Journal
from node.world import World
from protocol import enclave_wire as enclave
from protocol import keys, kinds, limits, record, shape
from protocol.attestation import policy
from protocol.kinds import host
from protocol.kinds.share import Receipt
from tests.enclave_drive import Door, Host, enclaves
from tests.enclave_rig import AT, Actor, Rig, Sealed, seed
from tests.enclave_vitals import CONTRACT
from tests.sim.nodes import follow_space

SITES = ("hospital-a", "hospital-b", "host-1", "host-2")

CHUNK = 1024
"""Bytes of a chunk here, so that a small file has many."""


def check(_datacage: Any, contract: Any, column: str, person: str | None, feed: int) -> Checked:
    """The contract check of the sandbox, without the sandbox."""
    with os.fdopen(os.dup(feed), "rb") as stream:
        return _checked(contract, column, person, stream)


def check_together(_datacage: Any, contract: Any, column: str, shares: Any) -> list[Checked]:
    """The same for small shares of people."""
    return [_checked(contract, column, one.person, io.BytesIO(one.content)) for one in shares]


def _checked(contract: Any, column: str, person: str | None, stream: Any) -> Checked:
    question = {"contract": contract.plain(), "person": column}
    head = prepare.check(pa, json.loads(json.dumps(question)), {"person": person}, stream)
    if head["fault"] is not None:
        return Checked(f"share.contract {head['fault']}", 0, 0)
    return Checked("kept", head["rows"], head["people"])


@dataclass
class Link:
    """The way to an enclave in this process. `stop_at` freezes the node at that frame, before or
    after the enclave saw it, as a kill would; `down` cuts the way.
    """

    door: Door
    down: bool = False
    stop_at: int | None = None
    after: bool = False
    frames: int = 0
    stopped: trio.Event = field(default_factory=trio.Event)

    one_kernel = False

    async def ask(
        self, request: object, answer: Any, *, seconds: float = 60.0, descriptors: Any = ()
    ) -> Any:
        assert not descriptors
        await trio.lowlevel.checkpoint()
        if self.down:
            raise EnclaveUnreachable("down")
        counted = isinstance(request, enclave.ShareFrame)
        self.frames += counted
        frozen = counted and self.frames == self.stop_at
        if frozen and not self.after:
            await self._freeze()
        found = self.door.ask(request, answer)
        if frozen:
            await self._freeze()
        return found

    async def _freeze(self) -> None:
        self.stopped.set()
        await trio.sleep_forever()


@dataclass
class Site:
    """One organization's node: what it keeps survives `restart`."""

    name: str
    keyring: Keyring
    journal: Journal
    folder: Path
    pipeline: Pipeline
    transport: Any
    link: Link | None = None
    lane: ShareLane | None = None
    owner: Owner | None = None

    @property
    def machine(self) -> Any:
        (found,) = self.pipeline.world.collaborations()
        return found

    @property
    def happened(self) -> list[str]:
        return [one.event for one in self.pipeline.happenings.kept]


class Stage:
    """All sites of one agreement, after the election of host-1 with host-2 as its standby."""

    def __init__(self, folder: Path, network: MemoryNetwork, start: Callable[[], Any], rig: Rig):
        self.folder, self.network, self.start, self.rig = folder, network, start, rig
        # Hospital A's node signs for itself: four others are a quorum.
        rig.parties = (*rig.parties[1:], rig.parties[0])
        self.hosts = {
            name: Host(rig, rig.actors[name], Door(start())).join() for name in ("host-1", "host-2")
        }
        self.sites: dict[str, Site] = {}
        self.records: list[bytes] = []
        self.outbox: list[bytes] = []
        self.challenged: list[tuple[str, int]] = []
        self.turned: set[str] = set()
        self.tasks: trio.Nursery | None = None
        self.lanes = {name: Lanes() for name in SITES}

    async def open(self, doubted: tuple[str, ...] = ()) -> None:
        rig = self.rig
        first, second = self.hosts["host-1"], self.hosts["host-2"]
        self.records += [first.candidacy.raw, second.candidacy.raw]
        for owner in (rig.a, rig.b):
            for one in (first, second):
                fit = owner is rig.b or one.who.name not in doubted
                self.records.append(self.verdict(owner, one, 1, fit))
        self.elect(1, first, (second,))
        for name in SITES:
            await self.site(name)

    def verdict(self, who: Actor, of: Host, term: int, eligible: bool) -> bytes:
        body = self.verdict_on(of, term, eligible)
        return self.rig.pens[who.name].write("verdict", body).raw

    async def verify(self, _machine: Any, candidacy: bytes, term: int) -> host.Verdict:
        """The answer to a fresh challenge before sealing, whatever was found at the election."""
        of = next(one for one in self.hosts.values() if one.candidacy.id == candidacy)
        self.challenged.append((of.who.name, term))
        return self.verdict_on(of, term, of.who.name not in self.turned)

    def verdict_on(self, of: Host, term: int, eligible: bool) -> host.Verdict:
        return host.Verdict(
            candidacy=of.candidacy.id,
            term=term,
            eligible=eligible,
            reasons=() if eligible else ("evidence.measurement",),
            technology="simulated",
            nonce=seed("nonce"),
            policy=policy.digest(self.rig.document.attestation),
            at=AT,
            until=2**39 if eligible else AT,
        )

    def say(self, who: Actor, kind: str, body: object) -> None:
        """Publish from a node, whose feed its pen does not know any more."""
        self.tasks.start_soon(self.sites[who.name].pipeline.publish, self.rig.id, kind, body)

    def elect(self, term: int, of: Host, standbys: tuple[Host, ...]) -> list[bytes]:
        named = tuple(one.candidacy for one in standbys)
        raw = self.rig.certificate(term, of.candidacy, named)
        of.appoint(raw, named)
        votes = list(shape.decode(host.ElectionCertificate, raw, limits.FRAME).votes)
        self.records += votes
        return votes

    async def site(self, name: str) -> Site:
        """Start a node, or the same node again after a crash."""
        before = self.sites.get(name)
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        actor = self.rig.actors[name]
        keyring = Keyring(
            node=seed(f"node {name}"),
            record=actor.signing,
            sealing=actor.sealing,
            store=seed(f"store {name}"),
            me=actor.participant,
        )
        journal = before.journal if before else Journal.open(folder / "journal.db")
        world = World(keyring.me)
        pipeline = Pipeline(journal, keyring, world, Happenings())
        pipeline.restore()
        pipeline.connect(lambda _room, found: self.send(name, found.raw), lambda *_: None)
        peer = peer_id_of(keys.public(keyring.node))
        self.network.leave(peer)
        transport = self.network.join(peer, admits=lambda p: world.owner_of(p) is not None)
        site = Site(name, keyring, journal, folder, pipeline, transport)
        self.sites[name] = site
        room = await pipeline.open(self.rig.opening, invited=True)
        follow_space(world, room.opening.document.space)
        taken = await pipeline.take(self.records + self.outbox)
        assert not taken.refused, taken.refused
        if name in self.hosts:
            site.link = Link(self.hosts[name].door)
            site.lane = ShareLane(
                pipeline, transport, site.link, SealedShares(folder / "shares"), self.lanes[name]
            )
        else:
            site.owner = Owner(
                pipeline, transport, self.verify, self.lanes.setdefault(name, Lanes())
            )
        await self.connect(site)
        return site

    async def connect(self, site: Site) -> None:
        for other in self.sites.values():
            if other is not site:
                await site.transport.dial(other.transport.addresses()[0])

    def send(self, sender: str, raw: bytes) -> None:
        self.outbox.append(raw)
        for name, site in list(self.sites.items()):
            if name != sender:
                self.tasks.start_soon(self._take, site, raw)

    async def _take(self, site: Site, raw: bytes) -> None:
        await site.pipeline.take([raw])

    async def tell(self, *raws: bytes) -> None:
        """Let every site know of records that were signed by a pen."""
        self.records += raws
        for site in self.sites.values():
            taken = await site.pipeline.take(raws)
            assert not taken.refused, taken.refused

    # --- short ways -----------------------------------------------------------------------------

    @property
    def lane(self) -> ShareLane:
        return self.sites["host-1"].lane

    @property
    def link(self) -> Link:
        return self.sites["host-1"].link

    @property
    def owner(self) -> Owner:
        return self.sites["hospital-a"].owner

    def source(self, rows: int = 200, name: str = "rows.csv", value: float = 1.5) -> config.Source:
        lines = "".join(f"person-{n:04},{n % 90 + 1},{value + n / 8}\n" for n in range(rows))
        (self.folder / name).write_text("person,site,value\n" + lines)
        (self.folder / "contract.yaml").write_bytes(CONTRACT)
        contract = self.folder / "contract.yaml"
        return config.Source(file=self.folder / name, contract=contract, query=None, exclude=None)

    def receipt(self, site: str, share: bytes) -> Receipt | None:
        return self.sites[site].machine.receipts.get(share)


class Sender:
    """Somebody who speaks wire.SHARE, frame by frame, and can lie."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.site = stage, stage.sites[name]

    async def open(self, protocol: str = wire.SHARE, to: str = "host-1") -> "Sender":
        self.stream = await self.site.transport.open(
            self.stage.sites[to].transport.peer_id, protocol
        )
        self.wire = wire.SHARE_WIRE if protocol == wire.SHARE else wire.REPLICA_WIRE
        return self

    async def say(self, request: object) -> None:
        await self.stream.send(self.wire.pack_request(request))

    async def hear(self, answer: Any) -> Any:
        with trio.fail_after(30):
            return self.wire.read_answer(await self.stream.receive(), answer)

    async def offer(self, share: Sealed) -> wire.Resume:
        (raw,) = set(share.opener.values())
        await self.say(wire.OfferShare(agreement=self.stage.rig.id, share=raw))
        resume: wire.Resume = await self.hear(wire.Resume)
        return resume

    async def frames(self, *frames: bytes) -> None:
        for frame in frames:
            await self.say(wire.ShareFrame(frame=frame, last=frame[:1] == b"\x03"))

    async def push(self, share: Sealed) -> Receipt:
        """What is missing, honestly: all frames from the start."""
        await self.offer(share)
        await self.frames(*share.frames)
        taken = await self.hear(wire.ShareTaken)
        return kinds.read(Receipt, record.parse(taken.receipt))


@asynccontextmanager
async def staged(
    folder: Path,
    monkeypatch: Any,
    weather: Weather | None = None,
    lanes: dict[str, Lanes] | None = None,
    **changes: Any,
) -> AsyncIterator[Stage]:
    """A stage that runs until the block is left; `lanes` are those of some sites."""
    began = time.time()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: AT + 1000 + now() - began)
    monkeypatch.setattr(checking, "check", check)
    monkeypatch.setattr(enclave_session, "check_together", check_together)
    monkeypatch.setattr(limits, "CHUNK", CHUNK)
    environments = folder / "environment"
    environments.mkdir()
    (environments / "numbers.py").write_text("one = 1\n")
    with enclaves(environments) as start:
        async with memory_network(weather) as network, trio.open_nursery() as tasks:
            stage = Stage(folder, network, start, Rig(environment.digest(environments)))
            stage.tasks = tasks
            for name, one in (lanes or {}).items():
                stage.lanes[name] = one
                tasks.start_soon(one.run)
            await stage.open(**changes)
            yield stage
            tasks.cancel_scope.cancel()
        for site in stage.sites.values():
            site.journal.close()


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that happens elsewhere."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 (whatever is waited for)
            await trio.sleep(0.01)
