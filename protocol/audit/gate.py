"""The gate and people's leaves as run records tell them, against the agreement (checks 16, 19)."""

from collections.abc import Iterable

from protocol import budget, merkle
from protocol.audit.findings import Check, Ledger
from protocol.audit.runs import Decided, History
from protocol.errors import ProtocolError
from protocol.kinds.agreement import Output
from protocol.kinds.run import LOG, OutputDigest, Run, StateUse


def check_gate(history: History, ledger: Ledger) -> None:
    """The outcome fits the gate's own report; outputs are agreed ones, to agreed recipients."""
    for one in history.decided:
        ledger.look(Check.GATE, 1 + len(one.run.outputs) + len(one.run.logs) + len(one.run.states))
        _check_outcome(one, history, ledger)
        for output in one.run.outputs:
            _check_output(one, output, history, ledger)
        for log in one.run.logs:
            _check_log(one, log, history, ledger)
        for use in one.run.states:
            _check_state(one, use, history, ledger)
    _check_charges(history, ledger)


def check_leaves(histories: list[History], leaves: Iterable[bytes], ledger: Ledger) -> None:
    """The leaves lead to the roots in the run records, and none is there for nothing."""
    roots = {run.leaves for history in histories for _, run in history.runs}
    known: dict[bytes, int] = {}
    for raw in leaves:
        ledger.look(Check.LEAVES)
        try:
            found = merkle.split(raw)
        except ProtocolError as error:
            ledger.find(Check.LEAVES, error.code, f"leaves are refused: {error}")
            continue
        root = merkle.root(found)
        known[root] = len(found)
        if root not in roots:
            ledger.find(Check.LEAVES, "run.proof", "there are leaves that belong to no run")
    for one in (one for history in histories for one in history.decided):
        _check_count(one, known.get(one.run.leaves), ledger)


def _check_count(one: Decided, count: int | None, ledger: Ledger) -> None:
    if count is None:
        if one.run.leaf_count:
            ledger.limit(f"The leaves of {one.name} are not in the file.")
    elif count != one.run.leaf_count:
        sentence = f"{one.name} counts {one.run.leaf_count} leaves, its root is over {count}"
        ledger.find(Check.LEAVES, "run.proof", sentence, one.entry)


def _check_outcome(one: Decided, history: History, ledger: Ledger) -> None:
    run, rules = one.run, history.machine.document.rules
    released = run.outcome == "released"
    failed = ", ".join(check.rule for check in run.gate if not check.passed)
    if released and failed:
        sentence = f"{one.name} was released although {failed} did not pass"
        ledger.find(Check.GATE, "audit.run", sentence, one.entry)
    if released and run.contributors < rules.min_contributors:
        sentence = f"{one.name} was released with {run.contributors} people"
        ledger.find(Check.GATE, "gate.min-contributors", sentence, one.entry)
    if released == (run.refusal_code is not None) or (run.outputs and not released):
        sentence = f"{one.name} contradicts itself: {run.outcome}, {len(run.outputs)} outputs, "
        ledger.find(
            Check.GATE, "audit.run", f"{sentence}{run.refusal_code or 'no refusal'}", one.entry
        )


def _check_output(one: Decided, output: OutputDigest, history: History, ledger: Ledger) -> None:
    document = history.machine.document
    agreed = next((each for each in document.outputs if each.name == output.name), None)
    if agreed is None or not _may_get(agreed, output.to, history.machine.id):
        who = ledger.name(output.to)
        sentence = f"{one.name} gives {output.name!r} to {who}, which nobody agreed on"
        ledger.find(Check.GATE, "gate.recipient", sentence, one.entry)
    if output.to != history.machine.id and output.size > document.rules.output_bytes:
        sentence = f"{one.name}: {output.name!r} has {output.size} bytes"
        ledger.find(Check.GATE, "gate.quota", sentence, one.entry)


def _check_charges(history: History, ledger: Ledger) -> None:
    """Noise was charged as agreed, and never more than agreed."""
    earlier: list[Run] = []
    for one in sorted(history.decided, key=lambda one: one.run.number):
        if not budget.fits(history.machine.document, one.run, earlier):
            sentence = f"{one.name} is not charged as agreed, or more than was left"
            ledger.find(Check.GATE, "gate.budget", sentence, one.entry)
        if not earlier or earlier[-1].number < one.run.number:
            earlier.append(one.run)


def _may_get(agreed: Output, to: bytes, agreement: bytes) -> bool:
    """`to` a party named, or, standing for all people or for later runs, the agreement."""
    return to in agreed.to or (to == agreement and (agreed.subject or agreed.format == "state"))


def _check_log(one: Decided, log: OutputDigest, history: History, ledger: Ledger) -> None:
    """Logs go to agreed parties alone, of runs that rest on enough people."""
    document = history.machine.document
    logs, who = document.logs, ledger.name(log.to)
    if logs is None or log.name != LOG or log.to not in logs.to:
        sentence = f"{one.name} gives a log to {who}, which nobody agreed on"
        ledger.find(Check.GATE, "gate.recipient", sentence, one.entry)
    elif log.size > logs.bytes:
        ledger.find(Check.GATE, "gate.quota", f"{one.name}: a log has {log.size} bytes", one.entry)
    if one.run.lineage is None or one.run.contributors < document.rules.min_contributors:
        sentence = f"{one.name} gives a log that rests on too few people, or is counted nowhere"
        ledger.find(Check.GATE, "gate.min-contributors", sentence, one.entry)


def _check_state(one: Decided, use: StateUse, history: History, ledger: Ledger) -> None:
    """A state that was read is the one that an earlier run wrote."""
    written = {
        (earlier.run.number, output.name, output.digest)
        for earlier in history.decided
        for output in earlier.run.outputs
        if output.to == history.machine.id and earlier.run.number < one.run.number
    }
    if (use.number, use.name, use.digest) not in written:
        sentence = f"{one.name} names state {use.name!r}, which run {use.number} did not write"
        ledger.find(Check.GATE, "audit.run", sentence, one.entry)
