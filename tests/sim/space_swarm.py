"""A pure swarm of one space: gates, feeds, forks and frontiers of many nodes, and no IO, no clock.

The rules are the real ones (protocol.topic, protocol.replay, protocol.equivocation, node.frontier);
the network and the disks are played. A heap of (time, order, action) makes a seed replay exactly. A
node commits, then takes into its state, then sends; a crash may come between any two of these, and
leaves the disk. Liars sign two feeds, keep back what they know, or name heads that nobody has.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from node import frontier, wire
from protocol import equivocation, keys, record, shape
from protocol.equivocation import Fork
from protocol.errors import Refused
from protocol.events import Received
from protocol.kinds.common import Vote
from protocol.kinds.space import Artifact, Charter, Commitment, Founder, Terms
from protocol.machines.space import CHARTER_SLOT, Space
from protocol.record import Place, Record
from protocol.replay import replay
from protocol.topic import Feeds, Head, read_opening
from tests.agreements import actor, seed

START = 1_800_000_000
AUTHORS = 9
PUSHES = 12


class Crash(Exception):
    """The process of one node is gone."""


@dataclass
class Weather:
    """Chances of each message: lost, doubled; largest delay (s); chance of a crash at a step."""

    loss: float = 0.0
    doubled: float = 0.0
    delay: float = 0.1
    crash: float = 0.0
    cut: frozenset[str] = frozenset()


@dataclass
class Node:
    """One node: its disk, and what it has in memory while it is up. `lies` names its way to lie."""

    name: str
    key: bytes | None
    did: bytes
    skew: int
    lies: str = ""
    up: bool = True
    disk: dict[tuple[bytes, int], Record] = field(default_factory=dict)
    proofs: dict[bytes, Fork] = field(default_factory=dict)
    feeds: Feeds | None = None
    machine: Space | None = None
    forks: dict[bytes, Fork] = field(default_factory=dict)
    waiting: dict[bytes, Record] = field(default_factory=dict)

    @property
    def topic(self) -> bytes:
        return self.feeds.topic


class SpaceSwarm:
    """`size` nodes follow one space; the first AUTHORS found it and write, a third of all lies."""

    def __init__(self, number: int, size: int, weather: Weather, liars: float = 0.0) -> None:
        self.random = random.Random(number)  # noqa: S311 (a simulation)
        self.weather = weather
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.written = 0
        authors = [actor(f"author-{index}") for index in range(min(AUTHORS, size))]
        self.opening = read_opening(
            shape.encode(
                Charter(
                    name="swarm",
                    purpose="p",
                    founders=tuple(
                        Founder(identity=one.participant.raw, roles=()) for one in authors
                    ),
                    terms=Terms(registrars=(), advisors=(), recovery_delay=3600),
                    salt=bytes(32),
                )
            )
        )
        self.nodes: list[Node] = []
        for index in range(size):
            one = authors[index] if index < len(authors) else None
            did = one.did if one else seed(f"node {index}")
            key = one.signing if one else None
            skew = self.random.randrange(-140, 140)
            self.nodes.append(Node(f"n{index}", key, did, skew))
        self.identities = {one.did: one.participant for one in authors}
        self.appoint_liars(int(liars * len(authors)), int(liars * (size - len(authors))))
        for node in self.nodes:
            self.boot(node)
        for node in self.nodes:
            self.at(self.random.random(), lambda n=node: self.sync(n))

    def appoint_liars(self, authors: int, others: int) -> None:
        writers = [node for node in self.nodes if node.key]
        readers = [node for node in self.nodes if not node.key]
        for node in self.random.sample(writers, authors):
            node.lies = "forks"
        for node in self.random.sample(readers, others):
            node.lies = self.random.choice(["withholds", "names heads"])

    # --- time and network -------------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, action))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.heap and self.heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self.heap)
            action()
        self.now = until

    def reachable(self, one: Node, other: Node) -> bool:
        cut = self.weather.cut
        return one.up and other.up and (one.name in cut) == (other.name in cut)

    def push(self, node: Node, others: list[Node], what: Record | Fork) -> None:
        for other in others:
            copies = 1 + (self.random.random() < self.weather.doubled)
            for _ in range(copies):
                if other is not node and self.random.random() >= self.weather.loss:
                    delay = self.random.random() * self.weather.delay
                    self.at(delay, lambda o=other: self.arrive(node, o, what))

    def arrive(self, sender: Node, node: Node, what: Record | Fork) -> None:
        if self.reachable(sender, node):
            self.guarded(node, lambda: self.hear(node, what))

    # --- a node -----------------------------------------------------------------------------------

    def guarded(self, node: Node, action: Callable[[], None]) -> None:
        """Let a node act; it may crash on the way, and comes back with its disk."""
        if not node.up:
            return
        try:
            action()
        except Crash:
            node.up = False
            self.at(0.5 + self.random.random() * 3, lambda: self.boot(node))

    def step(self) -> None:
        if self.random.random() < self.weather.crash:
            raise Crash

    def boot(self, node: Node) -> None:
        node.up, node.waiting, node.forks = True, {}, dict(node.proofs)
        self.rebuild(node)

    def rebuild(self, node: Node) -> None:
        """As Pipeline._replay: from the disk, without what is void."""
        disk = node.disk
        heads: dict[bytes, Head] = {}
        for (key, seq), found in disk.items():
            if key not in heads or heads[key].seq < seq:
                heads[key] = Head(seq, found.id, 0)
        node.feeds = Feeds(
            self.opening.topic,
            "space",
            lambda key, seq: disk[key, seq].id if (key, seq) in disk else None,
        )
        for fork in node.forks.values():
            node.feeds.bar(fork.key, fork.seq)
        barred = dict(node.feeds.barred)
        kept = (one for one in disk.values() if one.kind != "commitment")
        node.machine = replay(node.feeds, heads, lambda: Space(self.opening, barred), kept, 0.0)

    def hear(self, node: Node, what: Record | Fork) -> None:
        if isinstance(what, Fork):
            self.accuse(node, what)
            return
        node.waiting[what.id] = what
        progress = True
        while progress:
            progress = False
            for one in list(node.waiting.values()):
                progress |= self.take(node, one)

    def take(self, node: Node, found: Record) -> bool:
        if found.id not in node.waiting:
            return False
        try:
            new = node.feeds.check(found, node.machine, self.wall(node))
        except Refused as error:
            if error.code in ("record.equivocation", "identity.retired", "record.clock"):
                del node.waiting[found.id]
            held = node.disk.get((found.key, found.seq))
            if error.code == "record.equivocation" and held and held.id != found.id:
                self.accuse(node, equivocation.prove(held.raw, found.raw))
            return False
        del node.waiting[found.id]
        if new:
            self.step()
            node.disk[found.key, found.seq] = found
            self.step()
            node.feeds.add(found)
            node.feeds.seen.clear()
            node.machine.handle(Received(found), self.now)
        return new

    def accuse(self, node: Node, fork: Fork) -> None:
        known = node.forks.get(fork.key)
        if known is not None and known.seq <= fork.seq:
            return
        self.step()
        node.forks[fork.key] = node.proofs[fork.key] = fork
        self.step()
        self.rebuild(node)
        self.step()
        self.push(node, self.random.sample(self.nodes, min(PUSHES, len(self.nodes))), fork)

    def wall(self, node: Node) -> int:
        return START + int(self.now) + node.skew

    # --- what authors write -----------------------------------------------------------------------

    def sign(self, node: Node, kind: str, body: object, place: Place) -> Record:
        return record.sign(
            node.key,
            topic=self.opening.topic,
            author=node.did,
            kind=kind,
            body=body,
            place=place,
            at=self.wall(node),
            salt=self.random.randbytes(16),
        )

    def found(self) -> None:
        """Every founder signs the charter."""
        for node in self.nodes:
            if node.key:
                identity = self.identities[node.did].id
                topic = self.opening.topic
                vote = Vote(slot=CHARTER_SLOT, subject=topic, choice="yes", identity=identity)
                self.publish(node, "vote", vote)

    def publish(self, node: Node, kind: str, body: object) -> None:
        def write() -> None:
            place = node.feeds.place(keys.public(node.key))
            made = self.sign(node, kind, body, place)
            node.waiting[made.id] = made
            if self.take(node, made):
                self.step()
                self.push(node, self.nodes, made)

        self.guarded(node, write)

    def write(self, node: Node) -> None:
        """One more record; a liar signs two for the same place, and tells each to one half."""
        self.written += 1
        if not node.up or not node.machine.founded:
            return
        if node.lies == "forks" and self.random.random() < 0.5:
            self.equivocate(node)
        elif self.random.random() < 0.5:
            self.publish(node, "commitment", Commitment(digest=self.random.randbytes(32)))
        else:
            self.publish(node, "algorithm", self.artifact())

    def artifact(self) -> Artifact:
        return Artifact(
            name=f"a{self.written}", version="1", blob=self.random.randbytes(32), size=1
        )

    def equivocate(self, node: Node) -> None:
        place = node.feeds.place(keys.public(node.key))
        halves = self.nodes[:]
        self.random.shuffle(halves)
        cut = self.random.randrange(1, len(halves))
        for half in (halves[:cut], halves[cut:]):
            head = place
            for _ in range(self.random.randrange(1, 4)):
                made = self.sign(node, "algorithm", self.artifact(), head)
                self.push(node, half, made)
                head = Place(seq=made.seq + 1, prev=made.id)

    # --- anti-entropy ----------------------------------------------------------------------------

    def sync(self, node: Node) -> None:
        self.at(0.7 + self.random.random() * 0.6, lambda: self.sync(node))
        other = self.random.choice(self.nodes)
        if other is not node and self.reachable(node, other):
            self.guarded(node, lambda: self.pull(node, other))

    def pull(self, node: Node, other: Node) -> None:
        """Ask page by page, as node.pulling does, and hear what the other says."""
        low: bytes | None = frontier.LOWEST
        while low is not None:
            request, low = frontier.page({node.topic: node}, low, {})
            for asked in request.topics:
                lack = self.answer(other, asked, *frontier.span(request, asked.topic))
                for raw in lack.proofs:
                    self.accuse(node, equivocation.open_proof(raw))
                for place in lack.forks:
                    self.find_fork(node, other, place[32:])
                for key, first, end in lack.wants:
                    self.bring(node, other, key, first, end)

    def answer(
        self, other: Node, asked: wire.TopicFrontier, low: bytes, high: bytes
    ) -> frontier.Lack:
        if other.lies == "withholds":
            return frontier.Lack()
        lack = frontier.lacking(other, asked, low, high)
        if other.lies == "names heads":
            lack.forks += [asked.topic + head.key for head in asked.heads]
            lack.wants = [(key, first, end + 100) for key, first, end in lack.wants[:1]]
        return lack

    def bring(self, node: Node, other: Node, key: bytes, first: int, end: int) -> None:
        for seq in range(first, end):
            found = other.disk.get((key, seq))
            if found is None or self.random.random() < self.weather.loss:
                return
            self.hear(node, found)

    def find_fork(self, node: Node, other: Node, key: bytes) -> None:
        """The lowest place at which two disks part, by halves, as node.pulling does."""
        head = node.feeds.heads.get(key)
        low, high, proof = 0, head.seq if head else -1, None
        while low <= high:
            middle = high if proof is None else (low + high) // 2
            own, theirs = node.disk.get((key, middle)), other.disk.get((key, middle))
            if own is None or theirs is None or own.id == theirs.id:
                if proof is None:
                    return
                low = middle + 1
            else:
                proof, high = equivocation.prove(own.raw, theirs.raw), middle - 1
        if proof is not None:
            self.accuse(node, proof)

    # --- the end ----------------------------------------------------------------------------------

    def settle(self, seconds: float = 60.0) -> None:
        """Let the weather clear, and everybody hear everything."""
        self.weather = Weather()
        self.run(seconds)

    def honest(self) -> list[Node]:
        return [node for node in self.nodes if not node.lies]

    def state(self, node: Node) -> tuple[object, ...]:
        """What must be the same at every honest node."""
        machine = node.machine
        return (
            tuple(sorted((key, head.id) for key, head in node.feeds.heads.items())),
            tuple(sorted(node.feeds.barred.items())),
            tuple(sorted(machine.publications)),
            machine.founded,
            tuple(sorted(machine.members())),
        )
