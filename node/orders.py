"""Orders that this node gives: on demand, by the clock, or for an event that it was told of."""

import time

import jsonschema_rs

from node.node import Node
from protocol import limits
from protocol.errors import Refused
from protocol.kinds.agreement import Trigger
from protocol.kinds.run import Order
from protocol.machines.agreement import Collaboration
from protocol.parameters import check_order, parameters_of, read_payload
from protocol.record import Record


async def give(node: Node, found: Collaboration, order: Order) -> Record:
    """Publish an order of this participant. Raises Refused (run.order, run.trigger, run.queue)."""
    me = node.keyring.did
    check_order(found.document, me, order)
    waiting = found.runs.queue.waiting_of(me, int(time.time()))
    if waiting >= limits.ORDERS:
        raise Refused("run.queue", f"{waiting} orders of this participant wait")
    return await node.pipeline.publish(found.id, "order", order)


async def for_event(
    node: Node, found: Collaboration, trigger: Trigger, payload: str, caller: str
) -> Order:
    """The order for an event: its payload is held against the agreed schema first.

    Raises Refused (run.trigger, run.order, topic.unknown).
    """
    if trigger.schema is None:
        raise Refused("run.trigger", f"{trigger.name} is no event")
    peers = node.spread.audience_peers(node.world.room(found.id))
    check_payload(await node.spread.fetch_blob(trigger.schema, peers), payload)
    return Order(
        entry=trigger.entry,
        parameters=parameters_of(found.document, trigger, payload),
        trigger=trigger.name,
        payload=payload,
        caller=caller,
    )


def check_payload(schema: bytes, payload: str) -> None:
    """Refuse (run.trigger) a payload that the schema does not describe; say where it differs."""
    if len(payload.encode()) > limits.TEXT:
        raise Refused("run.trigger", f"the payload has more than {limits.TEXT} bytes")
    value = read_payload(payload)
    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema.decode(), offline=True, pattern_options=jsonschema_rs.RegexOptions()
        )
        fault = next(iter(validator.iter_errors(value)), None)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Refused("run.trigger", "the schema of the event is none") from error
    if fault is not None:
        where = "/".join(map(str, fault.instance_path)) or "the payload"
        raise Refused("run.trigger", f"{where}: {fault.message:.200}")
