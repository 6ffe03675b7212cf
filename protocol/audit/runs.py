"""Every decided run record of one agreement, against what the records around it say (checks 12 to
15 and 17 to 18). What happened inside the enclave rests on the enclave and on who verified it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from protocol import decision, kinds, limits
from protocol.audit.feeds import Topic, readable
from protocol.audit.findings import Check, Entry, Ledger
from protocol.audit.hosts import report_conflicts
from protocol.errors import ProtocolError
from protocol.kinds.common import Vote
from protocol.kinds.run import Order, Run, Statement, Summons
from protocol.machines.agreement import Collaboration
from protocol.machines.queue import AGAIN
from protocol.machines.runs import parse_slot


@dataclass(frozen=True, slots=True)
class Decided:
    """A run record that a quorum voted for."""

    entry: Entry
    run: Run

    @property
    def name(self) -> str:
        """What to call it."""
        return f"run {self.run.number}"


@dataclass(frozen=True)
class History:
    """One agreement's topic as the file tells it."""

    found: Topic
    machine: Collaboration

    @cached_property
    def entries(self) -> Mapping[bytes, Entry]:
        """Every record by its id."""
        return self.found.numbered()

    @cached_property
    def statements(self) -> Mapping[bytes, tuple[Entry, Statement]]:
        """Every statement by its record's id."""
        return {
            entry.record.id: (entry, kinds.read(Statement, entry.record))
            for entry in self.found.entries
            if entry.record.kind == "statement" and entry.record.body is not None
        }

    @cached_property
    def runs(self) -> tuple[tuple[Entry, Run], ...]:
        """Every run record, decided or not."""
        return tuple(
            (entry, kinds.read(Run, entry.record))
            for entry in self.found.entries
            if entry.record.kind == "run" and entry.record.body is not None
        )

    @cached_property
    def decided(self) -> tuple[Decided, ...]:
        """Every run record with a quorum of votes, by number and term."""
        ballots = self.machine.runs.ballots
        subjects = {place: ballot.decided() for place, ballot in ballots.items()}
        found = [
            Decided(entry, run)
            for entry, run in self.runs
            if subjects.get((run.number, run.term)) == entry.record.id
        ]
        return tuple(sorted(found, key=lambda one: (one.run.number, one.run.term)))

    def cited(self, run: Run) -> list[tuple[Entry, Statement]]:
        """The statements that a run record names and the file has, one for each author."""
        by_author: dict[bytes, tuple[Entry, Statement]] = {}
        for id_ in run.statements:
            if id_ in self.statements:
                by_author.setdefault(self.statements[id_][0].record.author, self.statements[id_])
        return list(by_author.values())


def check_runs(history: History, ledger: Ledger) -> int:
    """All checks of all runs; the number up to which the history is complete."""
    earlier: dict[bytes, Decided] = {}
    for one in history.decided:
        _check_appointed(one, history, ledger)
        _check_order(one, earlier, history, ledger)
        _check_statements(one, history, ledger)
        _check_shares(one, history, ledger)
        _check_agreed(one, history, ledger)
        _check_adoption(one, history, ledger)
    _check_promises(history, ledger)
    _check_votes(history, ledger)
    return _check_numbers(history, ledger)


def _check_appointed(one: Decided, history: History, ledger: Ledger) -> None:
    elected = history.machine.election.elected(one.run.term)
    ledger.look(Check.ELECTIONS)
    if elected is None or elected.subject != one.run.appointment:
        sentence = f"{one.name} names another appointment than term {one.run.term} decided"
        ledger.find(Check.ELECTIONS, "election.certificate", sentence, one.entry)
    elif elected.candidacy.technology != one.run.technology:
        sentence = f"{one.name} names another technology than its host's candidacy"
        ledger.find(Check.ELECTIONS, "evidence.technology", sentence, one.entry)


