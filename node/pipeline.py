"""The road of a record: raw -> parse -> gate -> machine -> journal -> effects. Batch by batch.

Save, then send: what a batch made of the state is durable, in one transaction, before a record of
our own is pushed or an effect performed; if it cannot be saved, the daemon ends. What a machine
asks for is derived again from the state at each step and tick, so nothing is lost in a crash.
"""

import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import assert_never

import trio
import trio.lowlevel

from node import restoring
from node.batch import Batch, Taken, bare_mark, entry_of
from node.fairness import Turns
from node.happenings import Happenings
from node.keyring import Keyring
from node.quarantine import Quarantine
from node.refusing import Refusing
from node.store import EquivocationRow
from node.store.journal import Journal
from node.verify_worker import Verified
from node.verifying import Verifier
from node.world import Room, World
from protocol import equivocation, keys, kinds, record, topic
from protocol.effects import Effect, Publish
from protocol.equivocation import Fork
from protocol.errors import Refused
from protocol.events import Event, Received, Ticked
from protocol.identity import Participant
from protocol.kinds.identity import Keys
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation
from protocol.machines.space import Space
from protocol.record import Record
from protocol.replay import learn_ends

NOT_YET = frozenset(
    {
        "record.gap",
        "record.author",
        "record.clock",
        "election.certificate",
        "space.invite",
        "space.epoch",
        "space.recovery",
        "credential.issuer",
    }
)
"""Refusals that a record still on its way may lift: its predecessor, its author's candidacy, the
votes that elected its enclave. Such a record waits; feeds of several authors come in any order."""

STEPS = 64
"""Own records that one step may publish before the rest waits for the next tick."""

BREATH = 64
"""Records taken before other tasks of the daemon get their turn."""


