"""The road of a record: raw -> parse -> gate -> journal -> machine -> effects. One at a time.

Save, then send: a record of our own is durable before it is pushed to anyone. What a machine asks
for is derived again from the state at each step and tick, so nothing is lost in a crash.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from node.happenings import Happenings
from node.keyring import Keyring
from node.store import Entry, EquivocationRow, Refusal
from node.store.journal import Journal
from node.world import Room, Waiting, World
from protocol import record, token, topic
from protocol.effects import Effect, Publish
from protocol.errors import Refused
from protocol.events import Event, Received, StopHeard, Ticked
from protocol.kinds.consent import Stop
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation
from protocol.record import Record

NOT_YET = frozenset(
    {"record.gap", "record.author", "election.certificate", "space.invite", "space.member"}
)
"""Refusals that a record still on its way may lift: its predecessor, its author's candidacy, the
votes that elected its enclave. Such a record waits; feeds of several authors come in any order."""

WAITING = 256
"""Records that wait in one room; beyond it the pull brings them again."""

WAIT = 10.0
"""Seconds that a record may wait before it is refused for good."""

EXPLAINED = 64
"""Refusals of one party's acts that are kept in a minute: peers cause them, each is a write."""

STRANGER = b"?"
"""Under this name refusals are counted whose party nobody here knows: it is free to invent."""

STEPS = 64
"""Own records that one step may publish before the rest waits for the next tick."""


@dataclass(slots=True)
class Taken:
    """What became of a batch: new records, topics with a gap or not known, refusals by code."""

    new: int = 0
    gaps: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


Outbox = Callable[[Room, Record], None]
Perform = Callable[[Room, Effect], None]