def _check_order(
    one: Decided, earlier: dict[bytes, Decided], history: History, ledger: Ledger
) -> None:
    ledger.look(Check.ORDERS)
    entry = history.entries.get(one.run.order)
    if entry is not None and entry.record.kind == "order" and entry.record.body is None:
        ledger.limit(f"The order of {one.name} was redacted.")
    elif one.run.order not in history.machine.runs.orders or entry is None:
        sentence = f"{one.name} answers an order that is not in the file"
        ledger.find(Check.ORDERS, "run.order", sentence, one.entry)
    else:
        order = kinds.read(Order, entry.record)
        told = (one.run.entry, one.run.parameters, one.run.trigger, one.run.due)
        if (order.entry, order.parameters, order.trigger, order.due) != told:
            sentence = f"{one.name} ran something else than record {entry.number} ordered"
            ledger.find(Check.ORDERS, "run.order", sentence, one.entry)
        if order.entry not in {e.name for e in history.machine.document.algorithm.entries}:
            sentence = f"{one.name} ran {order.entry!r}, which nobody agreed on"
            ledger.find(Check.ORDERS, "run.order", sentence, one.entry)
    first = earlier.setdefault(one.run.order, one)
    if first.run.number != one.run.number:
        sentence = f"{one.name} uses the order of {first.name} again"
        ledger.find(Check.ORDERS, "run.order", sentence, one.entry)
    for other in earlier.values():
        if _same_due(other.run, one.run) and other.run.outcome not in AGAIN:
            sentence = f"{one.name} is for the due time of {other.name} again"
            ledger.find(Check.ORDERS, "run.trigger", sentence, one.entry)


def _same_due(one: Run, other: Run) -> bool:
    """Whether two numbers are for one due time."""
    due = (one.trigger, one.due)
    return one.number < other.number and None not in due and due == (other.trigger, other.due)


def _check_statements(one: Decided, history: History, ledger: Ledger) -> None:
    place = (one.run.number, one.run.term)
    missing = [id_ for id_ in one.run.statements if id_ not in history.entries]
    if missing:
        sentence = f"{one.name} names {len(missing)} statements that are not in the file"
        ledger.find(Check.STATEMENTS, "audit.incomplete", sentence, one.entry)
    summons = history.machine.runs.summons.get(place)
    if summons is None or summons[1].order != one.run.order:
        sentence = f"{one.name} has no summons for its order in term {one.run.term}"
        ledger.find(Check.STATEMENTS, "run.statements", sentence, one.entry)
    cited = history.cited(one.run)
    ledger.look(Check.STATEMENTS, len(cited))
    valid = [pair for pair in cited if _answers(pair, one, summons[1] if summons else None, ledger)]
    needed = history.machine.election.rule.needed
    if len(valid) < needed:
        sentence = f"{one.name} rests on {len(valid)} statements of the {needed} needed"
        ledger.find(Check.STATEMENTS, "run.statements", sentence, one.entry)


def _answers(
    pair: tuple[Entry, Statement], one: Decided, summons: Summons | None, ledger: Ledger
) -> bool:
    entry, statement = pair
    asked = (one.run.number, one.run.term, summons.nonce if summons else b"")
    if (statement.number, statement.term, statement.nonce) == asked:
        return True
    sentence = f"record {entry.number} is no answer to the summons of {one.name}"
    ledger.find(Check.STATEMENTS, "run.statements", sentence, entry)
    return False


def _check_shares(one: Decided, history: History, ledger: Ledger) -> None:
    """An organization's share is used only if its own statement is there, and was received."""
    spoke = {entry.record.author for entry, _ in history.cited(one.run)}
    for id_ in one.run.shares:
        ledger.look(Check.STATEMENTS)
        entry = history.entries.get(id_)
        if entry is None or entry.record.kind != "share":
            sentence = f"{one.name} used a share that is not in the file"
            ledger.find(Check.STATEMENTS, "run.share-missing", sentence, one.entry)
            continue
        owner = ledger.name(entry.record.author)
        if entry.record.author not in spoke:
            sentence = f"{one.name} used the share of {owner}, which made no statement for it"
            ledger.find(Check.STATEMENTS, "run.statements", sentence, one.entry)
        receipt = history.machine.receipts.get(id_)
        if receipt is None or receipt.verdict != "kept":
            sentence = f"{one.name} used the share of {owner} without a receipt that it was kept"
            ledger.find(Check.STATEMENTS, "share.contract", sentence, one.entry)


