"""Parameters of a run order: JSON text, checked against the types that all parties agreed on."""

import json
from typing import Any, assert_never

from protocol import limits
from protocol.errors import Refused
from protocol.kinds.agreement import AgreedEntry, Agreement
from protocol.kinds.algorithm import Parameter
from protocol.kinds.run import Order
from protocol.strict_json import no_repeats


def check_order(document: Agreement, author: bytes, order: Order) -> None:
    """Refuse (run.order) an order by `author` outside what all agreed on: who, entry, parameters.

    The gate of every node asks this, so that an order that no enclave would run never stands in
    the way of the next; the enclave asks it again.
    """
    if author not in document.runs.by:
        name = next((one.name for one in document.parties if one.did == author), "a stranger")
        raise Refused("run.order", f"{name} is not named in runs.by")
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
        values = json.loads(text, object_pairs_hook=no_repeats)
    except (ValueError, RecursionError) as error:
        raise Refused("run.order", "the parameters are not JSON") from error
    if not isinstance(values, dict):
        raise Refused("run.order", "the parameters are not a JSON object")
    return values


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
