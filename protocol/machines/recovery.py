"""Recovery: guardians give the seat of a participant whose root is lost to a new root of its own.

A root cannot be replaced: only it speaks for its did. So the participant makes a new root, and its
guardians, whom its last identity names, vote that the seat passes on. The voters of the epoch
confirm it, each after it knew the guardians' certificate for the space's recovery delay by its own
clock and saw no veto. So no date in a record, and no guardian alone, can shorten the delay; and the
new participant votes only in epochs that begin later, in no slot that was open before.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from protocol import decision, kinds
from protocol.decision import Ballot, Rule
from protocol.errors import Refused
from protocol.identity import History, Participant, open_identity
from protocol.kinds.common import Vote
from protocol.kinds.space import Recovery, Veto
from protocol.machines.epochs import Epoch
from protocol.record import Record

SUPPORT: Final = "recover/"
"""Slots in which guardians vote: this, then the id of the recovery."""

CONFIRM: Final = "recovered/"
"""Slots in which the voters of the epoch confirm, after the delay."""


@dataclass(frozen=True, slots=True)
class Case:
    """One recovery: its record, what it says, and the new participant."""

    record: Record
    said: Recovery
    heir: Participant


@dataclass(slots=True)
class Recoveries:
    """All recoveries of one space. State is a function of the set of records; only `due` has a
    clock, which decides when this node confirms.

    `finals` took effect, in the order of ids. What they void was counted to find them.
    """

    histories: Mapping[bytes, History]
    epoch: Callable[[bytes], Epoch]
    rule: Callable[[Epoch], Rule]
    cases: dict[bytes, Case] = field(default_factory=dict)
    vetoes: dict[bytes, set[bytes]] = field(default_factory=dict)
    ballots: dict[str, Ballot] = field(default_factory=dict)
    since: dict[bytes, float] = field(default_factory=dict)
    finals: tuple[Case, ...] = ()

    def restart(self) -> None:
        """Forget everything but the clock: the records that stand are brought again."""
        self.cases, self.vetoes, self.ballots = {}, {}, {}

    # --- the gate -------------------------------------------------------------------------------

    def check(self, record: Record) -> None:
        """Refuse a recovery or a veto by somebody who has no say. Raises Refused (space.recovery,
        space.epoch, identity.*).
        """
        if record.kind == "veto":
            case = self._case(kinds.read(Veto, record).recovery)
            if record.author != case.said.did:
                raise Refused("space.recovery", "only keys of the participant itself veto")
            return
        said = kinds.read(Recovery, record)
        self.epoch(said.epoch)
        heir = open_identity(said.identity)
        if heir.did == said.did:
            raise Refused("space.recovery", "a new root, not the one that is lost")
        if record.author not in self._guardians(said.did).voters:
            raise Refused("space.recovery", "the author is no guardian of the participant")

    def check_vote(self, record: Record, slot: str) -> None:
        """Refuse a vote that counts in no recovery. Raises Refused (space.recovery, decision.*)."""
        rule = self._rule_of(slot)
        if decision.check_vote(record, rule, slot).subject != _subject(slot):
            raise Refused("decision.subject", "the slot of another recovery")

    # --- taking ---------------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Take a recovery or a veto."""
        if record.kind == "veto":
            recovery = kinds.read(Veto, record).recovery
            self.vetoes.setdefault(recovery, set()).add(record.id)
            return
        said = kinds.read(Recovery, record)
        self.cases[record.id] = Case(record, said, open_identity(said.identity))

    def count(self, record: Record, slot: str) -> bool:
        """Count a vote. False if its recovery is not known, or nobody is asked."""
        try:
            rule = self._rule_of(slot)
            self.ballots.setdefault(slot, Ballot(rule, slot)).add(record)
        except Refused:
            return False
        return True

    def certified(self, recovery: bytes) -> bool:
        """Whether enough guardians voted for it."""
        return self._decided(SUPPORT, recovery)

    def settle(self) -> None:
        """Let those take effect that have all votes by now."""
        self.finals = tuple(self._complete())

    def _complete(self) -> Iterator[Case]:
        """One at most for a participant."""
        taken: set[bytes] = set()
        for id_, case in sorted(self.cases.items()):
            both = self.certified(id_) and self._decided(CONFIRM, id_)
            if both and case.said.did not in taken:
                taken.add(case.said.did)
                yield case

    def due(self, voter: bytes, identity: bytes, now: float, delay: float) -> Vote | None:
        """The confirm that `voter` owes now: of a certificate known for `delay` seconds."""
        for id_, case in sorted(self.cases.items()):
            if not self.certified(id_):
                continue
            waited = now - self.since.setdefault(id_, now) >= delay
            open_ = id_ not in self.vetoes and not self._confirmed(case.said.did, voter)
            if waited and open_ and voter in self.rule(self.epoch(case.said.epoch)).voters:
                slot = CONFIRM + id_.hex()
                return Vote(slot=slot, subject=id_, choice="yes", identity=identity)
        return None

    def support(self, recovery: bytes, guardian: bytes, identity: bytes) -> Vote | None:
        """The vote of a guardian for a recovery; None if it is no guardian, or voted already.

        Raises Refused (space.recovery).
        """
        case, slot = self._case(recovery), SUPPORT + recovery.hex()
        ballot = self.ballots.get(slot)
        if guardian not in self._guardians(case.said.did).voters:
            return None
        if ballot is not None and guardian in ballot.votes:
            return None
        return Vote(slot=slot, subject=recovery, choice="yes", identity=identity)

    def voted(self, family: str, recovery: bytes) -> list[bytes]:
        """Who said yes in a slot of a recovery (SUPPORT or CONFIRM)."""
        ballot = self.ballots.get(family + recovery.hex())
        return [] if ballot is None else sorted(ballot.votes)

    def _confirmed(self, did: bytes, voter: bytes) -> bool:
        """Whether a voter confirmed a recovery of `did`: of two heirs it confirms one."""
        return any(
            voter in self.ballots[slot].votes
            for id_, case in self.cases.items()
            if case.said.did == did and (slot := CONFIRM + id_.hex()) in self.ballots
        )

    def _decided(self, family: str, recovery: bytes) -> bool:
        ballot = self.ballots.get(family + recovery.hex())
        return ballot is not None and ballot.decided() == recovery

    def _case(self, recovery: bytes) -> Case:
        case = self.cases.get(recovery)
        if case is None:
            raise Refused("space.recovery", "no such recovery is known")
        return case

    def _rule_of(self, slot: str) -> Rule:
        case = self._case(_subject(slot))
        if slot.startswith(SUPPORT):
            return self._guardians(case.said.did)
        return self.rule(self.epoch(case.said.epoch))

    def _guardians(self, did: bytes) -> Rule:
        """Who recovers a participant: whom its newest identity names, by their voting keys."""
        history = self.histories.get(did)
        named = None if history is None else history.participant.guardians
        if named is None:
            raise Refused("space.recovery", "the participant named no guardians")
        known = {
            one: self.histories[one].voting_keys for one in named.dids if one in self.histories
        }
        return Rule(known, named.needed)


def is_slot(slot: str) -> bool:
    """Whether a slot is one of a recovery."""
    return slot.startswith((SUPPORT, CONFIRM))


def _subject(slot: str) -> bytes:
    """The recovery that a slot names. Raises Refused (decision.subject)."""
    try:
        found = bytes.fromhex(slot.partition("/")[2])
    except ValueError:
        found = b""
    if slot not in (SUPPORT + found.hex(), CONFIRM + found.hex()) or len(found) != 32:
        raise Refused("decision.subject", f"unknown slot {slot!r}")
    return found
