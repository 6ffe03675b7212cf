"""Parameters of a run order: JSON text, checked against the types that all parties agreed on."""

import json
from typing import Any, assert_never

from protocol import limits
from protocol.errors import Refused
from protocol.kinds.agreement import AgreedEntry, Agreement
from protocol.kinds.algorithm import Parameter
from protocol.kinds.run import Order


def check_order(document: Agreement, order: Order) -> None:
    """Refuse (run.order) an order outside the entry points and parameters that all agreed on.

    The gate of every node asks this, so that an order that no enclave would run never stands in
    the way of the next; the enclave asks it again.
    """
    entries = {entry.name: entry for entry in document.algorithm.entries}
    if order.entry not in entries:
        raise Refused("run.order", f"no agreed entry point {order.entry!r}")
    check_parameters(entries[order.entry], order.parameters)


def check_parameters(entry: AgreedEntry, text: str) -> None:
    """Refuse (run.order) parameters that the entry does not allow, lacks, or does not know."""
    values = _parse(text)
    declared = {parameter.name: parameter for parameter in entry.parameters}
    if values.keys() != declared.keys():
        raise Refused("run.order", f"the parameters must be {', '.join(declared) or 'none'}")
    for name, value in values.items():
        if not _allowed(declared[name], value):
            raise Refused("run.order", f"parameter {name} has a value that is not agreed")


def _parse(text: str) -> dict[str, Any]:
    if len(text.encode()) > limits.PARAMETERS:
        raise Refused("run.order", "the parameters are too long")
    try:
        values = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Refused("run.order", "the parameters are not JSON") from error
    if not isinstance(values, dict):
        raise Refused("run.order", "the parameters are not a JSON object")
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A name twice could mean one thing to us and another to the algorithm."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _allowed(parameter: Parameter, value: Any) -> bool:  # noqa: ANN401 (parsed JSON)
    match parameter.type:
        case "any_of":
            texts = isinstance(value, list) and all(isinstance(one, str) for one in value)
            return texts and 0 < len(set(value)) == len(value) <= len(
                set(value) & set(parameter.choices)
            )
        case "one_of":
            return isinstance(value, str) and value in parameter.choices
        case "integer":
            return type(value) is int and parameter.low <= value <= parameter.high
        case unknown:
            assert_never(unknown)