def _check_agreed(one: Decided, history: History, ledger: Ledger) -> None:
    run, document = one.run, history.machine.document
    end = document.start + document.purpose.duration
    void = run.outcome == "void"
    idle = void or is_lost(run, [other.run for other in history.decided])
    started = idle or (run.number, run.term) in history.machine.runs.started
    spent = _stated_attempts(one, history) >= document.runs.attempts
    in_time = document.start - limits.CLOCK_SKEW <= run.at < end + limits.CLOCK_SKEW
    checks = (
        ("run.code", run.bundle == document.algorithm.bundle, "ran another bundle"),
        ("run.environment", run.environment == document.algorithm.environment,
         "ran in another environment"),
        ("run.budget", run.number <= document.runs.at_most, "is one more than agreed"),
        ("run.attempts", run.adopts is not None or spent == void,
         "is not what its attempts say: void after the last one agreed, and not before"),
        ("run.adopted", run.adopts is not None or run.withheld is None,
         "withholds what it did not adopt"),
        ("audit.run", run.rules == document.rules, "applied other rules than the merged ones"),
        ("audit.run", started, "has no record that its checks were passed before it started"),
        ("agreement.ended", in_time, "was made outside of the time of the agreement"),
    )  # fmt: skip
    ledger.look(Check.AGREED, len(checks))
    for code, holds, what in checks:
        if not holds:
            ledger.find(Check.AGREED, code, f"{one.name} {what}", one.entry)


def is_lost(run: Run, decided: Iterable[Run]) -> bool:
    """Whether a number ended without a start, for nobody has the lineage: an earlier one was then
    said again in the same term.
    """
    if (run.outcome, run.refusal_code, run.rows) != ("refused", "gate.lineage", 0):
        return False
    before = (one for one in decided if one.number < run.number and one.term == run.term)
    return any(one.adopts is not None for one in before)


def _stated_attempts(one: Decided, history: History) -> int:
    """The number of earlier attempts by the statements, as the enclave must take it: with up to f
    liars, the (f+1)-th highest.
    """
    said = sorted((s.attempts for _, s in history.cited(one.run)), reverse=True)
    f = decision.tolerated(len(history.machine.parties))
    return said[f] if len(said) > f else 0


def _check_adoption(one: Decided, history: History, ledger: Ledger) -> None:
    """The record of the highest earlier term that a statement shows must be repeated."""
    shown: dict[int, bytes] = {}
    for entry, statement in history.cited(one.run):
        quoted = readable(statement.accepted) if statement.accepted else None
        if quoted is None or quoted.kind != "run" or quoted.body is None:
            continue
        accepted = kinds.read(Run, quoted)
        if accepted.number != one.run.number or accepted.term >= one.run.term:
            sentence = f"record {entry.number} shows a record of another number or term"
            ledger.find(Check.STATEMENTS, "run.adopted", sentence, entry)
            continue
        shown[accepted.term] = quoted.id
    due = shown[max(shown)] if shown else None
    if one.run.adopts != due:
        sentence = f"{one.name} does not adopt the record that its statements show"
        ledger.find(Check.STATEMENTS, "run.adopted", sentence, one.entry)
    first = next((run for entry, run in history.runs if entry.record.id == one.run.adopts), None)
    if first is not None and _essence(first) != _essence(one.run):
        sentence = f"{one.name} adopts a record of an earlier term, and differs from it"
        ledger.find(Check.STATEMENTS, "run.adopted", sentence, one.entry)


def _essence(run: Run) -> tuple[object, ...]:
    """What a repeated run must have in common with the one it adopts."""
    return (run.order, run.inputs, run.consents, run.leaves, run.outputs, run.outcome)


def _check_promises(history: History, ledger: Ledger) -> None:
    """Nobody answers a lower term after a higher one, nor hides an earlier yes in a number."""
    promised: dict[bytes, int] = {}
    accepted: dict[tuple[bytes, int], int] = {}
    for entry in history.found.entries:
        told = _told(entry)
        if told is None:
            continue
        number, term, shown = told
        key, who = entry.record.key, ledger.name(entry.record.author)
        if term < promised.get(key, 0):
            sentence = f"record {entry.number}: {who} answers term {term} after a higher one"
            ledger.find(Check.STATEMENTS, "term.promise", sentence, entry)
        promised[key] = max(term, promised.get(key, 0))
        if shown is None:
            accepted[key, number] = term
        elif not shown and accepted.get((key, number), term) < term:
            sentence = f"record {entry.number}: {who} hides that it voted in run {number} before"
            ledger.find(Check.STATEMENTS, "term.promise", sentence, entry)


