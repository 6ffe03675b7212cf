"""An order in words: where it stands; if it is dead, why, by whose rule, and what would help."""

from typing import Any

from node.admin.operations.run_words import blame
from node.admin.words import called
from node.node import Node
from protocol.errors import RULES
from protocol.kinds.run import Run
from protocol.machines.agreement import Collaboration
from protocol.machines.queue import deadline_of
from protocol.parameters import trigger_of


def describe_order(node: Node, found: Collaboration, id_: bytes, now: int) -> dict[str, Any]:
    """Everything about an order that has no run record yet."""
    record, order = found.runs.orders[id_]
    number = found.runs.next_number
    running = found.runs.begun(number) == id_
    standing = found.runs.queue.standing(id_, now)
    return {
        "order": id_.hex(),
        "agreement": found.id.hex(),
        "name": found.document.name,
        "outcome": "running" if running else _OUTCOMES.get(standing, standing),
        "entry": order.entry,
        "parameters": order.parameters,
        "ordered_by": called(node, record.author, found.document),
        "caller": order.caller,
        "trigger": order.trigger,
        "due": order.due,
        "deadline": found.runs.queue.deadline(id_),
        "again": order.again.hex() if order.again is not None else None,
        "number": number if running else None,
        "attempts": found.runs.attempts(number) if running else 0,
        "attempts_at_most": found.document.runs.attempts,
        "at": record.at,
    }


def letter(node: Node, found: Collaboration, id_: bytes, now: int) -> dict[str, Any] | None:
    """An order that ended without a result and will not run by itself: why; None for others."""
    number = found.runs.queue.answered.get(id_)
    if number is not None:
        run = found.runs.committed()[number][1]
        code = run.refusal_code if run.outcome != "released" else run.withheld
        kept = any((number, one.name) in found.runs.kept for one in run.outputs)
        if code is None or (run.outcome == "released" and kept):
            return None
        return _letter(node, found, id_, run.outcome, code, run.refusal_detail, number)
    if found.runs.queue.standing(id_, now) != "expired":
        return None
    return _letter(node, found, id_, "expired", "run.expired", None, None)


def _letter(
    node: Node,
    found: Collaboration,
    id_: bytes,
    outcome: str,
    code: str,
    detail: str | None,
    number: int | None,
) -> dict[str, Any]:
    record, order = found.runs.orders[id_]
    rule = RULES.get(code)
    run = found.runs.committed()[number][1] if number is not None else None
    return {
        "order": id_.hex(),
        "entry": order.entry,
        "ordered_by": called(node, record.author, found.document),
        "outcome": outcome,
        "number": number,
        "code": code,
        "detail": detail or (rule.sentence if rule is not None else code),
        "set_by": _set_by(node, found, id_, run),
        "fix": rule.fix if rule is not None else "",
        "at": record.at,
    }


def _set_by(node: Node, found: Collaboration, id_: bytes, run: Run | None) -> str:
    """Whose rule it was: a party's, the order's own, the agreement's, or the protocol's."""
    if run is not None:
        agreed = "the agreement" if run.outcome == "void" else "the protocol"
        return blame(node, found, run) or agreed
    record, order = found.runs.orders[id_]
    own = order.deadline
    if own is not None and own == deadline_of(found.document, record.at, order):
        return called(node, record.author, found.document)
    trigger = trigger_of(found.document, order.trigger)
    return "the agreement" if trigger is None else f"the agreement, trigger {trigger.name}"


_OUTCOMES = {"waiting": "ordered", "refused": "ordered", "early": "early"}
"""Standing -> what lists of runs call it."""
