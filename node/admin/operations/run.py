"""run.start, list, show, wait: order a run, and read what became of it."""

import json
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.admin.operations.run_words import describe
from node.node import Node
from protocol.kinds.run import Order, Run
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
    id: Which = None,  # noqa: A002 (the API's word)
) -> dict[str, Any]:
    """Order a run; only parties named in runs.by may. The number is given when it starts."""
    found = lookup.collaboration_of(node, id)
    chosen = entry if entry is not None else _only_entry(found)
    text = json.dumps(parameters or {}, sort_keys=True, separators=(",", ":"))
    order = Order(entry=chosen, parameters=text)
    made = await node.pipeline.publish(found.id, "order", order)
    return {"order": made.id.hex(), "entry": chosen, "agreement": found.id.hex()}


@METHODS.add("list", "read")
async def list_(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """All runs of an agreement that ended, and the orders that wait."""
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
    return ended + [_pending(found, record) for record in found.runs.pending_orders()]


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    run: Annotated[str | None, "Number, or short id of run or order; default: the newest."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """A run in words: outcome, what it rests on, each check of the gate and who set its rule."""
    found = lookup.collaboration_of(node, id)
    record, document = _run(found, run)
    return describe(node, found, record, document)


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


def _pending(found: Collaboration, record: Record) -> dict[str, Any]:
    order = found.runs.orders[record.id][1]
    return {
        "number": None,
        "run": None,
        "order": record.id.hex(),
        "entry": order.entry,
        "outcome": "ordered",
        "code": None,
        "contributors": None,
        "term": None,
        "at": record.at,
    }


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
