"""The gate and people's leaves as run records tell them, against the agreement (checks 16, 19)."""

from collections.abc import Iterable

from protocol import merkle
from protocol.audit.findings import Check, Ledger
from protocol.audit.runs import Decided, History
from protocol.errors import ProtocolError
from protocol.kinds.agreement import Output
from protocol.kinds.run import OutputDigest


def check_gate(history: History, ledger: Ledger) -> None:
    """The outcome fits the gate's own report; outputs are agreed ones, to agreed recipients."""
    for one in history.decided:
        ledger.look(Check.GATE, 1 + len(one.run.outputs))
        _check_outcome(one, history, ledger)
        for output in one.run.outputs:
            _check_output(one, output, history, ledger)


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


def _may_get(agreed: Output, to: bytes, agreement: bytes) -> bool:
    """`to` a party named, or, standing for all people, the agreement."""
    return to in agreed.to or (agreed.subject and to == agreement)
