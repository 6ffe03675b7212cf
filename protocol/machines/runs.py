"""Runs of one agreement: orders, statements, votes (docs/protocol.md section 8).

A run number is an exclusive slot and the term its ballot: the attested enclave of a term gathers a
quorum of statements, proposes one run record, and releases only after a quorum voted for it. A
statement is a promise: its signer never again answers a lower term.
"""

import hashlib
import re
from dataclasses import dataclass, field

from protocol import kinds, limits, record, shape
from protocol.decision import Ballot, Rule, tolerated
from protocol.effects import Effect, Execute, Publish, Release, Summon
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement
from protocol.kinds.common import Vote
from protocol.kinds.host import Lapse
from protocol.kinds.run import Order, Run, RunCertificate, Started, Statement, Summons
from protocol.machines.election import Election
from protocol.record import Record

GRACE = 2.0
"""Seconds that the host waits for the statements beyond the quorum: an organization's share is used
only if its own statement is there."""

PATIENCE = 10
"""Seconds for which what a run record cites may still be on its way, before it is judged without.
"""


@dataclass(slots=True)
class Runs:
    """All run numbers of one agreement, as one participant sees them."""

    document: Agreement
    election: Election
    rule: Rule
    orders: dict[bytes, tuple[Record, Order]] = field(default_factory=dict)
    summons: dict[tuple[int, int], tuple[Record, Summons]] = field(default_factory=dict)
    statements: dict[tuple[int, int], dict[bytes, Record]] = field(default_factory=dict)
    started: dict[tuple[int, int], Started] = field(default_factory=dict)
    proposals: dict[tuple[int, int], tuple[Record, Run]] = field(default_factory=dict)
    ballots: dict[tuple[int, int], Ballot] = field(default_factory=dict)
    no_votes: dict[tuple[int, int], dict[bytes, str]] = field(default_factory=dict)
    promised: dict[bytes, int] = field(default_factory=dict)
    stops: dict[bytes, bytes] = field(default_factory=dict)
    suspensions: dict[bytes, bool] = field(default_factory=dict)
    renewed: dict[bytes, bytes] = field(default_factory=dict)
    full_since: dict[tuple[int, int], float] = field(default_factory=dict)
    proposed_at: dict[tuple[int, int], int] = field(default_factory=dict)
    _paused: dict[bytes, Record] = field(default_factory=dict, init=False)
    _told: dict[bytes, tuple[bytes, Statement]] = field(default_factory=dict, init=False)
    _ended: dict[int, tuple[Record, Run]] = field(default_factory=dict, init=False)
    _certificates: dict[bytes, bytes] = field(default_factory=dict, init=False)

    @property
    def suspended(self) -> bool:
        """Whether a signatory's suspension is in force, or more is withdrawn than can be stated."""
        return any(self.suspensions.values()) or len(self.stops) > limits.STOPS

    def committed(self) -> dict[int, tuple[Record, Run]]:
        """The run record of each ended number, in order of numbers; of the newest term that ended
        it, which repeats what an earlier one decided.
        """
        return dict(sorted(self._ended.items()))

    @property
    def next_number(self) -> int:
        """The number after the last that has a committed record."""
        return max(self._ended, default=0) + 1

    def pending_orders(self) -> list[Record]:
        """Orders that no committed run answered, oldest first."""
        used = {run.order for _, run in self._ended.values()}
        waiting = [record for record, _ in self.orders.values() if record.id not in used]
        return sorted(waiting, key=lambda record: (record.at, record.id))

    def attempts(self, number: int) -> int:
        """In how many terms the algorithm of this number started."""
        return sum(n == number for n, _ in self.started)

    def certificate(self, number: int) -> bytes | None:
        """The raw run certificate of an ended number: of the first votes that were enough."""
        if number not in self._ended:
            return None
        found, run = self._ended[number]
        known = self._certificates.get(found.id)
        if known is None:
            votes = self.ballots[run.number, run.term].certificate(found.id)
            known = shape.encode(RunCertificate(run=found.raw, votes=votes))
            self._certificates[found.id] = known
        return known

    def not_voted(self, me: bytes) -> int:
        """The lowest run number that `me` has not voted for: what a stop receipt names."""
        voted = [n for (n, _), ballot in self.ballots.items() if me in ballot.votes]
        return max(voted, default=0) + 1

    def take(self, record: Record) -> None:
        """Take a record of a kind that concerns runs."""
        match record.kind:
            case "order":
                self.orders[record.id] = (record, kinds.read(Order, record))
            case "summons":
                summons = kinds.read(Summons, record)
                self.summons[summons.number, summons.term] = (record, summons)
            case "statement":
                statement = kinds.read(Statement, record)
                place = self.statements.setdefault((statement.number, statement.term), {})
                last = place.setdefault(record.author, record)
                place[record.author] = max(last, record, key=lambda one: one.said)
                self._told[record.id] = (record.author, statement)
                self._promise(record.author, statement.term)
            case "started":
                started = kinds.read(Started, record)
                self.started[started.number, started.term] = started
            case "run":
                run = kinds.read(Run, record)
                self.proposals.setdefault((run.number, run.term), (record, run))
                self._settle((run.number, run.term))
            case "vote":
                self._take_vote(record)
            case "suspension" | "resumption":
                last = self._paused.setdefault(record.author, record)
                self._paused[record.author] = max(last, record, key=lambda one: one.said)
                said = self._paused[record.author].kind
                self.suspensions[record.author] = said == "suspension"
            case _:
                return

    def hear_stop(self, stop: bytes, raw: bytes) -> None:
        """Keep a person's withdrawal: it goes into every later statement."""
        self.stops[stop] = raw

    def party_duties(self, me: bytes, identity: bytes, now: int) -> list[Effect]:
        """What the party `me` owes: a statement to the enclave, a vote on its record."""
        elected = self.election.elected()
        if me not in self.rule.voters or elected is None:
            return []
        number, term = self.next_number, elected.term
        asked = self.summons.get((number, term))
        if asked is None or self.promised.get(me, 0) > term:
            return []
        if self.election.doubt(me, elected.appointment.candidacy, now) is not None:
            return []
        if not self._has_answered(me, asked[1]):
            return [Publish("statement", self._statement(me, asked[1], now))]
        return self._vote(me, identity, number, term, now)

    def host_duties(self, candidacy: bytes | None, now: float) -> list[Effect]:
        """What the host of the current term owes, if `candidacy` (its own) holds it."""
        elected = self.election.elected()
        if elected is None or elected.appointment.candidacy != candidacy:
            return []
        term, number = elected.term, self.next_number
        releases: list[Effect] = [
            Release(n, certificate)
            for n, (_, run) in sorted(self._ended.items())
            if run.term == term and (certificate := self.certificate(n)) is not None
        ]
        return [*releases, *self._drive(number, term, now)]

    def check_run_vote(self, vote: Vote) -> None:
        """Refuse a vote whose slot is not run/NUMBER/TERM (decision.subject)."""
        parse_slot(vote.slot)

    def _drive(self, number: int, term: int, now: float) -> list[Effect]:
        """The next step of the current number: summon, then execute."""
        place = (number, term)
        if place in self.proposals or self.suspended or number > self.document.runs.at_most:
            return []
        orders = self.pending_orders()
        if not orders:
            return []
        if place not in self.summons:
            return [Summon(number, term, orders[0].id)]
        answers = self.statements.get(place, {})
        if len(answers) < self.rule.needed:
            return []
        since = self.full_since.setdefault(place, now)
        if len(answers) < len(self.rule.voters) and now - since < GRACE:
            return []
        return [Execute(number, term, tuple(r.raw for _, r in sorted(answers.items())))]

    def _has_answered(self, me: bytes, summons: Summons) -> bool:
        """Whether my statement is there, and answers this very summons."""
        given = self.statements.get((summons.number, summons.term), {}).get(me)
        return given is not None and self._told[given.id][1].nonce == summons.nonce

    def _statement(self, me: bytes, summons: Summons, now: int) -> Statement:
        accepted = self._accepted(me, summons.number, summons.term)
        return Statement(
            number=summons.number,
            term=summons.term,
            nonce=summons.nonce,
            stops=tuple(sorted(self.stops)[: limits.STOPS]),
            suspended=self.suspended,
            attempts=self.attempts(summons.number),
            accepted=accepted,
            identities=tuple(sorted(self.renewed.values())),
            at=now,
        )

    def _accepted(self, me: bytes, number: int, below: int) -> bytes | None:
        """The run record of the highest earlier term that `me` voted for in this number."""
        terms = [
            t for (n, t), b in self.ballots.items() if n == number and t < below and me in b.votes
        ]
        for term in sorted(terms, reverse=True):
            found = self.proposals.get((number, term))
            if found is not None:
                return found[0].raw
        return None

    def _vote(self, me: bytes, identity: bytes, number: int, term: int, now: int) -> list[Effect]:
        found = self.proposals.get((number, term))
        place = (number, term)
        ballot = self.ballots.get(place)
        if found is None or (ballot is not None and me in ballot.votes):
            return []
        if me in self.no_votes.get(place, {}):
            return self._give_up(me, place)
        record, run = found
        met = self.proposed_at.setdefault(place, now)
        if self._is_early(run) and 0 <= now - met < PATIENCE:
            return []
        fault = self.fault(run)
        vote = Vote(
            slot=slot(number, term),
            subject=record.id,
            choice="no" if fault else "yes",
            identity=identity,
            reason=fault,
        )
        return [Publish("vote", vote)]

    def _give_up(self, me: bytes, place: tuple[int, int]) -> list[Effect]:
        """A record that cannot reach a quorum ends the term, so that the next enclave may try."""
        noes = self.no_votes[place]
        term = place[1]
        if len(noes) <= tolerated(len(self.rule.voters)) or me in self.election.lapses.get(
            term, ()
        ):
            return []
        reason = "; ".join(sorted(set(noes.values())))
        return [Publish("lapse", Lapse(term=term, reason=reason[:1000]))]

    def fault(self, run: Run) -> str | None:
        """The code of the first rule that a proposed run record breaks in this view, or None."""
        elected = self.election.elected(run.term)
        checks = (
            ("election.certificate", elected is None or elected.subject != run.appointment),
            ("run.slot", run.number != self.next_number),
            ("run.order", run.order not in self.orders or self._misquotes(run)),
            ("run.statements", not self._has_quorum(run)),
            ("run.hidden-stop", not set(self.stops) <= set(run.stops)),
            ("run.hidden-stop", self.suspended),
            ("run.code", run.bundle != self.document.algorithm.bundle),
            ("run.environment", run.environment != self.document.algorithm.environment),
            ("run.budget", run.number > self.document.runs.at_most or self._is_spent(run)),
            ("run.adopted", self._misadopts(run)),
            ("gate.schema", run.rules != self.document.rules),
        )
        return next((code for code, broken in checks if broken), None)

    def _misquotes(self, run: Run) -> bool:
        _, order = self.orders[run.order]
        return (order.entry, order.parameters) != (run.entry, run.parameters)

    def _is_early(self, run: Run) -> bool:
        """Whether something that the record rests on is not here yet: others' feeds, other ways."""
        return (
            self.election.elected(run.term) is None
            or run.order not in self.orders
            or not set(run.statements) <= self._told.keys()
            or any(self.election.elected(one.term) is None for _, one in self._shown(run))
        )

    def _cited(self, run: Run) -> dict[bytes, list[Statement]]:
        """The statements that a run record cites, as far as they are here, by party."""
        cited: dict[bytes, list[Statement]] = {}
        for id_ in set(run.statements) & self._told.keys():
            author, said = self._told[id_]
            if (said.number, said.term) == (run.number, run.term):
                cited.setdefault(author, []).append(said)
        return cited

    def _has_quorum(self, run: Run) -> bool:
        return len(self._cited(run)) >= self.rule.needed

    def _is_spent(self, run: Run) -> bool:
        """Whether the number had its attempts before, as the enclave must count them: up to f
        parties may lie.
        """
        told = self._cited(run).values()
        said = sorted((max(s.attempts for s in each) for each in told), reverse=True)
        f = tolerated(len(self.rule.voters))
        return run.adopts is None and f < len(said) and said[f] >= self.document.runs.attempts

    def _misadopts(self, run: Run) -> bool:
        """Whether the record is not the one of the newest earlier term that its statements show: a
        quorum may have voted for that one, and its outputs may have left.
        """
        genuine = [(r, one) for r, one in self._shown(run) if self._is_genuine(r, one)]
        if not genuine:
            return run.adopts is not None
        record, earlier = max(genuine, key=lambda pair: pair[1].term)
        return run.adopts != record.id or essence(run) != essence(earlier)

    def _shown(self, run: Run) -> list[tuple[Record, Run]]:
        """The run records of earlier terms of this number that the cited statements show."""
        told = [one for each in self._cited(run).values() for one in each]
        raws = {one.accepted for one in told if one.accepted is not None}
        found = [pair for raw in sorted(raws) if (pair := read_run(raw)) is not None]
        return [(r, one) for r, one in found if one.number == run.number and one.term < run.term]

    def _is_genuine(self, record: Record, run: Run) -> bool:
        """Whether a record was signed by the enclave of its term, in this agreement."""
        elected = self.election.elected(run.term)
        if elected is None or record.topic != self.election.agreement_id:
            return False
        signed = (elected.candidacy.enclave.signing, elected.subject)
        return (record.key, run.appointment) == signed

    def _settle(self, place: tuple[int, int]) -> None:
        """Note that a number ended, once its record and the votes for it are here."""
        ballot, found = self.ballots.get(place), self.proposals.get(place)
        if ballot is None or found is None or ballot.decided() != found[0].id:
            return
        known = self._ended.setdefault(place[0], found)
        if known[1].term < place[1]:
            self._ended[place[0]] = found

    def _promise(self, author: bytes, term: int) -> None:
        self.promised[author] = max(term, self.promised.get(author, 0))

    def _take_vote(self, record: Record) -> None:
        vote = kinds.read(Vote, record)
        place = parse_slot(vote.slot)
        if vote.choice == "no":
            self.no_votes.setdefault(place, {})[record.author] = vote.reason or ""
            return
        self.ballots.setdefault(place, Ballot(self.rule, vote.slot)).add(record)
        self._promise(record.author, place[1])
        self._settle(place)


def slot(number: int, term: int) -> str:
    """The slot of a run record: the number is exclusive, the term its ballot."""
    return f"run/{number}/{term}"


def parse_slot(text: str) -> tuple[int, int]:
    """(number, term) of a slot. Raises Refused (decision.subject)."""
    found = re.fullmatch(r"run/(0|[1-9][0-9]{0,8})/(0|[1-9][0-9]{0,8})", text, re.ASCII)
    if found is not None:
        return int(found[1]), int(found[2])
    raise Refused("decision.subject", "not the slot of a run")


def essence(run: Run) -> tuple[object, ...]:
    """What a record that repeats another of the same number must have in common with it."""
    return run.order, run.inputs, run.consents, run.leaves, run.outputs, run.outcome


def read_run(raw: bytes) -> tuple[Record, Run] | None:
    """The run record in `raw`, which a statement shows; None if it is none, whoever says so."""
    try:
        found = record.parse(raw)
        return (found, kinds.read(Run, found)) if found.kind == "run" else None
    except Refused:
        return None


def consents_root(consents: list[bytes]) -> bytes:
    """What a run record says about the consents it rests on: a digest over their sorted ids."""
    return hashlib.sha256(b"".join(sorted(consents))).digest()
