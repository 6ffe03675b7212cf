"""run.start, list, show, wait: order a run, and read what became of it."""

import json
import time
from typing import Annotated, Any

from node import orders
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations import result
from node.admin.operations.agreement import Which
from node.admin.operations.order_words import describe_order
from node.admin.operations.run_words import describe
from node.node import Node
from protocol.errors import Refused
from protocol.kinds.run import LOG, Order, Run
from protocol.machines.agreement import Collaboration
from protocol.record import Record

METHODS = Methods("run")

WAIT = 3600
"""Seconds that one call may wait at most."""


@METHODS.add("start", "operate")
async def start(
    node: Node,
    *,
    entry: Annotated[str | None, "Entry point; default: the only one."] = None,
    parameters: Annotated[dict[str, Any] | None, "Parameters of the entry point."] = None,
    within: Annotated[int | None, "Seconds within which it must start, else it expires."] = None,
    id: Which = None,  # noqa: A002 (the API's word)
) -> dict[str, Any]:
    """Order a run; only parties named in runs.by may. The number is given when it starts."""
    found = lookup.collaboration_of(node, id)
    chosen = entry if entry is not None else _only_entry(found)
    text = json.dumps(parameters or {}, sort_keys=True, separators=(",", ":"))
    deadline = None if within is None else int(time.time()) + within
    order = Order(entry=chosen, parameters=text, deadline=deadline)
    made = await orders.give(node, found, order)
    return {"order": made.id.hex(), "entry": chosen, "agreement": found.id.hex()}


@METHODS.add("list", "read")
async def list_(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """All runs of an agreement that ended, and the orders that wait or never ran."""
    found = lookup.collaboration_of(node, id)
    ended = [
        {
            "number": number,
            "run": record.id.hex(),
            "order": run.order.hex(),
            "entry": run.entry,
            "outcome": run.outcome,
            "code": run.refusal_code,
            "contributors": run.contributors,
            "term": run.term,
            "at": run.at,
        }
        for number, (record, run) in found.runs.committed().items()
    ]
    now = int(time.time())
    queue = found.runs.queue
    line = [record.id for record in queue.line(now)]
    others = [id_ for id_ in queue.orders if id_ not in line and id_ not in queue.answered]
    doubles = (id_ for id_ in others if queue.standing(id_, now) != "double")
    return ended + [_pending(node, found, id_, now) for id_ in (*doubles, *line)]


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    run: Annotated[str | None, "Number, or short id of run or order; default: the newest."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """A run in words: outcome, what it rests on, each check of the gate and who set its rule; or an
    order that has no run yet.
    """
    found = lookup.collaboration_of(node, id)
    order = _order(found, run)
    if order is not None:
        return describe_order(node, found, order, int(time.time()))
    record, document = _run(found, run)
    return describe(node, found, record, document)


@METHODS.add("log", "operate")
async def log(node: Node, *, run: result.Which = None) -> dict[str, Any]:
    """What this participant got of the algorithm's log: where it failed, or what it printed."""
    found: dict[str, Any] = await result.show(node, run=run, name=LOG)
    return found


@METHODS.add("wait", "read")
async def wait(
    node: Node,
    *,
    order: Annotated[str, "Short id of the order."],
    seconds: Annotated[int, "How long to wait; at most an hour."] = 60,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Wait until an order has its run record. Fails with admin.waits if it takes longer."""
    found = lookup.collaboration_of(node, id)
    wanted = lookup.one_of(found.runs.orders, order, "order")
    deadline = node.pipeline.now() + min(max(seconds, 0), WAIT)
    while True:
        seen = node.happenings.count
        for record, run in found.runs.committed().values():
            if run.order == wanted:
                return describe(node, found, record, run)
        _check_alive(found, wanted)
        left = deadline - node.pipeline.now()
        if left <= 0:
            detail = f"Order {order} has no run record yet."
            raise Failure("admin.waits", detail, "village status says where it is stuck.")
        await node.happenings.news(seen, left)


def _only_entry(found: Collaboration) -> str:
    entries = [entry.name for entry in found.document.algorithm.entries]
    if len(entries) != 1:
        raise Failure("admin.parameters", f"Entry points: {', '.join(entries)}.", "Name one.")
    return entries[0]


def _check_alive(found: Collaboration, order: bytes) -> None:
    """Refuse (run.expired, run.order) to wait for what will not run."""
    now = int(time.time())
    if order == found.runs.begun(found.runs.next_number):
        return
    match found.runs.queue.standing(order, now):
        case "expired":
            raise Refused("run.expired")
        case "cancelled" | "double" as standing:
            raise Refused("run.order", f"the order is {standing}")
        case _:
            return


def _pending(node: Node, found: Collaboration, id_: bytes, now: int) -> dict[str, Any]:
    order = describe_order(node, found, id_, now)
    return {
        "number": order["number"],
        "run": None,
        "order": order["order"],
        "entry": order["entry"],
        "outcome": order["outcome"],
        "code": "run.expired" if order["outcome"] == "expired" else None,
        "contributors": None,
        "term": None,
        "at": order["at"],
    }


def _order(found: Collaboration, text: str | None) -> bytes | None:
    """An order without run that a short id names."""
    if text is None or len(text) < lookup.SHORT:
        return None
    waiting = [id_ for id_ in found.runs.orders if id_ not in found.runs.queue.answered]
    named = [id_ for id_ in waiting if id_.hex().startswith(text)]
    return named[0] if len(named) == 1 else None


def _run(found: Collaboration, text: str | None) -> tuple[Record, Run]:
    committed = found.runs.committed()
    if text is None and committed:
        return committed[max(committed)]
    if text is not None and text.isdecimal() and int(text) in committed:
        return committed[int(text)]
    aliases = {record.id: number for number, (record, _) in committed.items()}
    aliases.update({run.order: number for number, (_, run) in committed.items()})
    if text is None:
        raise Failure("id.unknown", "No run has ended yet.", "See village run list.")
    return committed[aliases[lookup.one_of(aliases, text, "run")]]
