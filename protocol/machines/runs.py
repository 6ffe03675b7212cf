"""Runs of one agreement: orders, statements, votes (docs/protocol.md section 8).

A run number is an exclusive slot and the term its ballot: the attested enclave of a term gathers a
quorum of statements, proposes one run record, and releases only after a quorum voted for it. A
statement is a promise: its signer never again answers a lower term. A number whose result somebody
lacks, after its enclave is gone, is put through another term: the slot can only say the same again.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol import budget, kinds, limits, record, shape
from protocol.decision import Ballot, Rule, tolerated
from protocol.effects import Effect, Execute, Publish, Release, Summon
from protocol.errors import RULES, Refused
from protocol.kinds.agreement import Agreement
from protocol.kinds.common import Vote
from protocol.kinds.host import Lapse
from protocol.kinds.run import (
    Missing,
    Order,
    Run,
    RunCertificate,
    Started,
    Statement,
    Summons,
)
from protocol.machines.election import Election
from protocol.machines.heritage import Heritage
from protocol.machines.queue import Queue
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
    queue: Queue = field(init=False)
    heritage: Heritage = field(init=False)
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
    own: tuple[bytes, ...] = ()
    kept: set[tuple[int, str]] = field(default_factory=set)
    lacks: dict[bytes, set[bytes]] = field(default_factory=dict)
    full_since: dict[bytes, float] = field(default_factory=dict)
    proposed_at: dict[tuple[int, int], int] = field(default_factory=dict)
    started_at: dict[tuple[int, int], int] = field(default_factory=dict)
    _paused: dict[bytes, Record] = field(default_factory=dict, init=False)
    _told: dict[bytes, tuple[bytes, Statement]] = field(default_factory=dict, init=False)
    _ended: dict[int, tuple[Record, Run]] = field(default_factory=dict, init=False)
    _decided: dict[bytes, tuple[Record, Run]] = field(default_factory=dict, init=False)
    _certificates: dict[bytes, bytes] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Begin with an empty queue."""
        self.queue = Queue(self.document)
        self.heritage = Heritage(self.election)
        self.election.heirs = lambda: self.heritage.heirs(self._ended)

    @property
    def orders(self) -> Mapping[bytes, tuple[Record, Order]]:
        """Every order that was given, by its record's id."""
        return self.queue.orders

    @property
    def suspended(self) -> bool:
        """Whether a signatory's suspension is in force, or more is withdrawn than can be stated."""
        return any(self.suspensions.values()) or len(self.stops) > limits.STOPS

    def committed(self) -> dict[int, tuple[Record, Run]]:
        """The run record of each ended number, in order of numbers; of the newest term that ended
        it, which repeats what an earlier one decided.
        """
        return dict(sorted(self._ended.items()))

    def decided(self, id_: bytes) -> tuple[Record, Run] | None:
        """A run record that a quorum voted for, in whatever term it ended its number."""
        return self._decided.get(id_)

    @property
    def next_number(self) -> int:
        """The number after the last that has a committed record."""
        return max(self._ended, default=0) + 1

    def pending_orders(self, now: int | None = None) -> list[Record]:
        """Orders that wait for their run, the next first; at `now` (unix seconds) some expired."""
        return self.queue.line(now)

    def begun(self, number: int) -> bytes | None:
        """The order with which a number started: it ends with this one, and with no other."""
        terms = [term for n, term in self.started if n == number and (n, term) in self.summons]
        return self.summons[number, max(terms)][1].order if terms else None

    def lacking(self) -> list[int]:
        """Ended numbers whose released result some recipient lacks, and whose enclave is gone."""
        return [
            number
            for number, (record, run) in sorted(self._ended.items())
            if self._can_release_again(run)
            and any(_receives(run, one, self.rule) for one in self.lacks.get(record.id, ()))
        ]

    def rebuilding(self) -> list[int]:
        """Ended numbers that the enclave in office computes again, for it lacks the lineage."""
        return self.heritage.rebuilding(self._ended)

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
            case "order" | "cancel" | "missing":
                self._take_wish(record)
            case "summons":
                found = (record, kinds.read(Summons, record))
                at = (found[1].number, found[1].term)
                self.summons[at] = max(self.summons.get(at, found), found, key=_place)
            case "statement":
                self._take_statement(record)
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

    def _take_wish(self, record: Record) -> None:
        match record.kind:
            case "order":
                self.queue.order(record)
            case "cancel":
                self.queue.cancel(record)
            case _:
                lacked = kinds.read(Missing, record).run
                self.lacks.setdefault(lacked, set()).add(record.author)

    def _take_statement(self, record: Record) -> None:
        statement = kinds.read(Statement, record)
        place = self.statements.setdefault((statement.number, statement.term), {})
        last = place.setdefault(record.author, record)
        place[record.author] = max(last, record, key=lambda one: one.said)
        self._told[record.id] = (record.author, statement)
        self._promise(record.author, statement.term)

    def hear_stop(self, stop: bytes, raw: bytes) -> None:
        """Keep a person's withdrawal: it goes into every later statement."""
        self.stops[stop] = raw

    def party_duties(self, me: bytes, identity: bytes, now: int) -> list[Effect]:
        """What the party `me` owes: a statement to the enclave, a vote on its record, the word that
        a run takes too long, and the word that a result never came.
        """
        elected = self.election.elected()
        if me not in self.rule.voters or elected is None:
            return []
        term = elected.term
        if self.promised.get(me, 0) > term:
            return []
        if self.election.doubt(me, elected.appointment.candidacy, now) is not None:
            return []
        ending = self.heritage.gives_way(self._ended, me)
        if ending is not None:
            return ending
        return (
            self._state(me, term, now)
            or self._decide(me, identity, term, now)
            or [*self._overdue(me, term, now), *self._missed(me)]
        )

    def _state(self, me: bytes, term: int, now: int) -> list[Effect]:
        """The answer to the summons of a number that is open, or whose result somebody lacks, or
        whose people and states the enclave does.
        """
        for number in (*self.rebuilding(), *self.lacking(), self.next_number):
            asked = self.summons.get((number, term))
            if asked is None or self._has_answered(me, asked[1]):
                continue
            if self._may_start(asked[1], now):
                return [Publish("statement", self._statement(me, asked[1], now))]
        return []

    def _decide(self, me: bytes, identity: bytes, term: int, now: int) -> list[Effect]:
        """The vote on a record of this term."""
        for number, when in sorted(self.proposals):
            if when == term and number <= self.next_number and self._is_open(number, term):
                owed = self._vote(me, identity, number, term, now)
                if owed:
                    return owed
        return []

    def host_duties(self, candidacy: bytes | None, now: float, wall: int) -> list[Effect]:
        """What the host of the current term owes, if `candidacy` (its own) holds it."""
        elected = self.election.elected()
        if elected is None or elected.appointment.candidacy != candidacy:
            return []
        releases: list[Effect] = [
            Release(n, certificate)
            for n, (_, run) in sorted(self._ended.items())
            if self._holds(candidacy, run.term) and (certificate := self.certificate(n)) is not None
        ]
        inherit = self.heritage.inherits(self._ended)
        owed = [*releases, inherit] if inherit is not None else releases
        if not self.heritage.may_go_on(self._ended):
            return owed
        return [*owed, *self._drive(elected.term, now, wall)]

    def check_run_vote(self, vote: Vote) -> None:
        """Refuse a vote whose slot is not run/NUMBER/TERM (decision.subject)."""
        parse_slot(vote.slot)

    def _drive(self, term: int, now: float, wall: int) -> list[Effect]:
        """The next step of the number that is due: summon, then execute."""
        due = self.next_step(term, wall)
        if due is None or self.suspended:
            return []
        number, order = due
        if (number, term) in self.proposals:
            return []
        asked = self.summons.get((number, term))
        if asked is None or asked[1].order != order:
            return [Summon(number, term, order)]
        answers = self._answers(asked[1])
        if len(answers) < self.rule.needed:
            return []
        since = self.full_since.setdefault(asked[1].nonce, now)
        if len(answers) < len(self.rule.voters) and now - since < GRACE:
            return []
        return [Execute(number, term, tuple(r.raw for _, r in sorted(answers.items())))]

    def next_step(self, term: int, wall: int) -> tuple[int, bytes] | None:
        """(number, order) that the host of `term` serves now: first what it started, then what its
        enclave must learn anew, then the queue, and when nobody waits, what somebody lacks.
        """
        for number, when in sorted(self.started):
            order = self.begun(number)
            if when == term and order is not None and self._is_open(number, term):
                return number, order
        for number in self.rebuilding():
            return number, self._ended[number][1].order
        number = self.next_number
        begun, waiting = self.begun(number), self.pending_orders(wall)
        if begun is not None:
            return number, begun
        if waiting and number <= self.document.runs.at_most:
            return number, waiting[0].id
        return next(((n, self._ended[n][1].order) for n in self.lacking()), None)

    def _is_open(self, number: int, term: int) -> bool:
        """Whether this term may still say what became of a number."""
        ended = self._ended.get(number)
        return number == self.next_number if ended is None else ended[1].term < term

    def _answers(self, summons: Summons) -> dict[bytes, Record]:
        """The statements that answer this very summons, by party."""
        given = self.statements.get((summons.number, summons.term), {})
        return {a: r for a, r in given.items() if self._told[r.id][1].nonce == summons.nonce}

    def _has_answered(self, me: bytes, summons: Summons) -> bool:
        """Whether a summons has the answer of `me`. Until a record is proposed it speaks again
        where another share counts by now: a run that waits for a share goes on with it.
        """
        answer = self._answers(summons).get(me)
        if answer is None:
            return False
        proposed = (summons.number, summons.term) in self.proposals
        return proposed or self._told[answer.id][1].shares == self.own

    def _may_start(self, summons: Summons, now: int) -> bool:
        """Whether a party lets this order run as this number: what was cancelled, expired or ran
        already does not begin; what began must end.
        """
        if summons.number in self._ended:
            return summons.order == self._ended[summons.number][1].order
        begun = self.begun(summons.number)
        if begun is not None:
            return summons.order == begun
        known = summons.order in self.orders
        return known and self.queue.standing(summons.order, now) == "waiting"

    def releasable(self, number: int, to: bytes) -> bytes | None:
        """The id of the record that released something to `to`, if its enclave is gone and another
        can release it again.
        """
        record, run = self._ended.get(number, (None, None))
        if record is None or run is None or not self._can_release_again(run):
            return None
        return record.id if any(one.to == to for one in run.outputs) else None

    # --- what stays behind ----------------------------------------------------------------------

    def _holds(self, candidacy: bytes | None, term: int) -> bool:
        """Whether this boot of an enclave computed what ended in `term`."""
        elected = self.election.elected(term)
        return elected is not None and elected.appointment.candidacy == candidacy

    def _can_release_again(self, run: Run) -> bool:
        """Whether the present term can bring a result that an enclave took with it."""
        elected = self.election.elected()
        left = run.outcome == "released" and run.withheld is None
        if not left or elected is None or run.term >= elected.term:
            return False
        return not self._holds(elected.appointment.candidacy, run.term)

    def _missed(self, me: bytes) -> list[Effect]:
        """The word that a result for `me` never came, and that its enclave is gone."""
        return [
            Publish("missing", Missing(number=number, run=record.id))
            for number, (record, run) in sorted(self._ended.items())
            if self._can_release_again(run)
            and me not in self.lacks.get(record.id, ())
            and any((number, one.name) not in self.kept for one in run.outputs if one.to == me)
        ]

    def _overdue(self, me: bytes, term: int, now: int) -> list[Effect]:
        """A run that takes longer than agreed ends its term: the next host tries."""
        if me in self.election.lapses.get(term, ()):
            return []
        within = self.document.runs.within or limits.WITHIN
        for place in sorted(self.started):
            if place[1] != term or place in self.proposals or not self._is_open(*place):
                continue
            if now - self.started_at.setdefault(place, now) > within:
                reason = f"run.overdue: {RULES['run.overdue'].sentence}"
                return [Publish("lapse", Lapse(term=term, reason=reason))]
        return []

    def _statement(self, me: bytes, summons: Summons, now: int) -> Statement:
        accepted = self._accepted(me, summons.number, summons.term)
        return Statement(
            number=summons.number,
            term=summons.term,
            nonce=summons.nonce,
            stops=tuple(sorted(self.stops)[: limits.STOPS]),
            shares=self.own,
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
            ("run.slot", self._is_taken(run)),
            ("run.order", run.order not in self.orders or self._misquotes(run)),
            ("run.statements", not self._has_quorum(run)),
            ("run.hidden-stop", not set(self.stops) <= set(run.stops)),
            ("run.hidden-stop", self.suspended),
            ("run.code", run.bundle != self.document.algorithm.bundle),
            ("run.environment", run.environment != self.document.algorithm.environment),
            ("run.budget", run.number > self.document.runs.at_most),
            ("run.attempts", self._is_spent(run) != (run.outcome == "void") and not run.adopts),
            ("run.adopted", self._misadopts(run)),
            ("gate.schema", run.rules != self.document.rules),
            ("gate.budget", not self._is_charged(run)),
        )
        return next((code for code, broken in checks if broken), None)

    def _misquotes(self, run: Run) -> bool:
        _, order = self.orders[run.order]
        told = (run.entry, run.parameters, run.trigger, run.due)
        return (order.entry, order.parameters, order.trigger, order.due) != told

    def _is_taken(self, run: Run) -> bool:
        """Whether another record ended the number, or an earlier number is open."""
        ended = self._ended.get(run.number)
        if ended is None:
            return run.number != self.next_number
        return run.adopts is None or essence(run) != essence(ended[1])

    def _is_charged(self, run: Run) -> bool:
        """Whether its charges are the agreed ones, and within what earlier numbers left."""
        earlier = [one for number, (_, one) in self._ended.items() if number < run.number]
        return budget.fits(self.document, run, earlier)

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
        return f < len(said) and said[f] >= self.document.runs.attempts

    def _misadopts(self, run: Run) -> bool:
        """Whether the record is not the one of the newest earlier term that its statements show: a
        quorum may have voted for that one, and its outputs may have left.
        """
        genuine = [(r, one) for r, one in self._shown(run) if self._is_genuine(r, one)]
        if not genuine:
            return run.adopts is not None or run.withheld is not None
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
        self._decided[found[0].id] = found
        self.queue.answer(found[1].order, place[0], found[1].outcome)
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


def _place(pair: tuple[Record, Summons]) -> int:
    """Where a summons stands in the feed of its enclave: the last one counts."""
    return pair[0].seq


def _receives(run: Run, party: bytes, rule: Rule) -> bool:
    """Whether something of a run is for a party, or for people, whose mailboxes parties keep."""
    to = {one.to for one in run.outputs}
    return party in to or (party in rule.voters and bool(to - rule.voters.keys()))


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
