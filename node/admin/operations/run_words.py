"""A run record in words."""

from typing import Any

from node.admin.words import called
from node.node import Node
from protocol import budget
from protocol.attestation.policy import CONFIDENTIAL
from protocol.errors import RULES
from protocol.kinds.run import GateCheck, OutputDigest, Run, StateUse
from protocol.machines.agreement import Collaboration
from protocol.record import Record
from protocol.terms import DIRECTIONS


def describe(node: Node, found: Collaboration, record: Record, run: Run) -> dict[str, Any]:
    """Everything that a run record says, participants by name."""
    document = found.document
    started = found.runs.started.get((run.number, run.term))
    rule = RULES.get(run.refusal_code) if run.refusal_code is not None else None
    ballot = found.runs.ballots.get((run.number, run.term))
    elected = found.election.elected(run.term)
    return {
        "number": run.number,
        "run": record.id.hex(),
        "agreement": found.id.hex(),
        "name": document.name,
        "outcome": run.outcome,
        "code": run.refusal_code,
        "detail": run.refusal_detail,
        "rule": rule.sentence if rule is not None else None,
        "fix": rule.fix if rule is not None else None,
        "set_by": blame(node, found, run),
        "entry": run.entry,
        "parameters": run.parameters,
        "ordered_by": _orderer(node, found, run),
        "order": run.order.hex(),
        "term": run.term,
        "host": called(node, elected.appointment.host, document) if elected is not None else None,
        "technology": run.technology,
        "confidential": run.technology in CONFIDENTIAL,
        "contributors": run.contributors,
        "rows": run.rows,
        "shares": len(run.shares),
        "people": started.people if started is not None else None,
        "consents": started.consents if started is not None else None,
        "stops": len(run.stops),
        "statements": len(run.statements),
        "gate": gate(node, found, run),
        "charges": charges(node, found, run),
        "states": [_state(one) for one in run.states],
        "logs": [called(node, one.to, document) for one in run.logs],
        "outputs": [
            {
                "name": output.name,
                "to": _recipient(node, found, output),
                "size": output.size,
                "digest": output.digest.hex(),
            }
            for output in run.outputs
        ],
        "votes": [called(node, v.author, document) for v in ballot.yes(record.id)]
        if ballot
        else [],
        "needed": found.runs.rule.needed,
        "withheld": run.withheld,
        "trigger": run.trigger,
        "due": run.due,
        "attempts": found.runs.attempts(run.number),
        "adopts": run.adopts.hex() if run.adopts is not None else None,
        "at": run.at,
    }


def _recipient(node: Node, found: Collaboration, output: OutputDigest) -> str:
    if output.to != found.id:
        return called(node, output.to, found.document)
    states = {one.name for one in found.document.outputs if one.format == "state"}
    return "later runs" if output.name in states else "each person"


def _state(one: StateUse) -> dict[str, Any]:
    return {
        "name": one.name,
        "of_run": one.number,
        "digest": one.digest.hex(),
        "used": one.used,
    }


def gate(node: Node, found: Collaboration, run: Run) -> list[dict[str, Any]]:
    """The gate's report in the order in which it looked: rule, whose, limit, measured, passed."""
    return [_check(node, found, check) for check in run.gate]


def charges(node: Node, found: Collaboration, run: Run) -> list[dict[str, Any]]:
    """What the run was charged of each noise budget, and what was left after it."""
    rules, committed = found.document.rules, found.runs.committed()
    before = [one for number, (_, one) in committed.items() if number <= run.number]
    spent, whole = budget.spent(before), budget.allowance(rules)
    return [
        {
            "dataset": one.dataset,
            "to": called(node, one.to, found.document),
            "amount": budget.words(rules, one.amount),
            "left": budget.words(rules, max(whole - spent.get((one.dataset, one.to), 0), 0)),
            "in_all": budget.words(rules, whole),
        }
        for one in run.charges
    ]


def _check(node: Node, found: Collaboration, check: GateCheck) -> dict[str, Any]:
    by = called(node, check.set_by, found.document) if check.set_by is not None else None
    return {
        "rule": check.rule,
        "set_by": by,
        "limit": check.limit,
        "measured": check.measured,
        "unit": DIRECTIONS[check.rule].unit if check.rule in DIRECTIONS else 1,
        "passed": check.passed,
    }


def blame(node: Node, found: Collaboration, run: Run) -> str | None:
    """Who set the first rule of the gate that did not pass."""
    for check in run.gate:
        if not check.passed and check.set_by is not None:
            return called(node, check.set_by, found.document)
    return None


def _orderer(node: Node, found: Collaboration, run: Run) -> str | None:
    order = found.runs.orders.get(run.order)
    return called(node, order[0].author, found.document) if order is not None else None
