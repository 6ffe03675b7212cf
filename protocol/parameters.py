"""Whether a run order is one that all parties agreed on: who, why, when, and its parameters, JSON
text that is checked against agreed types.
"""

import json
from typing import Any, assert_never

from protocol import limits, schedule
from protocol.errors import Refused
from protocol.kinds.agreement import AgreedEntry, Agreement, Trigger
from protocol.kinds.algorithm import Parameter
from protocol.kinds.run import Order
from protocol.strict_json import no_repeats


def check_order(document: Agreement, author: bytes, order: Order) -> None:
    """Refuse (run.order, run.trigger) an order by `author` outside what all agreed on: who, entry,
    parameters, and the trigger that it names.

    The gate of every node asks this, so that an order that no enclave would run never stands in
    the way of the next; the enclave asks it again. Whether a time has come and whether a payload
    is valid under its schema, the enclave alone asks (enclave_host/orders.py).
    """
    trigger = _trigger(document, order)
    if author not in (document.runs.by if trigger is None else trigger.by):
        name = next((one.name for one in document.parties if one.did == author), "a stranger")
        where = "runs.by" if trigger is None else f"trigger {trigger.name}"
        raise Refused("run.order", f"{name} is not named in {where}")
    if trigger is None:
        if order.due is not None or order.payload is not None:
            raise Refused("run.trigger", "a due time or payload without a trigger")
    else:
        _check_trigger(document, trigger, order)
    entries = {entry.name: entry for entry in document.algorithm.entries}
    if order.entry not in entries:
        raise Refused("run.order", f"no agreed entry point {order.entry!r}")
    check_parameters(entries[order.entry], order.parameters)


def trigger_of(document: Agreement, name: str | None) -> Trigger | None:
    """The agreed trigger with this name."""
    return next((one for one in document.runs.triggers if one.name == name), None)


def parameters_of(document: Agreement, trigger: Trigger, payload: str | None) -> str:
    """The parameters that a trigger gives cause for, as JSON text: those that stand in it, and of
    an event the entry's others, from the property of `payload` with the same name. Raises Refused
    (run.order).
    """
    values = _parse(trigger.parameters)
    if trigger.event is not None:
        told = _parse(payload or "")
        entries = {entry.name: entry for entry in document.algorithm.entries}
        declared = entries[trigger.entry].parameters if trigger.entry in entries else ()
        open_ = {one.name for one in declared} - values.keys()
        values |= {name: told[name] for name in open_ & told.keys()}
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def read_payload(text: str) -> dict[str, Any]:
    """The JSON object of an event. Raises Refused (run.order)."""
    return _parse(text)


def _trigger(document: Agreement, order: Order) -> Trigger | None:
    found = trigger_of(document, order.trigger)
    if order.trigger is not None and found is None:
        raise Refused("run.trigger", f"no agreed trigger {order.trigger!r}")
    return found


def _check_trigger(document: Agreement, trigger: Trigger, order: Order) -> None:
    """Refuse (run.trigger) an order that is not what its trigger gives cause for."""
    if trigger.cron is not None:
        timed = order.due is not None and schedule.fits(trigger.cron, order.due)
        if not timed or order.payload is not None:
            raise Refused("run.trigger", f"not a time of {trigger.name}: {trigger.cron} (UTC)")
    elif order.due is not None or order.payload is None:
        raise Refused("run.trigger", f"{trigger.name} is an event: it has a payload and no time")
    wanted = parameters_of(document, trigger, order.payload)
    if (order.entry, _parse(order.parameters)) != (trigger.entry, _parse(wanted)):
        raise Refused("run.trigger", f"{trigger.name} runs {trigger.entry} {wanted:.200}")


def check_parameters(entry: AgreedEntry, text: str, *, partly: bool = False) -> None:
    """Refuse (run.order) parameters that the entry does not allow, lacks, or does not know.

    `partly`: some may be left open.
    """
    values = _parse(text)
    declared = {parameter.name: parameter for parameter in entry.parameters}
    known = values.keys() <= declared.keys()
    if not known or not (partly or values.keys() == declared.keys()):
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