def _told(entry: Entry) -> tuple[int, int, bool | None] | None:
    """(number, term, whether an earlier record is shown) of a statement; None last for a vote."""
    if entry.record.body is None:
        return None
    if entry.record.kind == "statement":
        statement = kinds.read(Statement, entry.record)
        return statement.number, statement.term, statement.accepted is not None
    if entry.record.kind == "vote":
        vote = kinds.read(Vote, entry.record)
        if vote.choice == "yes" and vote.slot.startswith("run/"):
            try:
                return *parse_slot(vote.slot), None
            except ProtocolError:
                return None  # reported by the replay
    return None


def _check_votes(history: History, ledger: Ledger) -> None:
    places = {entry.record.id: (run.number, run.term) for entry, run in history.runs}
    for place, ballot in history.machine.runs.ballots.items():
        ledger.look(Check.VOTES, len(ballot.votes))
        report_conflicts(ballot, history.entries, Check.VOTES, ledger)
        subject = ballot.decided()
        if subject is not None and subject not in places:
            sentence = f"{ballot.slot} was decided for a record that is not in the file"
            ledger.find(Check.VOTES, "audit.incomplete", sentence)
        elif subject is not None and places[subject] != place:
            entry = history.entries[subject]
            sentence = f"record {entry.number} was decided in {ballot.slot}, and is for another"
            ledger.find(Check.VOTES, "run.slot", sentence, entry)
    decided = {one.run.number for one in history.decided}
    last = max(decided, default=0)
    for entry, run in history.runs:
        if run.number in decided:
            continue
        votes = history.machine.runs.ballots.get((run.number, run.term))
        yes = len(votes.yes(entry.record.id)) if votes else 0
        rule = history.machine.election.rule
        if run.number < last:
            sentence = (
                f"run {run.number} has {yes} votes of the {rule.needed} needed, yet others follow"
            )
            ledger.find(Check.VOTES, "run.votes", sentence, entry)
        else:
            ledger.limit(
                f"Run {run.number} is not decided: {yes} of {rule.needed} votes are here; nothing "
                "may have left."
            )


def _check_numbers(history: History, ledger: Ledger) -> int:
    """Numbers count from 1 without gap; a second record of a number must adopt the first."""
    by_number: dict[int, Decided] = {}
    for one in history.decided:
        ledger.look(Check.NUMBERS)
        first = by_number.setdefault(one.run.number, one)
        if first is not one and one.run.adopts != first.entry.record.id:
            sentence = f"records {first.entry.number} and {one.entry.number} both end {one.name}"
            ledger.find(Check.NUMBERS, "run.slot", sentence, one.entry)
        by_number[one.run.number] = one
    places: dict[tuple[int, int], Entry] = {}
    for entry, run in history.runs:
        before = places.setdefault((run.number, run.term), entry)
        if before is not entry:
            sentence = (
                f"records {before.number} and {entry.number}: one enclave proposed both for "
                f"run {run.number}"
            )
            ledger.find(Check.NUMBERS, "run.slot", sentence, entry)
    return _complete_to(by_number, history, ledger)


def _complete_to(by_number: Mapping[int, Decided], history: History, ledger: Ledger) -> int:
    complete, last = 0, max(by_number, default=0)
    while complete + 1 in by_number:
        complete += 1
        one = by_number[complete]
        ballot = history.machine.runs.ballots[one.run.number, one.run.term]
        votes, rule = len(ballot.yes(one.entry.record.id)), ballot.rule
        ledger.prove(
            f"Run {complete}: {one.run.outcome}, decided by {votes} of {len(rule.voters)} parties "
            f"(quorum {rule.needed}), {one.run.contributors} people, {one.run.rows} rows."
        )
    if complete < last:
        sentence = f"run {complete + 1} is missing, run {last} is there"
        ledger.find(Check.NUMBERS, "audit.incomplete", sentence)
    return complete
