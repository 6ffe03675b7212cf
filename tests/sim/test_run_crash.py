"""A host's node that dies at any step of a run, before or after its enclave heard it, and a whole
host that dies at any: the number ends in one record, and its recipient has the result, once.

The enclave is a real one; what it would compute in its sandbox is played. Two parties are nodes,
the others pens that answer what the host publishes.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from enclave_host import computation
from enclave_host import enclave as enclave_module
from enclave_host.computation import Finding, Task
from node import carrying
from node import host as host_module
from node.effects import Effects
from node.host import Host
from node.inbox import Inbox
from node.session import Session
from node.spread import Spread
from node.store.blobs import Blobs
from protocol import enclave_wire as enclave
from protocol import kinds, limits, record, shape
from protocol.events import Appraised
from protocol.kinds.common import Vote
from protocol.kinds.host import ElectionCertificate, Lapse
from protocol.kinds.run import Run, Statement, Summons
from tests.enclave_drive import Door
from tests.enclave_drive import Host as Driver
from tests.enclave_rig import AT, rows_of, seed
from tests.sim.share_rig import Sender, Site, Stage, staged, until

PENS = ("hospital-c", "lab", "sponsor")
OF_A_RUN = (
    enclave.Summon, enclave.Compare, enclave.Prepare, enclave.Load, enclave.Conclude,
    enclave.Release,
)  # fmt: skip

OF_THE_LINEAGE = (enclave.Inherit,)
"""What comes before a run where an enclave takes office after others."""

STEPS = 20
"""More than a run of two shares has, each step before and after the enclave heard it."""


def compute(task: Task) -> Finding:
    """One output, as the code and its gate would make it: the same for the same inputs."""
    output = next(one for one in task.parties.document.outputs if one.name == "model")
    content = b'{"mean":%d}' % len(task.used)
    return Finding(6, {}, leaving=tuple(computation._whole(task, output, content)))


class Killed(Exception):
    """The process is gone."""


@dataclass
class Fuse:
    """The way to the enclave; at one step of the run it stands still for ever, as a kill would."""

    door: Door
    at: int | None = None
    steps: int = 0
    burnt: trio.Event = field(default_factory=trio.Event)
    one_kernel = False

    async def ask(self, request: object, answer: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        counted = isinstance(request, (*OF_A_RUN, *OF_THE_LINEAGE))
        await self._step(counted)
        found = self.door.ask(request, answer)
        await self._step(counted)
        return found

    async def _step(self, counted: bool) -> None:
        if counted:
            self.steps += 1
            if self.steps == self.at:
                self.burnt.set()
        if self.burnt.is_set() and self.at is not None:
            await trio.sleep_forever()


@dataclass
class World:
    """The stage with hosts that run by themselves, and pens that answer."""

    stage: Stage
    nursery: trio.Nursery
    answered: set[bytes] = field(default_factory=set)
    accepted: dict[tuple[str, int, int], bytes] = field(default_factory=dict)
    spares: dict[str, list[Driver]] = field(default_factory=dict)
    running: dict[str, trio.CancelScope] = field(default_factory=dict)
    silent: bool = False

    def serve(self, name: str) -> Site:
        """A node answers the others, and keeps its results."""
        site = self.stage.sites[name]
        blobs = Blobs(site.folder / "blobs", seed(f"store {name}"))
        for blob in self.stage.rig.blobs:
            blobs.put(blob)
        spread = Spread(site.pipeline, blobs, site.transport, ())
        Session(site.pipeline, spread, blobs, site.transport, Inbox(site.pipeline))
        site.blobs, site.spread = blobs, spread
        return site

    async def host(self, name: str, at: int | None = None) -> Fuse:
        """Start the node of a host, or start it again."""
        if name in self.running:
            await self.stage.site(name)
            await self.hear_all(name)
        site = self.serve(name)
        fuse = Fuse(self.stage.hosts[name].door, at)
        site.lane.link = fuse
        made = Host(
            site.pipeline, site.spread, site.blobs, site.transport, fuse, site.lane, name, "NL"
        )
        appraiser = SimpleNamespace(verify=None)
        effects = Effects(site.pipeline, site.spread, appraiser)
        effects.host = made
        site.pipeline.connect(
            lambda _room, found: self.stage.send(name, found.raw), effects.perform
        )
        scope = await self.nursery.start(self._run, made, effects)
        self.running[name] = scope
        return fuse

    async def _run(
        self, made: Host, effects: Effects, task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(made.run)
                nursery.start_soon(effects.run)
                task_status.started(scope)

    async def hear_all(self, name: str) -> None:
        """What a pull brings."""
        await self.stage.sites[name].pipeline.take(self.stage.records + self.stage.outbox)

    def kill(self, name: str) -> None:
        self.running[name].cancel()

    # --- the others ------------------------------------------------------------------------------

    async def answer(self) -> None:
        """The pens: a statement for each summons, a vote for each record, for ever."""
        while True:
            for raw in list(self.stage.outbox):
                found = record.parse(raw)
                due = found.id not in self.answered and not self.silent
                if due and found.kind in ("summons", "run"):
                    self.answered.add(found.id)
                    await self.say(self.words(found.kind, found))
            await self.pull()
            await trio.sleep(0.01)

    async def pull(self) -> None:
        """What anti-entropy brings: what a host's node has of its enclave, and did not spread."""
        for name in self.running:
            session = self.stage.hosts[name].door.enclave.sessions[self.stage.rig.id]
            feeds = self.stage.sites[name].pipeline.world.room(self.stage.rig.id).feeds
            known = [record.parse(raw) for raw in session.feed.signed]
            lacking = [
                one.raw
                for one in known
                if one.raw not in self.stage.outbox and feeds.id_at(one.key, one.seq) == one.id
            ]
            if lacking:
                await self.say(lacking)

    async def say(self, raws: list[bytes]) -> None:
        self.stage.outbox.extend(raws)
        for site in list(self.stage.sites.values()):
            await site.pipeline.take(raws)

    def words(self, kind: str, found: Any) -> list[bytes]:
        return [self.word(name, kind, found) for name in PENS]

    def word(self, name: str, kind: str, found: Any) -> bytes:
        pen = self.stage.rig.pens[name]
        if kind == "summons":
            asked = kinds.read(Summons, found)
            about = (name, asked.number)
            terms = [t for *one, t in self.accepted if (*one,) == about and t < asked.term]
            shown = self.accepted[*about, max(terms)] if terms else None
            before = asked.term - 1 if asked.number == 1 else 0
            said = Statement(
                number=asked.number, term=asked.term, nonce=asked.nonce, stops=(),
                suspended=False, attempts=before, accepted=shown, at=AT + 1000,
            )  # fmt: skip
            return pen.write("statement", said).raw
        run = kinds.read(Run, found)
        self.accepted[name, run.number, run.term] = found.raw
        vote = Vote(
            slot=f"run/{run.number}/{run.term}", subject=found.id, choice="yes",
            identity=self.stage.rig.actors[name].participant.id,
        )  # fmt: skip
        return pen.write("vote", vote).raw

    async def reboot(self, name: str, at: int | None = None) -> Fuse:
        """The enclave is gone, and all that it held; the node finds another boot, and offers it."""
        driver = self.spares[name].pop(0).join()
        self.stage.hosts[name] = driver
        if name in self.running:
            self.kill(name)
        fuse = await self.host(name)
        election = self.stage.sites["hospital-b"].machine.election

        def offered() -> bool:
            known = election.candidacies[election.latest()[driver.who.did]]
            driver.candidacy = known[0]
            return bool(known[1].enclave == driver.keys)

        await until(offered, 10)
        fuse.at = None if at is None else fuse.steps + at
        return fuse

    async def order(self) -> None:
        """One more order."""
        await self.say([self.stage.rig.order().raw])

    async def fail_over(self, to: str, term: int, *standbys: str) -> None:
        """The term lapses, and all elect another host, or another boot of the same."""
        driver: Driver = self.stage.hosts[to]
        rig = self.stage.rig
        lapses = [
            rig.pens[name].write("lapse", Lapse(term=term - 1, reason="silent")).raw
            for name in PENS
        ]
        await self.say([*lapses, driver.candidacy.raw])
        named = [self.stage.hosts[name] for name in standbys]
        for one in self.stage.hosts.values():
            fit = one is driver or one in named
            told = [self.stage.verdict(rig.actors[name], one, term, fit) for name in PENS]
            await self.say(told)
            mine = Appraised(self.stage.verdict_on(one, term, fit))
            for name in ("hospital-a", "hospital-b"):
                await self.stage.sites[name].pipeline.tell(rig.id, mine)
        waiting = tuple(one.candidacy for one in named)
        raw = rig.certificate(term, driver.candidacy, waiting, voters=0)
        appointment = shape.decode(ElectionCertificate, raw, limits.FRAME).appointment
        subject = hashlib.sha256(appointment).digest()
        votes = []
        for name in PENS:
            body = Vote(
                slot=f"host/{term}", subject=subject, choice="yes", document=appointment,
                identity=rig.actors[name].participant.id,
            )  # fmt: skip
            votes.append(rig.pens[name].write("vote", body).raw)
        await self.say(votes)

    # --- what is to be seen ----------------------------------------------------------------------

    def ended(self) -> dict[int, tuple[Any, Run]]:
        found: dict[int, tuple[Any, Run]] = self.stage.sites["hospital-b"].machine.runs.committed()
        return found

    def results(self) -> list[str]:
        return [one.name for one in self.stage.sites["hospital-b"].journal.results()]


