"""The epochs of a space in their order, and the ballots of each: what the voters decided."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol import decision, kinds, limits
from protocol.decision import Ballot, Rule, quorum
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.space import Change, Removal, Seat
from protocol.machines.departures import keys_after_bar
from protocol.machines.epochs import Epoch, Rounds, Step, read_step
from protocol.record import Record

EPOCH_DIGITS: Final = 32
"""Hexadecimal digits of an epoch in the slot of an admission: a slot has at most 128 bytes."""

ADMISSION: Final = re.compile(f"admit/[0-9a-f]{{{EPOCH_DIGITS}}}/[0-9a-f]{{64}}")


def admission_slot(epoch: bytes, join: bytes) -> str:
    """The slot in which the voters of an epoch vote on one join."""
    return f"admit/{epoch.hex()[:EPOCH_DIGITS]}/{join.hex()}"


@dataclass(slots=True)
class Chain:
    """All epochs so far. Rounds and ballots count the votes that stand; `restart` forgets them.

    `histories` and `barred` are those of the space: who has which keys, and which are barred.
    """

    first: Epoch
    histories: Mapping[bytes, History]
    barred: Mapping[bytes, int]
    changes: dict[bytes, tuple[Record, Change]] = field(default_factory=dict)
    steps: dict[bytes, list[tuple[Step, int, Record]]] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list, init=False)
    rounds: dict[bytes, Rounds] = field(default_factory=dict, init=False)
    admissions: dict[str, Ballot] = field(default_factory=dict, init=False)
    admitted: dict[bytes, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin with the first epoch."""
        self.restart()

    def restart(self) -> None:
        """Count all votes on changes again; those on admissions are for the caller to bring."""
        self.epochs, self.rounds, self.admissions, self.admitted = [], {}, {}, {}
        self._begin(self.first)
        while self.advance():
            continue

    @property
    def newest(self) -> Epoch:
        """The epoch that lasts."""
        return self.epochs[-1]

    @property
    def current(self) -> Rounds:
        """The votes on what would end the newest epoch."""
        return self.rounds[self.newest.id]

    def epoch(self, id_: bytes) -> Epoch:
        """An epoch by id. Raises Refused (space.epoch)."""
        for epoch in self.epochs:
            if epoch.id == id_:
                return epoch
        raise Refused("space.epoch", id_.hex()[:16])

    def rule(self, epoch: Epoch) -> Rule:
        """The voters of an epoch with all their voting keys, and their quorum."""
        return self.rounds[epoch.id].rule

    def proposed(self) -> Iterator[tuple[Record, Change]]:
        """The changes that would end the newest epoch, in the order of their dates."""
        found = [one for one in self.changes.values() if one[1].epoch == self.newest.id]
        yield from sorted(found, key=lambda one: (one[0].at, one[0].id))

    def removals(self) -> Iterator[tuple[int, Record, Removal]]:
        """Every removal that is final: the epoch that it ended, the change, who left."""
        for epoch in self.epochs[1:]:
            record, change = self.changes[epoch.id]
            for removal in change.removed:
                yield epoch.number - 1, record, removal

    # --- the gate -------------------------------------------------------------------------------

    def check_change(self, record: Record) -> None:
        """Refuse a change that cannot follow its epoch. Raises Refused (space.epoch, space.change,
        decision.voter, record.policy).
        """
        change = kinds.read(Change, record)
        epoch = self.epoch(change.epoch)
        if record.key not in self.rule(epoch).voters.get(record.author, ()):
            raise Refused("decision.voter", "voters of the epoch propose its changes")
        staying = [seat.did for seat in change.members]
        gone = [removal.did for removal in change.removed]
        if len({*staying, *gone}) < len(staying) + len(gone) or not staying:
            raise Refused("space.change", "somebody stands there twice, or nobody stays")
        if not epoch.seats.keys() <= {*staying, *gone}:
            raise Refused("space.change", "a voter of the epoch neither stays nor is removed")
        mine = sum(
            one.key == record.key and made.epoch == change.epoch
            for one, made in self.changes.values()
        )
        if mine >= limits.CHANGES:
            raise Refused("record.policy", f"more than {limits.CHANGES} changes of one key")

    def check_vote(self, record: Record, slot: str) -> None:
        """Refuse a vote that counts in no slot of the chain. Raises Refused (space.epoch,
        decision.voter, decision.subject).
        """
        step = read_step(slot)
        if step is not None:
            decision.check_vote(record, self.rule(self.epoch(step[1])), slot)
            return
        vote = decision.check_vote(record, self.rule(self.admitting(slot)), slot)
        if slot != admission_slot(self.admitting(slot).id, vote.subject):
            raise Refused("decision.subject", f"unknown slot {slot!r}")

    def admitting(self, slot: str) -> Epoch:
        """The epoch that an admission slot names. Raises Refused (space.epoch,
        decision.subject).
        """
        if ADMISSION.fullmatch(slot) is None:
            raise Refused("decision.subject", f"unknown slot {slot!r}")
        epoch = self._named(slot)
        if epoch is None:
            raise Refused("space.epoch", slot.split("/")[1])
        return epoch

    def _named(self, slot: str) -> Epoch | None:
        name = slot.split("/")[1]
        return next((one for one in self.epochs if one.id.hex()[:EPOCH_DIGITS] == name), None)

    # --- taking ---------------------------------------------------------------------------------

    def propose(self, record: Record) -> None:
        """Take a change; nothing is decided by it."""
        self.changes[record.id] = (record, kinds.read(Change, record))

    def step(self, record: Record, found: tuple[Step, bytes, int]) -> None:
        """Take a vote on a change, or a confirm."""
        step, epoch, round_ = found
        self.steps.setdefault(epoch, []).append((step, round_, record))
        rounds = self.rounds.get(epoch)
        if rounds is not None:
            self._count(rounds, step, round_, record)

    def admit(self, record: Record, slot: str) -> bool:
        """Count a vote on a join; a join that is decided stays so. False if it does not count: its
        key was taken back, or its epoch with it.
        """
        epoch = self._named(slot)
        if epoch is None or record.key not in self.rule(epoch).voters.get(record.author, ()):
            return False
        ballot = self.admissions.setdefault(slot, Ballot(self.rule(epoch), slot))
        ballot.add(record)
        join = ballot.decided()
        if join is not None:
            self.admitted[join] = max(epoch.number, self.admitted.get(join, 0))
        return True

    def advance(self) -> bool:
        """Begin the next epoch, if a change is final and known. True if it was so."""
        finals = self.current.finals()
        if not finals:
            return False
        known = self.changes.get(finals[0][1])
        if known is None or known[1].epoch != self.newest.id:
            return False
        record, change = known
        seats = {seat.did: seat for seat in change.members}
        self._begin(Epoch(record.id, self.newest.number + 1, seats, change.terms))
        return True

    def _begin(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        voters = {did: self._voting_keys(seat) for did, seat in epoch.seats.items()}
        rule = Rule(voters, quorum(len(voters)))
        rounds = self.rounds[epoch.id] = Rounds(epoch.id, rule)
        for step, round_, record in self.steps.get(epoch.id, ()):
            self._count(rounds, step, round_, record)

    def _count(self, rounds: Rounds, step: Step, round_: int, record: Record) -> None:
        author = self.histories.get(record.author)
        sound = author is not None and author.stands(record)
        within = record.seq < self.barred.get(record.key, record.seq + 1)
        if sound and within and record.key in rounds.rule.voters.get(record.author, ()):
            rounds.add(step, round_, record)

    def _voting_keys(self, seat: Seat) -> frozenset[bytes]:
        history = self.histories.get(seat.did)
        if history is None:
            return frozenset()
        allowed = keys_after_bar(history, self.barred, revision_of(history, seat.identity))
        return history.voting_keys & allowed


def revision_of(history: History, identity: bytes) -> int:
    """The revision that an identity record has; -1 if it is not known."""
    return max((one.revision for one in history.revisions() if one.id == identity), default=-1)
