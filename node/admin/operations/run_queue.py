"""run.queue, retry, cancel, event, schedule: what waits, what will, and what never ran and why."""

import json
import os
import pwd
import time
from collections.abc import Iterator
from typing import Annotated, Any

from node import orders
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.admin.operations.order_words import describe_order, letter
from node.admin.peercred import PEER
from node.node import Node
from protocol import schedule as timetable
from protocol.errors import Refused
from protocol.kinds.agreement import Trigger
from protocol.kinds.run import Cancel, Order
from protocol.machines.agreement import Collaboration
from protocol.machines.queue import AGAIN

METHODS = Methods("run")

NEXT = 5
"""Due times of each time table that are shown."""


@METHODS.add("queue", "read")
async def queue(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002 (the API's word)
    """What runs, what waits in which order, and the orders that ended without a result: why."""
    found = lookup.collaboration_of(node, id)
    now = int(time.time())
    runs = found.runs
    begun = runs.begun(runs.next_number)
    waiting = [record.id for record in runs.pending_orders(now) if record.id != begun]
    early = [id_ for id_ in runs.orders if runs.queue.standing(id_, now) == "early"]
    letters = (letter(node, found, id_, now) for id_ in runs.orders)
    return {
        "agreement": found.id.hex(),
        "running": describe_order(node, found, begun, now) if begun is not None else None,
        "waiting": [describe_order(node, found, id_, now) for id_ in (*waiting, *early)],
        "again": runs.lacking(),
        "dead_letters": [one for one in letters if one is not None],
        "runs_left": found.document.runs.at_most - len(runs.committed()),
    }


@METHODS.add("retry", "operate")
async def retry(
    node: Node,
    *,
    order: Annotated[str, "Short id of an order that ended without a result."],
    within: Annotated[int | None, "Seconds within which it must start."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Give an own order once more. What a rule held back is ordered like a new one."""
    found = lookup.collaboration_of(node, id)
    record_id = lookup.one_of(found.runs.orders, order, "order")
    now = int(time.time())
    if letter(node, found, record_id, now) is None:
        raise Failure("admin.parameters", "This order is not dead.", "See village run queue.")
    given = found.runs.orders[record_id][1]
    again = Order(
        entry=given.entry,
        parameters=given.parameters,
        deadline=None if within is None else now + within,
        again=record_id,
        **_cause(found, record_id, given),
    )
    made = await orders.give(node, found, again)
    return {"order": made.id.hex(), "again": record_id.hex(), "agreement": found.id.hex()}


@METHODS.add("cancel", "operate")
async def cancel(
    node: Node,
    *,
    order: Annotated[str, "Short id of an own order that waits."],
    reason: Annotated[str, "Why, for the other parties."] = "not needed any more",
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Take an own order back, if it did not start yet."""
    found = lookup.collaboration_of(node, id)
    wanted = lookup.one_of(found.runs.orders, order, "order")
    record, _ = found.runs.orders[wanted]
    if record.author != node.keyring.did:
        name = node.world.name(record.author)
        raise Refused("run.order", f"only {name}, which gave it, takes it back", set_by=name)
    standing = found.runs.queue.standing(wanted, int(time.time()))
    if standing not in ("waiting", "early", "refused"):
        raise Refused("run.order", f"the order is {standing}")
    if found.runs.begun(found.runs.next_number) == wanted:
        raise Refused("run.order", "its run started, and ends by itself")
    await node.pipeline.publish(found.id, "cancel", Cancel(order=wanted, reason=reason))
    return {"order": wanted.hex(), "agreement": found.id.hex()}


@METHODS.add("event", "operate")
async def event(
    node: Node,
    *,
    name: Annotated[str, "The event, as the agreement names it."],
    payload: Annotated[dict[str, Any], "What happened: an object by the agreed schema."],
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Tell of an event that gives cause for a run; who told it stands in the order, for all."""
    found, trigger = _event(node, name, id)
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    order = await orders.for_event(node, found, trigger, text, _caller())
    made = await orders.give(node, found, order)
    return {
        "order": made.id.hex(),
        "trigger": trigger.name,
        "entry": order.entry,
        "parameters": order.parameters,
        "caller": order.caller,
        "agreement": found.id.hex(),
    }


@METHODS.add("schedule", "read")
async def schedule(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """What comes next by the agreed time tables, in UTC, and which events may give cause."""
    found = lookup.collaboration_of(node, id)
    now = int(time.time())
    return [_row(node, found, trigger, now) for trigger in found.document.runs.triggers]


def _cause(found: Collaboration, record_id: bytes, given: Order) -> dict[str, Any]:
    """The trigger of a repeated order; a due time that had its answer is over."""
    number = found.runs.queue.answered.get(record_id)
    outcome = found.runs.committed()[number][1].outcome if number is not None else None
    if given.due is not None and outcome is not None and outcome not in AGAIN:
        return {}
    return {
        "trigger": given.trigger,
        "due": given.due,
        "payload": given.payload,
        "caller": given.caller,
    }


def _event(node: Node, name: str, id_: str | None) -> tuple[Collaboration, Trigger]:
    """The agreement and trigger of an event. Raises Failure (id.unknown, id.ambiguous)."""
    pairs = list(_events(node, name, id_))
    if not pairs:
        raise Failure("id.unknown", f"No event {name[:64]!r} here.", "See village run schedule.")
    if len(pairs) > 1:
        names = ", ".join(one.document.name for one, _ in pairs)
        raise Failure("id.ambiguous", f"Several agreements: {names}.", "Name one: --agreement.")
    return pairs[0]


def _events(node: Node, name: str, id_: str | None) -> Iterator[tuple[Collaboration, Trigger]]:
    known = node.world.collaborations() if id_ is None else [lookup.collaboration_of(node, id_)]
    for found in known:
        for trigger in found.document.runs.triggers:
            if trigger.event == name and node.keyring.did in trigger.by:
                yield found, trigger


def _caller() -> str:
    """Who is on the other end of the admin socket, in words."""
    uid = PEER.get()
    if uid is None:
        return "unknown"
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "no name"
    return f"{name[:64]} (uid {uid}) at {os.uname().nodename[:32]}"


def _row(node: Node, found: Collaboration, trigger: Trigger, now: int) -> dict[str, Any]:
    return {
        "trigger": trigger.name,
        "cron": trigger.cron,
        "event": trigger.event,
        "entry": trigger.entry,
        "parameters": trigger.parameters,
        "by": [node.world.name(did) for did in trigger.by],
        "missed": trigger.missed if trigger.cron is not None else None,
        "next": _next(found, trigger, now),
    }


def _next(found: Collaboration, trigger: Trigger, now: int) -> list[str]:
    """The next due times while the agreement is in force."""
    if trigger.cron is None:
        return []
    end = found.document.start + found.document.purpose.duration
    times = timetable.after(trigger.cron, max(now, found.document.start), NEXT)
    return [time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in times if at < end]
