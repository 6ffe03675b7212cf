"""Two steps to the next epoch of a space: votes on a change, then confirms of what was certified.

An epoch ends by one final change. Its voters are fixed. They vote in rounds: a quorum of votes for
one change in one round is its certificate, a quorum of confirms on that certificate makes the
change final. A round that is split is followed by the next.

Two rules make it safe for up to 2q-n-1 liars; everybody keeps them alone, and nothing rests on
clocks or on the order of arrival:

1. Nobody votes or confirms in a round below the highest one in which it did so.
2. Once a change has a certificate, a vote in a later round is for the subject of the newest
   certificate that the voter knows.

Proof: let X be final in round r, and r' > r the lowest round with a certificate for another change.
Of its q voters at least 2q-n also confirmed X in r; one of them keeps the rules. It confirmed
before it voted (1), so it knew a certificate of round r, and every one that it knew of a round from
r to r'-1 was for X: it voted for X (2). tests/sim/models explores all schedules for small n.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from protocol import limits
from protocol.decision import Ballot, Rule
from protocol.errors import Refused
from protocol.kinds.common import Vote
from protocol.kinds.space import Seat, Terms
from protocol.record import Record

Step = Literal["change", "confirm"]

STEPS: Final[dict[str, Step]] = {"change": "change", "confirm": "confirm"}


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of a space's life with fixed voters: `id` is the space's, or of the change that
    began it; `seats` are its voters.
    """

    id: bytes
    number: int
    seats: Mapping[bytes, Seat]
    terms: Terms


@dataclass(frozen=True, slots=True)
class Lie:
    """Two records that no honest voter signs both, and why."""

    voter: bytes
    first: bytes
    second: bytes
    why: Literal["voted twice", "confirmed twice", "turned without a certificate"]


def step_slot(step: Step, epoch: bytes, round_: int) -> str:
    """The slot of one step of one round."""
    return f"{step}/{epoch.hex()}/{round_}"


def read_step(slot: str) -> tuple[Step, bytes, int] | None:
    """Step, epoch and round of a slot; None if it is of another family.

    Raises Refused (decision.subject) if it is no slot that `step_slot` writes.
    """
    head, _, rest = slot.partition("/")
    step = STEPS.get(head)
    if step is None:
        return None
    epoch, _, number = rest.partition("/")
    if not number.isascii() or not number.isdigit() or int(number) >= limits.ROUNDS:
        raise Refused("decision.subject", f"unknown slot {slot!r}")
    try:
        found = step, bytes.fromhex(epoch), int(number)
    except ValueError as error:
        raise Refused("decision.subject", f"unknown slot {slot!r}") from error
    if step_slot(*found) != slot:
        raise Refused("decision.subject", f"unknown slot {slot!r}")
    return found