@pytest.fixture
async def world(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    async with living(tmp_path, monkeypatch) as made:
        yield made


@asynccontextmanager
async def living(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, spares: int = 0
) -> AsyncIterator[World]:
    """`spares` are boots of each host's enclave that come later; owners wrapped their keys to them
    as they do after each election.
    """
    monkeypatch.setattr(enclave_module, "compute", compute)
    monkeypatch.setattr(enclave_module, "_until_quantum", lambda *_: None)
    monkeypatch.setattr(carrying, "RETRY", 0.05)
    monkeypatch.setattr(host_module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr("node.effects.PAUSE", 0.02)
    monkeypatch.setattr("node.effects.LONGEST_PAUSE", 0.02)
    monkeypatch.setattr("protocol.machines.runs.GRACE", 0.1)
    async with staged(tmp_path, monkeypatch) as stage, trio.open_nursery() as nursery:
        made = World(stage, nursery)
        for name in ("hospital-a", "hospital-b"):
            made.serve(name)
        nursery.start_soon(made.answer)
        for name, one in stage.hosts.items():
            boots = [Driver(stage.rig, one.who, Door(stage.start())) for _ in range(spares)]
            made.spares[name] = boots
        later = [one.keys for boots in made.spares.values() for one in boots]
        enclaves = [*(one.keys for one in stage.hosts.values()), *later]
        for name, who in (("hospital-a", stage.rig.a), ("hospital-b", stage.rig.b)):
            share = stage.rig.share(who, rows_of(*range(3)), *enclaves)
            (raw,) = set(share.opener.values())
            await stage.tell(raw)
            await (await Sender(stage, name).open()).push(share)
        yield made
        nursery.cancel_scope.cancel()


async def whole(world: World, at: int | None = None) -> Fuse:
    """A run of the first host, as far as it comes."""
    await world.host("host-2")
    fuse = await world.host("host-1", at)
    order = world.stage.rig.order().raw
    world.stage.outbox.append(order)
    for site in list(world.stage.sites.values()):
        await site.pipeline.take([order])
    return fuse


async def test_without_a_crash_the_number_ends_and_its_result_arrives(world: World) -> None:
    fuse = await whole(world)
    await until(lambda: world.results() == ["model"], 10)
    assert [run.outcome for _, run in world.ended().values()] == ["released"]
    assert fuse.steps >= 2 * len(OF_A_RUN)


async def killed(world: World, at: int) -> bool:
    """Whether host-1's node was killed at a step: not if there were not so many."""
    fuse = await whole(world, at)
    with trio.move_on_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_first, nursery, fuse.burnt.wait)
            nursery.start_soon(_first, nursery, _until_result, world)
    if fuse.burnt.is_set():
        world.kill("host-1")
    return fuse.burnt.is_set()


async def kill_node(world: World, at: int) -> bool:
    """Kill the host's node at a step and start it again; False if there were not so many."""
    if not await killed(world, at):
        return False
    await world.host("host-1")
    await until(lambda: world.results() == ["model"], 10)
    ((made, run),) = world.ended().values()
    assert run.term == 1
    assert run.outcome == "released"
    for name in ("host-1", "host-2"):
        assert world.stage.sites[name].blobs.has(run.lineage), (name, at)
    made_here = {one.id for one in map(record.parse, world.stage.outbox) if one.kind == "run"}
    assert made_here == {made.id}
    assert made.seq > 0
    return True


async def _until_result(world: World) -> None:
    await until(lambda: world.results() == ["model"], 10)


async def _first(nursery: trio.Nursery, act: Callable[..., Any], *arguments: Any) -> None:
    await act(*arguments)
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("at", [2, 5, 11, 13])
async def test_a_node_killed_at_a_step_goes_on(world: World, at: int) -> None:
    await kill_node(world, at)


@pytest.mark.soak
@pytest.mark.parametrize("at", range(1, STEPS))
async def test_a_node_killed_at_every_step_goes_on(world: World, at: int) -> None:
    assert await kill_node(world, at) or at > 2 * len(OF_A_RUN)


async def kill_host(world: World, at: int) -> bool:
    """Node and enclave of the host die at a step, for good; the standby ends the number."""
    if not await killed(world, at):
        return False
    await trio.sleep(0.1)  # what was on its way to others arrives: votes, too
    before = {number: run.term for number, (_, run) in world.ended().items()}
    await world.fail_over("host-2", 2)
    await until(lambda: world.results() == ["model"], 10)
    ((_, run),) = world.ended().values()
    assert (run.term, run.outcome) == (2, "released")
    if before:
        assert run.adopts is not None, "what was decided is released as it was"
    return True


@pytest.mark.parametrize("at", [4, 12])
async def test_a_host_that_dies_at_a_step_loses_nothing(world: World, at: int) -> None:
    await kill_host(world, at)


@pytest.mark.soak
@pytest.mark.parametrize("at", range(1, STEPS))
async def test_a_host_that_dies_at_any_step_loses_nothing(world: World, at: int) -> None:
    assert await kill_host(world, at) or at > 2 * len(OF_A_RUN)


async def test_a_broken_sandbox_never_blocks_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each enclave starts the number and breaks; when the agreed attempts are used up, an enclave
    that runs nothing ends it, and the next order runs.
    """

    def broken(_: Task) -> Finding:
        raise OSError("no memory")

    monkeypatch.setattr(enclave_module, "compute", broken)
    await whole(world)
    for term in (2, 3, 4):
        until_started = (1, term - 1)
        runs = world.stage.sites["hospital-b"].machine.runs
        await until(lambda place=until_started, runs=runs: place in runs.started, 10)
        name = "host-2" if term % 2 == 0 else "host-1"
        await world.fail_over(name, term)
    await until(lambda: 1 in world.ended(), 10)
    assert world.ended()[1][1].outcome == "void"
    monkeypatch.setattr(enclave_module, "compute", compute)
    order = world.stage.rig.order().raw
    await world.say([order])
    await until(lambda: 2 in world.ended(), 10)
    assert world.ended()[2][1].outcome == "released"


def test_the_wire_has_no_other_step_of_a_run() -> None:
    """A new step must be one at which these tests kill."""
    others = (
        enclave.Hello, enclave.Attest, enclave.Join, enclave.Introduce, enclave.Provide,
        enclave.Appoint, enclave.Beat, enclave.ShareBegin, enclave.ShareFrame,
        enclave.ShareStream, enclave.ShareEnd, enclave.Stops, enclave.Feed, enclave.Forget,
        enclave.Carried,
    )  # fmt: skip
    assert set(enclave.REQUESTS.values()) == {*OF_A_RUN, *OF_THE_LINEAGE, *others}