Outbox = Callable[[Room, Record], None]
Perform = Callable[[Room, Effect], None]
Warn = Callable[[Room, Fork], None]


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
        self.quarantine = Quarantine()
        self.refusing = Refusing(journal, world, happenings)
        self.refuse = self.refusing.refuse
        self._verifier = Verifier()
        self._turns = Turns()
        # No lock with an owner: `close` keeps it for ever, and who still waits then must wait on.
        self._lock = trio.Semaphore(1, max_value=1)
        self._batch = Batch()
        self._outbox: Outbox = lambda _room, _record: None
        self._perform: Perform = lambda _room, _effect: None
        self._warn: Warn = lambda _room, _fork: None
        world.held = journal.id_at

    def connect(self, outbox: Outbox, perform: Perform, warn: Warn | None = None) -> None:
        """Say who sends our records and our proofs, and who performs what machines ask for."""
        self._outbox = outbox
        self._perform = perform
        self._warn = warn or self._warn

    # --- start and end ------------------------------------------------------------------------

    def restore(self) -> None:
        """Rebuild every room from the journal, at start; nothing is sent or performed."""
        restoring.restore(self.journal, self.world, self.now())
        for topic_id, error in self.world.fallen.items():
            self.refuse(error, topic_id, None, topic_id)

    async def rebuild(self, room: Room) -> None:
        """Build a room anew: records that it took turned out to be void, and what rested on them
        falls with them. Rare; who calls it holds the lock, and has saved the batch.
        """
        found = restoring.kept(self.journal, room)
        kept: list[Record] = await trio.to_thread.run_sync(list, found)
        restoring.make_again(self.journal, self.world, room, kept, self.now())
        self._note("rebuilt", room.topic, room.topic)

    async def close(self) -> None:
        """Let the step at work end, then take no more and close the journal."""
        await self._lock.acquire()
        await self._verifier.close()
        self.journal.close()

    # --- what comes in ------------------------------------------------------------------------

    async def open(self, raw: bytes, *, invited: bool = False) -> Room:
        """Verify an opening and follow its topic; see World.add. Raises Refused. Idempotent.

        A new agreement is refused where a signature under it is known to be void by now.
        """
        opening = topic.read_opening(raw)
        async with self._lock:
            known = self.world.rooms.get(opening.topic)
            if known is not None:
                return known
            if opening.topic in self.world.fallen:
                raise self.world.fallen[opening.topic]
            topic.read_opening(raw, self.world.histories())
            room = self.world.add(opening, invited=invited)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(
                    self.journal.add_topic, opening.topic, opening.type, raw, None
                )
        self._note(f"{opening.type} opened", opening.topic, opening.topic)
        return room

    async def take(self, raws: Iterable[bytes], sender: bytes | None = None) -> Taken:
        """Take records through the gate. Never raises Refused: it counts and explains.

        One batch of a sender at a time: who sends without end waits for itself alone.
        """
        async with self._turns.of(sender):
            return await self.take_verified(await self.verify(raws), sender)

    async def verify(self, raws: Iterable[bytes]) -> list[Verified]:
        """Parse records, away from the event loop where there are many."""
        return await self._verifier.parse(list(raws))

    async def take_verified(self, found: Sequence[Verified], sender: bytes | None) -> Taken:
        """Take parsed records through the gate; see `take`."""
        taken = Taken()
        async with self._writing():
            for number, one in enumerate(found, 1):
                if isinstance(one, Refused):
                    self._count_refusal(one, b"", sender, taken, b"")
                else:
                    self._take_one(one, sender, taken)
                if number % BREATH == 0:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            for room in list(self._batch.touched.values()):
                self._retry_waiting(room, taken)
                self._step(room)
        return taken

    async def relay(self, raws: Iterable[bytes]) -> Taken:
        """Take records of the enclave behind this node, and send them to their audience."""
        raws = list(raws)
        taken = await self.take(raws)
        for raw in raws:
            found = record.parse(raw)
            room = self.world.rooms.get(found.topic)
            if room is not None and room.feeds.id_at(found.key, found.seq) == found.id:
                self._outbox(room, found)
        return taken

    async def accuse(self, raw: bytes) -> bool:
        """Take a proof of equivocation from anybody: bar the key. False if that was known, or if
        the key means nothing here. Raises Refused (record.proof, record.*, topic.unknown).
        """
        fork = equivocation.open_proof(raw)
        room = self.world.room(fork.topic)
        if fork.key not in room.feeds.heads and not self.world.signer(room, fork.key):
            return False  # keys cost nothing: proofs against strangers would fill the disk
        async with self._writing():
            return self._bar(room, fork)

    async def fill(self, raws: Iterable[bytes]) -> int:
        """Take whole records whose bodies were kept back while this node was a guest; how many."""
        filled, whole = 0, await self.verify(raws)
        async with self._writing():
            for found in whole:
                if isinstance(found, Refused) or found.body is None:
                    continue
                room = self.world.rooms.get(found.topic)
                if room is not None and self._is_bare(room, found):
                    self.journal.fill(entry_of(found), bare_mark(found))
                    room.bare.discard((found.key, found.seq))
                    self._act(room, room.machine.handle(Received(found), self.now()))
                    filled += 1
        return filled

    def _is_bare(self, room: Room, found: Record) -> bool:
        place = found.key, found.seq
        if place not in room.bare or room.feeds.id_at(*place) != found.id:
            return False
        kinds.check(found, room.feeds.type)
        return room.feeds.stands(found)

    async def publish(self, topic_id: bytes, kind: str, body: object) -> Record:
        """Sign, keep and send one own record. Raises Refused: the gate applies to us too."""
        async with self._writing():
            room = self.world.room(topic_id)
            made = self._publish(room, kind, body)
            self._step(room)
        return made

    async def tell(self, topic_id: bytes, event: Event) -> None:
        """Give a machine an event that is not a record."""
        async with self._writing():
            room = self.world.room(topic_id)
            self._act(room, room.machine.handle(event, self.now()))
            self._step(room)

    async def tick(self) -> None:
        """Let every machine say what is due by now; who waited too long is refused."""
        await self._verifier.rest()
        async with self._writing():
            for late in self.quarantine.expired(self.now()):
                # A gap is no fault: the pull brings the predecessor, and the record again.
                if late.error.code != "record.gap":
                    found = late.record
                    self.refuse(late.error, found.id, found.author, found.topic)
            for room in list(self.world.rooms.values()):
                self._step(room)

    @staticmethod
    def now() -> float:
        """Monotonic seconds, for timers."""
        return trio.current_time()

    # --- one batch ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[None]:
        """One batch: state changes inside, then all of it is saved, then sent and performed.

        Once begun it is not cancelled: state that is not saved would be lost to the next start.
        """
        async with self._lock:
            with trio.CancelScope(shield=True):
                try:
                    yield
                finally:
                    await self._settle()

    async def _settle(self) -> None:
        """Save the batch, then let follow what follows from it, until nothing is left."""
        while self._batch.entries or self._batch.due or self._batch.fallen:
            batch, self._batch = self._batch, Batch()
            if batch.entries:
                entries = [entry_of(found) for _, found in batch.entries]
                bare = {bare_mark(found): b"" for _, found in batch.entries if found.body is None}
                await trio.to_thread.run_sync(self.journal.commit, entries, bare)
            for room in batch.touched.values():
                room.feeds.seen.clear()
            for room, found in batch.entries:
                self._note(found.kind, room.topic, found.id, author=self.world.name(found.author))
            for room, made in batch.own:
                self._outbox(room, made)
            for room, effect in batch.due:
                self._perform(room, effect)
            for room in batch.fallen.values():
                await self.rebuild(room)
                self._step(room)

    def _take_one(self, found: Record, sender: bytes | None, taken: Taken) -> None:
        room = self.world.rooms.get(found.topic)
        if room is None:
            taken.unknown.add(found.topic)
        else:
            self._admit(room, found, sender, taken)

    def _admit(self, room: Room, found: Record, sender: bytes | None, taken: Taken) -> bool:
        """Let one record through the gate. False if it is known, waits or is refused."""
        self.world.settle()
        if found.body is None:
            room.feeds.guest = self.world.is_guest(room, frozenset({self.keyring.did}))
        try:
            new = room.feeds.check(found, room.machine, int(time.time()))
        except Refused as error:
            self._on_refused(error, room, found, sender, taken)
            return False
        self.quarantine.remove(found.id)
        if new:
            self._keep(room, found)
            taken.new += 1
        return new

    def _retry_waiting(self, room: Room, taken: Taken) -> None:
        """What waited may be due now, and may let others through in turn."""
        progress = True
        while progress:
            progress = False
            for late in self.quarantine.of(room.topic):
                progress |= self._admit(room, late.record, late.sender, taken)

    def _on_refused(
        self, error: Refused, room: Room, found: Record, sender: bytes | None, taken: Taken
    ) -> None:
        if error.code in NOT_YET:
            taken.gaps.add(room.topic)
            self.quarantine.add(found, sender, error, self.now())
            return
        self.quarantine.remove(found.id)
        if error.code == "record.equivocation":
            self._prove(room, found)
        self._count_refusal(error, found.id, found.author, taken, room.topic)

    def _count_refusal(
        self, error: Refused, subject: bytes, party: bytes | None, taken: Taken, topic_id: bytes
    ) -> None:
        taken.refused.append(error.code)
        self.refuse(error, subject, party, topic_id)

    # --- liars --------------------------------------------------------------------------------

    def _prove(self, room: Room, found: Record) -> None:
        """A record contradicts the one that is held for its place: keep the proof."""
        held = self._held_at(room, found.key, found.seq)
        if held is not None and record.parse(held).id != found.id:
            self._bar(room, equivocation.prove(held, found.raw))

    def _held_at(self, room: Room, key: bytes, seq: int) -> bytes | None:
        for _, found in self._batch.entries:
            if (found.topic, found.key, found.seq) == (room.topic, key, seq):
                return found.raw
        return self.journal.at(room.topic, key, seq)

    def _bar(self, room: Room, fork: Fork) -> bool:
        """Keep a proof, bar its key, and pass it on; what the key said from there on falls."""
        known = room.forks.get(fork.key)
        if known is not None and known.seq <= fork.seq:
            return False
        room.forks[fork.key] = fork
        self.journal.add_equivocation(
            EquivocationRow(
                topic=room.topic,
                key=fork.key,
                seq=fork.seq,
                first=fork.first,
                second=fork.second,
                at=int(time.time()),
            )
        )
        room.feeds.bar(fork.key, fork.seq)
        self._batch.fallen[room.topic] = room
        liar = self.world.signer(room, fork.key)
        why = Refused("record.equivocation", f"two records for place {fork.seq}, proof kept")
        self.refuse(why, fork.key, liar, room.topic)
        self._note("equivocation", room.topic, fork.key, seq=fork.seq)
        self._warn(room, fork)
        return True

    # --- one room -----------------------------------------------------------------------------

    def _publish(self, room: Room, kind: str, body: object) -> Record:
        if kind == "vote" and room.silent:
            raise Refused("session.unable", "restored from a backup: others are asked first")
        made = record.sign(
            self.keyring.record,
            topic=room.topic,
            author=self.keyring.did,
            kind=kind,
            body=body,
            place=room.feeds.place(keys.public(self.keyring.record)),
            at=self._date(room),
            salt=secrets.token_bytes(16),
        )
        room.feeds.check(made, room.machine, made.at)
        if isinstance(room.machine, Space):
            room.machine.check_counts(made)
        self._keep(room, made)
        self._batch.own.append((room, made))
        return made

    def _date(self, room: Room) -> int:
        """Now, and later than the last own word here by another key: the dates order them."""
        at, key = room.said
        return max(int(time.time()), at + (key != keys.public(self.keyring.record)))

    def _keep(self, room: Room, found: Record) -> None:
        room.feeds.add(found)
        if found.author == self.keyring.did:
            room.said = max(room.said, (found.at, found.key))
        self._batch.entries.append((room, found))
        self._batch.touched[room.topic] = room
        if found.body is None:
            room.bare.add((found.key, found.seq))
            return
        effects = room.machine.handle(Received(found), self.now())
        self.world.heard(room, found)
        if found.kind == "keys" and learn_ends(room.feeds, room.machine):
            self._batch.fallen[room.topic] = room
        self._act(room, effects)

    def _step(self, room: Room) -> None:
        """Ask the machine what is due, until it asks for nothing new to publish."""
        for _ in range(STEPS):
            if not self._act(room, self._duties(room)):
                return

    def _act(self, room: Room, effects: list[Effect]) -> bool:
        """Publish at once what is to be published; hand on the rest. True if a record was made."""
        published = False
        waiting = deque(effect for effect in effects if self._may(room, effect))
        while waiting:
            effect = waiting.popleft()
            if not isinstance(effect, Publish):
                self._batch.due.append((room, effect))
                continue
            try:
                self._publish(room, effect.kind, effect.body)
            except Refused as error:
                self.refuse(error, room.topic, self.keyring.did, room.topic)
                return False
            published = True
        return published

    async def adopt(self, me: Participant, seed: bytes) -> None:
        """Go on as a newer identity says, with its record key `seed`; every room is told.

        Raises Refused as Keyring.adopt.
        """
        async with self._writing():
            self.keyring.adopt(me, seed)
            self.world.become(me)
            for room in list(self.world.rooms.values()):
                self._step(room)

    def _news(self, room: Room) -> list[Effect]:
        """The newest own identity, where it is not known yet; by a key that others still take."""
        me, known = self.keyring.me, room.machine.histories.get(self.keyring.did)
        if known is None or known.heeds(me):
            return []
        if keys.public(self.keyring.record) in room.feeds.barred:
            return []
        return [Publish("keys", Keys(identity=me.raw))]

    def _may(self, room: Room, effect: Effect) -> bool:
        """Whether this node's key may do what a machine asks of its participant."""
        machine = room.machine
        if not isinstance(effect, Publish) or not isinstance(machine, Collaboration):
            return True
        key = keys.public(self.keyring.record)
        return effect.kind == "keys" or effect.kind in machine.allowed(self.keyring.did, key)

    def _duties(self, room: Room) -> list[Effect]:
        return [*self._news(room), *self._owed(room)]

    def _owed(self, room: Room) -> list[Effect]:
        now, wall = self.now(), int(time.time())
        match room.machine:
            case Collaboration() as collaboration:
                space = collaboration.document.space
                if space in self.world.rooms:
                    collaboration.election.heed(self.world.ground(space))
                elif self.world.me.did in collaboration.parties:
                    return []  # it cannot say what the space's floors and advisories would refuse
                return collaboration.duties(now, wall)
            case Negotiation() as negotiation:
                return negotiation.handle(Ticked(), wall)
            case Space() if room.silent:
                return []
            case Space() as space:
                me = self.keyring.me
                return space.duties(me.did, keys.public(self.keyring.record), me.id, now)
            case _:
                assert_never(room.machine)

    def _note(self, event: str, topic_id: bytes, id_: bytes, **details: object) -> None:
        self.happenings.add(time.time(), event, topic_id, id_, **details)
