"""Decisions: a subject, a slot, a rule, and signed votes. The one mechanism behind admission,
agreement, election and run records (docs/protocol.md section 3).

A certificate is a list of vote records. Anybody can check it offline: enough distinct voters of the
rule said yes to this subject in this slot and topic, each with the one key that may vote for it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from protocol import record
from protocol.errors import Refused
from protocol.identity import History
from protocol.kinds.common import Vote
from protocol.record import Record
from protocol.shape import read


@dataclass(frozen=True, slots=True)
class Rule:
    """Who votes, and how many must say yes.

    `voters` maps participant to the voting keys of all its known revisions: a vote stands on the
    revision whose key signed it, and one participant counts once whatever its keys.
    """

    voters: Mapping[bytes, Collection[bytes]]
    needed: int


def quorum(n: int) -> int:
    """q = floor(2n/3) + 1: two quorums share an honest voter for up to 2q-n-1 liars."""
    return 2 * n // 3 + 1


def tolerated(n: int) -> int:
    """f = n - q: how many voters may be absent or lie while decisions still end."""
    return n - quorum(n)


@dataclass(slots=True)
class Ballot:
    """The votes of one slot, in any order of arrival.

    Votes only add up: what had enough of them stays decided, as its certificate stays valid, even
    if a voter contradicts itself later. A second yes for another subject is kept in `conflicts` as
    proof of equivocation (two records), and counts for its own subject: two quorums share more
    voters than may lie, so no liar can decide twice, and none can undo what is decided.

    `votes` holds the first yes of each voter.
    """

    rule: Rule
    slot: str
    votes: dict[bytes, Record] = field(default_factory=dict)
    conflicts: dict[bytes, tuple[Record, Record]] = field(default_factory=dict)
    _yes: dict[bytes, dict[bytes, Record]] = field(default_factory=dict, init=False)
    _reached: set[bytes] = field(default_factory=set, init=False)

    def add(self, vote: Record) -> None:
        """Count `vote`. Raises Refused (decision.voter, decision.subject)."""
        body = check_vote(vote, self.rule, self.slot)
        if body.choice != "yes":
            return
        first = self.votes.setdefault(vote.author, vote)
        counted = self._yes.setdefault(body.subject, {})
        if counted.setdefault(vote.author, vote) is vote and first is not vote:
            self.conflicts.setdefault(vote.author, (first, vote))
        if len(counted) >= self.rule.needed:
            self._reached.add(body.subject)

    def yes(self, subject: bytes) -> list[Record]:
        """The yes-votes for `subject`, ordered by voter."""
        return [vote for _, vote in sorted(self._yes.get(subject, {}).items())]

    def subjects(self) -> list[bytes]:
        """Every subject that has a yes, the most voted first, ties by id."""
        return sorted(self._yes, key=self._most_voted)

    def decided(self) -> bytes | None:
        """The subject with enough votes, if any."""
        return min(self._reached, key=self._most_voted, default=None)

    def _most_voted(self, subject: bytes) -> tuple[int, bytes]:
        return -len(self._yes[subject]), subject

    def certificate(self, subject: bytes) -> tuple[bytes, ...]:
        """The exact bytes of the yes-votes. Raises Refused (decision.quorum)."""
        votes = self.yes(subject)
        if len(votes) < self.rule.needed:
            raise Refused("decision.quorum", f"{len(votes)} of {self.rule.needed}")
        return tuple(vote.raw for vote in votes)


def check_vote(vote: Record, rule: Rule, slot: str) -> Vote:
    """The body of a vote that counts under `rule`. Raises Refused (decision.*)."""
    if vote.kind != "vote" or vote.body is None:
        raise Refused("decision.subject", f"a record of kind {vote.kind} is no vote")
    if vote.key not in rule.voters.get(vote.author, ()):
        raise Refused("decision.voter")
    body = read(Vote, vote.body)
    if body.slot != slot:
        raise Refused("decision.subject", f"slot {body.slot!r}, wanted {slot!r}")
    return body


def verify(
    certificate: Iterable[bytes],
    *,
    topic: bytes,
    subject: bytes,
    slot: str,
    rule: Rule,
    histories: Mapping[bytes, History] = MappingProxyType({}),
) -> list[Record]:
    """The votes of a certificate that proves `subject` in `slot`. A vote that is void by a known
    history does not count. Raises Refused (decision.*).
    """
    ballot = Ballot(rule, slot)
    for raw in certificate:
        vote = record.parse(raw)
        if vote.topic != topic:
            raise Refused("decision.subject", "a vote of another topic")
        if vote.author not in histories or histories[vote.author].stands(vote):
            ballot.add(vote)
    # A certificate needs no vote of a proven liar: one that brings the proof along is refused.
    votes = [vote for vote in ballot.yes(subject) if vote.author not in ballot.conflicts]
    if len(votes) < rule.needed:
        raise Refused("decision.quorum", f"{len(votes)} of {rule.needed}")
    return votes