class Pipeline:
    """The only writer of the journal and of the machines' states."""

    def __init__(
        self, journal: Journal, keyring: Keyring, world: World, happenings: Happenings
    ) -> None:
        """Prepare the road; `restore` fills the world, `connect` says where effects go."""
        self.journal = journal
        self.keyring = keyring
        self.world = world
        self.happenings = happenings
        self._lock = trio.Lock()
        self._explained: dict[bytes, tuple[float, int]] = {}
        self._outbox: Outbox = lambda _room, _record: None
        self._perform: Perform = lambda _room, _effect: None

    def connect(self, outbox: Outbox, perform: Perform) -> None:
        """Say who sends our records, and who performs what machines ask for."""
        self._outbox = outbox
        self._perform = perform

    def restore(self) -> None:
        """Rebuild every room from the journal, at start; nothing is sent or performed."""
        for row in self.journal.topics():
            room = self.world.add(topic.read_opening(row.opening), invited=True)
            for raw in self.journal.records(row.topic):
                found = record.parse(raw)
                room.feeds.add(found)
                room.machine.handle(Received(found), self.now())
            for proof in self.journal.equivocations(row.topic):
                room.feeds.barred[proof.key] = (proof.first, proof.second)
            self._restore_stops(row.topic, room)
            self.world.refresh()

    async def close(self) -> None:
        """Let the step at work end, then take no more and close the journal."""
        await self._lock.acquire()
        self.journal.close()

    def _restore_stops(self, topic_id: bytes, room: Room) -> None:
        for raw in self.journal.states(f"stop/{topic_id.hex()}/").values():
            stop = token.open_(raw, "stop", Stop)
            room.machine.handle(StopHeard(stop.id, stop.body.consent, raw), 0)

    async def open(self, raw: bytes, *, invited: bool = False) -> Room:
        """Verify an opening and follow its topic; see World.add. Raises Refused. Idempotent."""
        opening = topic.read_opening(raw)
        async with self._lock:
            known = self.world.rooms.get(opening.topic)
            if known is not None:
                return known
            room = self.world.add(opening, invited=invited)
            await trio.to_thread.run_sync(
                self.journal.add_topic, opening.topic, opening.type, raw, None
            )
        self._note(f"{opening.type} opened", opening.topic, opening.topic)
        return room

    async def take(self, raws: Iterable[bytes], sender: bytes | None = None) -> Taken:
        """Take records through the gate. Never raises Refused: it counts and explains."""
        taken = Taken()
        async with self._lock:
            touched: dict[bytes, Room] = {}
            for raw in raws:
                room = await self._take_one(raw, sender, taken)
                if room is not None:
                    touched[room.topic] = room
            for room in touched.values():
                await self._retry_waiting(room, taken)
                await self._step(room)
        return taken

    async def relay(self, raws: Iterable[bytes]) -> Taken:
        """Take records of the enclave behind this node, and send them to their audience."""
        raws = list(raws)
        taken = await self.take(raws)
        for raw in raws:
            found = record.parse(raw)
            room = self.world.rooms.get(found.topic)
            if room is not None and room.feeds.seen.get((found.key, found.seq)) == found.id:
                self._outbox(room, found)
        return taken

    async def publish(self, topic_id: bytes, kind: str, body: object) -> Record:
        """Sign, keep and send one own record. Raises Refused: the gate applies to us too."""
        async with self._lock:
            room = self.world.room(topic_id)
            made = await self._publish(room, kind, body)
            await self._step(room)
        return made

    async def tell(self, topic_id: bytes, event: Event) -> None:
        """Give a machine an event that is not a record."""
        async with self._lock:
            room = self.world.room(topic_id)
            await self._act(room, room.machine.handle(event, self.now()))
            await self._step(room)

    async def tick(self) -> None:
        """Let every machine say what is due by now; who waited too long is refused."""
        async with self._lock:
            for room in list(self.world.rooms.values()):
                self._expire(room)
                await self._step(room)

    @staticmethod
    def now() -> float:
        """Monotonic seconds, for timers."""
        return trio.current_time()

    def refuse(
        self, error: Refused, subject: bytes, party: bytes | None, topic_id: bytes = b""
    ) -> None:
        """Keep an explainable refusal: log, count, `village explain`; so many of one party."""
        if not self._may_explain(party):
            return
        rule = error.rule
        refusal = Refusal(
            code=error.code,
            rule=rule.sentence,
            set_by=error.set_by,
            fix=rule.fix,
            subject=subject.hex(),
            party=self.world.name(party) if party else "",
            at=int(time.time()),
            detail=error.detail,
        )
        self.journal.add_refusal(refusal)
        self._note(
            "refused",
            topic_id,
            refusal.id,
            code=error.code,
            party=refusal.party,
            detail=error.detail,
        )

    def _may_explain(self, party: bytes | None) -> bool:
        known = party is None or party in self.world.participants()
        who = STRANGER if not known else party or b""
        since, count = self._explained.get(who, (self.now(), 0))
        if self.now() - since >= 60:
            since, count = self.now(), 0
        self._explained[who] = since, count + 1
        return count < EXPLAINED

    async def _take_one(self, raw: bytes, sender: bytes | None, taken: Taken) -> Room | None:
        try:
            found = record.parse(raw)
        except Refused as error:
            self._count_refusal(error, b"", sender, taken, b"")
            return None
        room = self.world.rooms.get(found.topic)
        if room is None:
            taken.unknown.add(found.topic)
            return None
        return room if await self._admit(room, found, taken) else None

    async def _admit(self, room: Room, found: Record, taken: Taken) -> bool:
        """Let one record through the gate. False if it is known, waits or is refused."""
        try:
            new = room.feeds.check(found, room.machine, int(time.time()))
        except Refused as error:
            self._on_refused(error, room, found, taken)
            return False
        room.waiting.pop(found.id, None)
        if new:
            await self._keep(room, found)
            taken.new += 1
        return new

    async def _retry_waiting(self, room: Room, taken: Taken) -> None:
        """What waited may be due now, and may let others through in turn."""
        progress = True
        while progress:
            progress = False
            for waiting in list(room.waiting.values()):
                progress |= await self._admit(room, waiting.record, taken)

    def _on_refused(self, error: Refused, room: Room, found: Record, taken: Taken) -> None:
        if error.code in NOT_YET:
            taken.gaps.add(room.topic)
            if len(room.waiting) < WAITING:
                late = Waiting(found, self.now() + WAIT, error)
                room.waiting.setdefault(found.id, late)
            return
        room.waiting.pop(found.id, None)
        if error.code == "record.equivocation":
            self._prove_equivocation(room, found)
        self._count_refusal(error, found.id, found.author, taken, room.topic)

    def _expire(self, room: Room) -> None:
        for late in [w for w in room.waiting.values() if w.deadline < self.now()]:
            del room.waiting[late.record.id]
            # A gap is no fault: the pull brings the predecessor, and the record again.
            if late.error.code != "record.gap":
                self.refuse(late.error, late.record.id, late.record.author, room.topic)

    def _count_refusal(
        self, error: Refused, subject: bytes, party: bytes | None, taken: Taken, topic_id: bytes
    ) -> None:
        taken.refused.append(error.code)
        self.refuse(error, subject, party, topic_id)

    def _prove_equivocation(self, room: Room, found: Record) -> None:
        known = room.feeds.seen.get((found.key, found.seq))
        first = self.journal.get(known) if known else None
        if first is not None and first != found.raw:
            self.journal.add_equivocation(
                EquivocationRow(
                    topic=room.topic,
                    key=found.key,
                    seq=found.seq,
                    first=first,
                    second=found.raw,
                    at=int(time.time()),
                )
            )

    async def _publish(self, room: Room, kind: str, body: object) -> Record:
        made = record.sign(
            self.keyring.record,
            topic=room.topic,
            author=self.keyring.did,
            kind=kind,
            body=body,
            place=room.feeds.place(self.keyring.me.vote_key),
            at=int(time.time()),
            salt=secrets.token_bytes(16),
        )
        room.feeds.check(made, room.machine, made.at)
        await self._keep(room, made)
        self._outbox(room, made)
        return made

    async def _keep(self, room: Room, found: Record) -> None:
        entry = Entry(
            id=found.id,
            topic=found.topic,
            key=found.key,
            seq=found.seq,
            prev=found.prev,
            author=found.author,
            kind=found.kind,
            at=found.at,
            raw=found.raw,
        )
        await trio.to_thread.run_sync(self.journal.commit, [entry])
        room.feeds.add(found)
        self._note(found.kind, room.topic, found.id, author=self.world.name(found.author))
        effects = room.machine.handle(Received(found), self.now())
        if found.kind == "invite":
            self.world.refresh()
        await self._act(room, effects)

    async def _step(self, room: Room) -> None:
        """Ask the machine what is due, until it asks for nothing new to publish."""
        for _ in range(STEPS):
            published = await self._act(room, self._duties(room))
            if not published:
                return

    async def _act(self, room: Room, effects: list[Effect]) -> bool:
        """Publish at once what is to be published; hand on the rest. True if a record was made."""
        published = False
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            if not isinstance(effect, Publish):
                self._perform(room, effect)
                continue
            try:
                await self._publish(room, effect.kind, effect.body)
            except Refused as error:
                self.refuse(error, room.topic, self.keyring.did, room.topic)
                return False
            published = True
        return published

    def _duties(self, room: Room) -> list[Effect]:
        now, wall = self.now(), int(time.time())
        match room.machine:
            case Collaboration() as collaboration:
                return collaboration.duties(now, wall)
            case Negotiation() as negotiation:
                return negotiation.handle(Ticked(), wall)
            case _:
                return []

    def _note(self, event: str, topic_id: bytes, id_: bytes, **details: object) -> None:
        self.happenings.add(time.time(), event, topic_id, id_, **details)