@dataclass(slots=True)
class Rounds:
    """All votes and confirms on the changes that would end one epoch, in any order of arrival."""

    epoch: bytes
    rule: Rule
    votes: dict[int, Ballot] = field(default_factory=dict)
    confirms: dict[int, Ballot] = field(default_factory=dict)
    answers: dict[int, set[bytes]] = field(default_factory=dict)
    reached: dict[bytes, int] = field(default_factory=dict)

    def add(self, step: Step, round_: int, record: Record) -> None:
        """Count a vote or confirm. Raises Refused (decision.*)."""
        table = self.votes if step == "change" else self.confirms
        slot = step_slot(step, self.epoch, round_)
        table.setdefault(round_, Ballot(self.rule, slot)).add(record)
        if step == "change":
            self.answers.setdefault(round_, set()).add(record.author)
        if (record.body or {}).get("choice") == "yes":
            before = self.reached.get(record.author, -1)
            self.reached[record.author] = max(before, round_)

    # --- what is decided ----------------------------------------------------------------------

    def certified(self, round_: int) -> bytes | None:
        """The change with a certificate in a round."""
        ballot = self.votes.get(round_)
        return None if ballot is None else ballot.decided()

    def certificates(self, round_: int) -> set[bytes]:
        """Every change with a certificate in a round: one, unless too many voters lied."""
        return self._reached(self.votes, round_)

    def _reached(self, table: Mapping[int, Ballot], round_: int) -> set[bytes]:
        ballot = table.get(round_)
        if ballot is None:
            return set()
        return {one for one in ballot.subjects() if len(ballot.yes(one)) >= self.rule.needed}

    def certificate(self, below: int = limits.ROUNDS) -> tuple[int, bytes] | None:
        """The newest certificate of the rounds below: its round and its change."""
        for round_ in sorted(self.votes, reverse=True):
            subject = self.certified(round_)
            if round_ < below and subject is not None:
                return round_, subject
        return None

    def finals(self) -> list[tuple[int, bytes]]:
        """Round and subject of everything final, the lowest round first: one, unless more voters
        lied than the bound allows.
        """
        return [
            (round_, subject)
            for round_ in sorted(self.confirms)
            for subject in sorted(self._reached(self.confirms, round_) & self.certificates(round_))
        ]

    def proof(self, round_: int, subject: bytes) -> tuple[bytes, ...]:
        """The exact bytes of the votes and confirms behind a final change. Raises Refused."""
        votes, confirms = self.votes[round_], self.confirms[round_]
        return votes.certificate(subject) + confirms.certificate(subject)

    # --- what a voter may and should do ---------------------------------------------------------

    def spent(self, round_: int) -> bool:
        """Whether a quorum answered in a round: who is of another mind may go to the next."""
        return len(self.answers.get(round_, ())) >= self.rule.needed

    def voted(self, voter: bytes, round_: int) -> bool:
        """Whether a voter said yes in a round."""
        return round_ in self.votes and voter in self.votes[round_].votes

    def round_for(self, voter: bytes) -> int | None:
        """The round in which a voter may vote next; None if it waits for others.

        It never goes back, and follows as soon as others moved of whom one at least is honest.
        """
        others = sorted(self.reached.values(), reverse=True)
        enough = len(self.rule.voters) - self.rule.needed + 1
        led = others[enough - 1] if len(others) >= enough else 0
        newest = self.certificate()
        round_ = max(0, led, self.reached.get(voter, 0), newest[0] + 1 if newest else 0)
        while self.voted(voter, round_) and self.spent(round_):
            round_ += 1
        return None if self.voted(voter, round_) or round_ >= limits.ROUNDS else round_

    def bound(self, round_: int) -> bytes | None:
        """The change for which everybody votes in a round, because it was certified before."""
        newest = self.certificate(round_)
        return None if newest is None else newest[1]

    def due(self, voter: bytes, identity: bytes) -> Vote | None:
        """What a voter owes without being asked: to confirm the newest certificate, and to vote
        for its change again once others can no longer confirm it in its round.
        """
        newest = self.certificate()
        if voter not in self.rule.voters or self.finals() or newest is None:
            return None
        round_, subject = newest
        ballot = self.confirms.get(round_)
        confirmed = ballot is not None and voter in ballot.votes
        if not confirmed and self.reached.get(voter, 0) <= round_:
            return self._yes("confirm", round_, subject, identity)
        ahead = any(reached > round_ for reached in self.reached.values())
        next_ = self.round_for(voter) if ahead else None
        return None if next_ is None else self._yes("change", next_, subject, identity)

    def _yes(self, step: Step, round_: int, subject: bytes, identity: bytes) -> Vote:
        slot = step_slot(step, self.epoch, round_)
        return Vote(slot=slot, subject=subject, choice="yes", identity=identity)

    # --- who lied -------------------------------------------------------------------------------

    def lies(self) -> Iterator[Lie]:
        """Every pair of records that proves a liar.

        That one "turned without a certificate" is answered by showing a certificate of a round in
        between: who has it all records of the space knows.
        """
        for round_ in sorted(self.votes.keys() | self.confirms.keys()):
            if round_ in self.votes:
                yield from _twice(self.votes[round_], "voted twice")
            if round_ in self.confirms:
                yield from _twice(self.confirms[round_], "confirmed twice")
                yield from self._turned(round_, self.confirms[round_])

    def _turned(self, round_: int, confirms: Ballot) -> Iterator[Lie]:
        """Who confirmed one change and voted for another later, with nothing certified between."""
        for later in sorted(one for one in self.votes if one > round_):
            between = (one for one in self.votes if round_ < one < later)
            allowed = {subject for one in between for subject in self.certificates(one)}
            for voter, confirm in sorted(confirms.votes.items()):
                vote = self.votes[later].votes.get(voter)
                if vote is None or _subject(vote) in (_subject(confirm), *allowed):
                    continue
                yield Lie(voter, confirm.raw, vote.raw, "turned without a certificate")


def _twice(ballot: Ballot, why: Literal["voted twice", "confirmed twice"]) -> Iterator[Lie]:
    for voter, (first, second) in sorted(ballot.conflicts.items()):
        yield Lie(voter, first.raw, second.raw, why)


def _subject(vote: Record) -> object:
    return (vote.body or {}).get("subject")
