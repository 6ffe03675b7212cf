"""Parameters of a run order: JSON text, checked against the types that all parties agreed on."""

import json
from typing import Any, assert_never

from enclave_host.parties import Parties
from protocol import kinds, limits
from protocol.errors import Refused
from protocol.kinds.agreement import AgreedEntry
from protocol.kinds.algorithm import Parameter
from protocol.kinds.run import Order
from protocol.record import Record


def read_order(parties: Parties, raw: bytes) -> tuple[Record, Order]:
    """A run order by a party that may give one, within the agreed entry. Raises Refused (run.order,
    record.*).
    """
    found = parties.of_party(raw, "order")
    if found.author not in parties.document.runs.by:
        raise Refused("run.order", f"{parties.name(found.author)} may not order runs")
    order = kinds.read(Order, found)
    entries = {entry.name: entry for entry in parties.document.algorithm.entries}
    if order.entry not in entries:
        raise Refused("run.order", f"no agreed entry point {order.entry!r}")
    check_parameters(entries[order.entry], order.parameters)
    return found, order


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
