"""A run record in words."""

from typing import Any

from node.admin.words import called
from node.node import Node
from protocol.attestation.policy import CONFIDENTIAL
from protocol.errors import RULES
from protocol.kinds.run import GateCheck, Run
from protocol.machines.agreement import Collaboration
from protocol.record import Record


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
        "set_by": _blame(node, found, run),
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
        "gate": [_check(node, found, check) for check in run.gate],
        "outputs": [
            {
                "name": output.name,
                "to": "each person" if output.to == found.id else called(node, output.to, document),
                "size": output.size,
                "digest": output.digest.hex(),
            }
            for output in run.outputs
        ],
        "votes": [called(node, v.author, document) for v in ballot.yes(record.id)]
        if ballot
        else [],
        "needed": found.runs.rule.needed,
        "adopts": run.adopts.hex() if run.adopts is not None else None,
        "at": run.at,
    }


def _check(node: Node, found: Collaboration, check: GateCheck) -> dict[str, Any]:
    by = called(node, check.set_by, found.document) if check.set_by is not None else None
    return {
        "rule": check.rule,
        "set_by": by,
        "limit": check.limit,
        "measured": check.measured,
        "passed": check.passed,
    }


def _blame(node: Node, found: Collaboration, run: Run) -> str | None:
    """Who set the first rule of the gate that did not pass."""
    for check in run.gate:
        if not check.passed and check.set_by is not None:
            return called(node, check.set_by, found.document)
    return None


def _orderer(node: Node, found: Collaboration, run: Run) -> str | None:
    order = found.runs.orders.get(run.order)
    return called(node, order[0].author, found.document) if order is not None else None
