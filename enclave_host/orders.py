"""Run orders, as the enclave reads them: by a party that may give one, within what is agreed."""

from collections.abc import Mapping, Sequence

import jsonschema_rs

from enclave_host.parties import Parties
from enclave_host.statements import Heard
from protocol import kinds
from protocol.errors import Refused
from protocol.kinds.run import Order, Run
from protocol.machines.queue import AGAIN, deadline_of
from protocol.parameters import check_order, read_payload, trigger_of
from protocol.record import Record


def read_order(parties: Parties, raw: bytes, blobs: Mapping[bytes, bytes]) -> tuple[Record, Order]:
    """A run order by a party that may give one, within the agreed entry and trigger; an event's
    payload is valid under the agreed schema, one of `blobs`. Raises Refused (run.order,
    run.trigger, record.*).
    """
    found = parties.of_party(raw, "order")
    order = kinds.read(Order, found)
    check_order(parties.document, found.author, order)
    trigger = trigger_of(parties.document, order.trigger)
    if trigger is not None and trigger.schema is not None:
        _check_payload(blobs.get(trigger.schema), order.payload or "")
    return found, order


def require_time(
    parties: Parties, record: Record, order: Order, heard: Heard, runs: Sequence[Run]
) -> None:
    """Refuse an order that expired before its number started (run.expired), one whose time has not
    come, and a due time that had its run (run.trigger). `runs` are those before.
    """
    deadline = deadline_of(parties.document, record.at, order)
    if deadline is not None and heard.now > deadline and not heard.attempts:
        raise Refused("run.expired", f"since {heard.now - deadline} s")
    if order.due is None:
        return
    if heard.earliest < order.due:
        raise Refused("run.trigger", f"due in {order.due - heard.earliest} s")
    before = [run for run in runs if (run.trigger, run.due) == (order.trigger, order.due)]
    if any(order.again is None or run.outcome not in AGAIN for run in before):
        raise Refused("run.trigger", f"run {before[0].number} was for this due time")


def _check_payload(schema: bytes | None, payload: str) -> None:
    if schema is None:
        raise Refused("run.trigger", "the schema of the event was not provided")
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema.decode(),
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(),  # linear time, whatever the text
        )
        valid = validator.is_valid(read_payload(payload))
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Refused("run.trigger", "the schema of the event is none") from error
    if not valid:
        raise Refused("run.trigger", "the payload is not what the schema of the event describes")
