"""Withdrawals and suspensions: a run that ignores one incriminates itself (check 14)."""

from protocol import kinds
from protocol.audit.findings import Check, Entry, Ledger
from protocol.audit.runs import Decided, History
from protocol.kinds.common import Vote


def check_stops(history: History, ledger: Ledger) -> None:
    """A run honours every stop in the statements it cites, and every one its enclave knew before;
    it does not go on while a party says that the agreement is suspended.
    """
    known: dict[bytes, set[bytes]] = {}
    for one in history.decided:
        for entry, statement in history.cited(one.run):
            ledger.look(Check.STOPS)
            for stop in statement.stops:
                if stop not in one.run.stops:
                    sentence = f"{one.name} ignores the stop that record {entry.number} shows"
                    ledger.find(Check.STOPS, "run.hidden-stop", sentence, one.entry)
        mine = known.setdefault(one.entry.record.key, set())
        if not mine <= set(one.run.stops):
            sentence = f"{one.name} ignores a stop that an earlier run of its enclave honoured"
            ledger.find(Check.STOPS, "run.hidden-stop", sentence, one.entry)
        mine.update(one.run.stops)
        _check_suspended(one, history, ledger)
    _check_parties(history, ledger)
    honoured = len({stop for one in history.decided for stop in one.run.stops})
    if honoured:
        ledger.prove(f"Withdrawals that the run records honour: {honoured}.")


def _check_suspended(one: Decided, history: History, ledger: Ledger) -> None:
    for entry, statement in history.cited(one.run):
        ledger.look(Check.STOPS)
        if statement.suspended:
            sentence = f"{one.name} went on although record {entry.number} says it is suspended"
            ledger.find(Check.STOPS, "agreement.ended", sentence, one.entry)


def _check_parties(history: History, ledger: Ledger) -> None:
    """In its own feed, what a party knew when it spoke or voted is beyond doubt."""
    runs = {one.entry.record.id: one for one in history.decided}
    suspended: dict[bytes, Entry] = {}
    held: dict[bytes, dict[bytes, Entry]] = {}
    for entry in history.found.entries:
        author, body = entry.record.author, entry.record.body
        mine = held.setdefault(author, {})
        match entry.record.kind:
            case "suspension":
                suspended[author] = entry
            case "resumption":
                suspended.pop(author, None)
            case "statement" if entry.record.id in history.statements:
                _check_memory(entry, mine, suspended.get(author), history, ledger)
            case "vote" if body is not None and body.get("choice") == "yes":
                one = runs.get(kinds.read(Vote, entry.record).subject)
                if one is not None:
                    _check_vote(entry, one, suspended.get(author), mine, ledger)
            case _:
                continue


def _check_memory(
    entry: Entry,
    held: dict[bytes, Entry],
    suspension: Entry | None,
    history: History,
    ledger: Ledger,
) -> None:
    """A statement shows every stop of its author's earlier ones, and the author's suspension."""
    statement, who = history.statements[entry.record.id][1], ledger.name(entry.record.author)
    shown = set(statement.stops)
    # Who holds more than it can state says that the agreement is suspended, and nothing runs.
    for stop in sorted(held.keys() - shown) if not statement.suspended else ():
        sentence = f"record {entry.number}: {who} hides the stop of its record {held[stop].number}"
        ledger.find(Check.STOPS, "run.hidden-stop", sentence, entry)
    if suspension is not None and not statement.suspended:
        sentence = f"record {entry.number}: {who} hides its suspension, record {suspension.number}"
        ledger.find(Check.STOPS, "agreement.ended", sentence, entry)
    held.update(dict.fromkeys(shown - held.keys(), entry))


def _check_vote(
    vote: Entry,
    one: Decided,
    suspension: Entry | None,
    held: dict[bytes, Entry],
    ledger: Ledger,
) -> None:
    who = ledger.name(vote.record.author)
    if suspension is not None:
        sentence = (
            f"record {vote.number}: {who} voted for {one.name} while its suspension, record "
            f"{suspension.number}, was in force"
        )
        ledger.find(Check.STOPS, "agreement.ended", sentence, vote)
    for stop, entry in sorted(held.items()):
        if stop not in one.run.stops:
            sentence = (
                f"record {vote.number}: {who} voted for {one.name} although it ignores the stop of "
                f"{who}'s own record {entry.number}"
            )
            ledger.find(Check.STOPS, "run.hidden-stop", sentence, vote)
