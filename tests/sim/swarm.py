"""A pure swarm: many machines of one agreement, a seeded network between them, no IO, no clock.

A heap of (time, order, action) drives everything, so that a seed replays a run exactly. Parties and
hosts are real machines with real keys and records; an enclave is played by the few lines that its
protocol asks for (summon, propose once a quorum of statements is there), because what is tested
here is what parties agree on, not what an enclave computes.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol import keys, kinds, record
from protocol.attestation.advisories import hit
from protocol.attestation.evidence import enclave_id
from protocol.effects import Challenge, Effect, Execute, Publish, Summon
from protocol.errors import Refused
from protocol.events import Appraised, HeartbeatHeard, Received
from protocol.kinds.advisory import Advisory, Measured
from protocol.kinds.host import Candidacy, EnclaveKeys, Verdict
from protocol.kinds.run import Order, Run, Started, Statement, Summons
from protocol.machines.advisories import Ground
from protocol.machines.agreement import Collaboration, Self
from protocol.machines.runs import consents_root
from protocol.record import Record
from protocol.topic import Feeds, read_opening

START = 1_800_000_000
ZERO = bytes(32)


@dataclass
class Weather:
    """What the network does: share of messages lost, largest delay (seconds)."""

    loss: float = 0.0
    delay: float = 0.05
    partition: set[str] = field(default_factory=set)


@dataclass
class Player:
    """One participant: its keys, machine, feeds, and everything it knows, in order of arrival."""

    name: str
    seed: bytes
    did: bytes
    machine: Collaboration
    feeds: Feeds
    alive: bool = True
    known: dict[bytes, Record] = field(default_factory=dict)
    waiting: dict[bytes, Record] = field(default_factory=dict)
    enclave: bytes | None = None


class Swarm:
    """Parties and hosts of one agreement in a seeded world."""

    def __init__(
        self, seed: int, opening: bytes, seeds: dict[str, bytes], weather: Weather
    ) -> None:
        """`seeds`: petname -> record key seed of each participant of the opening."""
        self.random = random.Random(seed)  # noqa: S311 (a simulation)
        self.now = 0.0
        self.weather = weather
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.running: set[tuple[str, Effect]] = set()
        found = read_opening(opening)
        self.players: dict[str, Player] = {}
        document = found.document
        for member in (*document.parties, *document.hosts.candidates):
            who = found.participants[member.did]
            self.players[member.name] = Player(
                name=member.name,
                seed=seeds[member.name],
                did=who.did,
                machine=Collaboration(found, Self(did=who.did, identity=who.id)),
                feeds=Feeds(found.topic, "agreement"),
            )
        self.topic = found.topic
        self.document = document

    # --- time and network -------------------------------------------------------------------

    def at(self, delay: float, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (self.now + delay, self.count, action))

    def run(self, until: float) -> None:
        while self.heap and self.heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self.heap)
            action()
        self.now = until

    def start(self) -> None:
        for player in self.players.values():
            self.at(self.random.random() * 0.3, lambda p=player: self.tick(p))
            self.at(1.0 + self.random.random(), lambda p=player: self.sync(p))

    def reachable(self, one: Player, other: Player) -> bool:
        cut = self.weather.partition
        return one.alive and other.alive and (one.name in cut) == (other.name in cut)

    def send(self, sender: Player, made: Record) -> None:
        for other in self.players.values():
            if other is sender or self.random.random() < self.weather.loss:
                continue
            if self.reachable(sender, other):
                delay = self.random.random() * self.weather.delay
                self.at(delay, lambda o=other, r=made: self.receive(o, r))

    def sync(self, player: Player) -> None:
        """Anti-entropy with one random peer."""
        self.at(1.0, lambda: self.sync(player))
        other = self.random.choice([p for p in self.players.values() if p is not player])
        if self.reachable(player, other):
            for made in list(other.known.values()):
                self.receive(player, made)

    def tick(self, player: Player) -> None:
        self.at(0.25, lambda: self.tick(player))
        if player.alive:
            self.step(player)
            self.beat(player)

    # --- a node -------------------------------------------------------------------------------

    def receive(self, player: Player, made: Record) -> None:
        if not player.alive or made.id in player.known:
            return
        player.waiting[made.id] = made
        progress = True
        while progress:
            progress = False
            for waiting in list(player.waiting.values()):
                if self.take(player, waiting):
                    progress = True
        self.step(player)

    def take(self, player: Player, made: Record) -> bool:
        try:
            new = player.feeds.check(made, player.machine, START + int(self.now))
        except Refused:
            return False
        player.waiting.pop(made.id, None)
        if new:
            player.feeds.add(made)
            player.known[made.id] = made
            for effect in player.machine.handle(Received(made), self.now):
                self.perform(player, effect)
        return new

    def publish(self, player: Player, kind: str, body: object, seed: bytes | None = None) -> Record:
        key = seed or player.seed
        author = player.did if seed is None else keys.public(seed)
        made = record.sign(
            key,
            topic=self.topic,
            author=author,
            kind=kind,
            body=body,
            place=player.feeds.place(keys.public(key)),
            at=START + int(self.now),
            salt=self.random.randbytes(16),
        )
        assert self.take(player, made)
        self.send(player, made)
        return made

    def step(self, player: Player) -> None:
        for _ in range(20):
            owed = player.machine.duties(self.now, START + int(self.now))
            made = [effect for effect in owed if isinstance(effect, Publish)]
            for effect in owed:
                if not isinstance(effect, Publish):
                    self.perform(player, effect)
            for effect in made:
                self.publish(player, effect.kind, effect.body)
            if not made:
                return

    def perform(self, player: Player, effect: Effect) -> None:
        match effect:
            case Publish(kind, body):
                self.publish(player, kind, body)
            case Challenge():
                if (player.name, effect) not in self.running:
                    self.running.add((player.name, effect))
                    self.at(0.02, lambda: self.appraise(player, effect))
            case Summon(number, term, order):
                self.summon(player, number, term, order)
            case Execute(number, term, statements):
                self.execute(player, number, term, statements)
            case _:
                return

    def appraise(self, player: Player, effect: Challenge) -> None:
        self.running.discard((player.name, effect))
        candidacy, term = effect.candidacy, effect.term
        made, offer = player.machine.election.candidacies[candidacy]
        host = next(p for p in self.players.values() if p.did == made.author)
        alive = self.reachable(player, host) and host.enclave is not None
        alive = alive and keys.public(host.enclave) == offer.enclave.signing
        measured = Measured(
            technology="simulated",
            registers={"software": offer.software},
            platform=host.name,
            tcb={},
        )
        election, wall = player.machine.election, START + int(self.now)
        fit = alive and hit(election.ground.advisories, measured) is None
        verdict = Verdict(
            candidacy=candidacy,
            term=term,
            eligible=fit,
            reasons=() if fit else ("evidence.withdrawn" if alive else "host.unreachable",),
            technology="simulated",
            nonce=ZERO,
            policy=election.policy_digest,
            measured=measured if alive else None,
            at=wall,
            until=wall + 86_400 if fit else wall,
        )
        for due in player.machine.handle(Appraised(verdict), self.now):
            self.perform(player, due)

    def advise(self, *advisories: Advisory) -> None:
        """What the space says reaches every party within one round of sync."""
        ground = Ground(advisories=advisories)
        for player in self.players.values():
            delay = self.random.random()
            self.at(delay, lambda one=player: one.machine.election.heed(ground))

    # --- a host and its enclave -----------------------------------------------------------------

    def boot(self, name: str) -> None:
        """A host's enclave starts with fresh keys, and the host offers it."""
        host = self.players[name]
        host.enclave = self.random.randbytes(32)
        keys_ = EnclaveKeys(signing=keys.public(host.enclave), sealing=self.random.randbytes(1216))
        offer = Candidacy(
            enclave=keys_,
            technology="simulated",
            software=ZERO,
            tier="A",
            region="EU",
            operator=name,
            memory=1,
            addresses=(),
        )
        self.publish(host, "candidacy", offer)

    def kill(self, name: str) -> None:
        self.players[name].alive = False

    def beat(self, player: Player) -> None:
        elected = player.machine.election.elected()
        if player.enclave is None or elected is None:
            return
        if elected.candidacy.enclave.signing != keys.public(player.enclave):
            return
        event = HeartbeatHeard(elected.term, enclave_id(elected.candidacy.enclave))
        for other in self.players.values():
            if self.reachable(player, other):
                self.at(0.01, lambda o=other: o.machine.handle(event, self.now))

    def summon(self, host: Player, number: int, term: int, order: bytes) -> None:
        body = Summons(number=number, term=term, order=order, nonce=self.random.randbytes(32))
        self.publish(host, "summons", body, host.enclave)

    def execute(self, host: Player, number: int, term: int, statements: tuple[bytes, ...]) -> None:
        if (number, term) in host.machine.runs.started:
            return
        counts = dict.fromkeys(
            ("shares", "organizations", "people", "consents", "signatures", "digests"), 0
        )
        self.publish(host, "started", Started(number=number, term=term, **counts), host.enclave)
        self.at(0.3, lambda: self.conclude(host, number, term, statements))

    def conclude(self, host: Player, number: int, term: int, statements: tuple[bytes, ...]) -> None:
        if not host.alive:
            return
        told = [record.parse(raw) for raw in statements]
        bodies = [kinds.read(Statement, statement) for statement in told]
        shown = [record.parse(body.accepted) for body in bodies if body.accepted]
        pairs = [(kinds.read(Run, r), r.id) for r in shown]
        adopted, adopts = max(pairs, key=lambda pair: pair[0].term, default=(None, None))
        elected = host.machine.election.elected(term)
        orders = host.machine.runs.orders
        order = orders[adopted.order][0] if adopted else host.machine.runs.pending_orders()[0]
        asked = kinds.read(Order, order)
        stops = {stop for body in bodies for stop in body.stops}
        run = Run(
            number=number,
            term=term,
            order=order.id,
            entry=asked.entry,
            parameters=asked.parameters,
            appointment=elected.subject,
            statements=tuple(statement.id for statement in told),
            stops=tuple(sorted(stops)),
            shares=(),
            inputs=adopted.inputs if adopted else self.random.randbytes(32),
            consents=consents_root([]),
            leaves=ZERO,
            leaf_count=0,
            bundle=self.document.algorithm.bundle,
            environment=self.document.algorithm.environment,
            evidence=ZERO,
            technology="simulated",
            rules=self.document.rules,
            gate=(),
            outputs=(),
            rows=0,
            contributors=0,
            outcome="released",
            adopts=adopts,
            at=START,
        )
        self.publish(host, "run", run, host.enclave)

    def order(self, name: str) -> None:
        """A party orders a run."""
        self.publish(
            self.players[name], "order", Order(entry="fit", parameters='{"covariates":["age"]}')
        )

    def committed(self, name: str) -> dict[int, bytes]:
        """Number -> what the run computed on, as one player sees it."""
        runs = self.players[name].machine.runs.committed()
        return {number: run.inputs for number, (_, run) in runs.items()}
