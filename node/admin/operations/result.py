"""result.list, show, export: what was released to this participant, opened with its own key."""

import json
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.inbox import open_delivery
from node.node import Node
from node.store import ResultRow
from protocol import limits, shape
from protocol.attestation.policy import CONFIDENTIAL
from protocol.kinds.run import Delivery, Run
from protocol.machines.agreement import Collaboration
from protocol.record import Record

METHODS = Methods("result")

Which = Annotated[str | None, "Run number, or short id of the run; default: the newest."]
Name = Annotated[str | None, "Name of the output; default: the only one of that run."]


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every result that this participant received."""
    found = []
    for row in node.journal.results():
        place = _run(node, row.run)
        found.append(
            {
                "run": row.run.hex(),
                "number": place[2].number if place is not None else None,
                "agreement": place[0].document.name if place is not None else None,
                "name": row.name,
                "at": row.at,
            }
        )
    return found


@METHODS.add("show", "operate")
async def show(node: Node, *, run: Which = None, name: Name = None) -> dict[str, Any]:
    """A result in the clear, held against the digest in its run record."""
    return _open(node, _row(node, run, name))


@METHODS.add("export", "operate")
async def export(node: Node, *, run: Which = None, name: Name = None) -> dict[str, Any]:
    """A result for a file: its name, and the exact JSON text that the run record commits to."""
    row = _row(node, run, name)
    opened = _open(node, row)
    return {"file": f"run-{opened['number']}-{row.name}.json", "text": opened["text"]}


def _open(node: Node, row: ResultRow) -> dict[str, Any]:
    sealed = node.journal.result(row.run, row.name)
    place = _run(node, row.run)
    if sealed is None or place is None:
        raise Failure(
            "id.unknown", "The run of this result is not known here.", "It comes by sync."
        )
    delivery = shape.decode(Delivery, sealed, 2 * limits.OUTPUT)
    output = open_delivery(delivery, node.keyring.sealing, place[1], place[2])
    text = output.json.decode()
    return {
        "agreement": place[0].document.name,
        "run": row.run.hex(),
        "number": place[2].number,
        "name": row.name,
        "technology": place[2].technology,
        "confidential": place[2].technology in CONFIDENTIAL,
        "contributors": place[2].contributors,
        "result": json.loads(text),
        "text": text,
    }


def _row(node: Node, run: str | None, name: str | None) -> ResultRow:
    rows = node.journal.results()
    if run is None and rows:
        rows = [row for row in rows if row.run == rows[-1].run]
    elif run is not None and run.isdecimal() and len(run) < lookup.SHORT:
        rows = [row for row in rows if _number(node, row.run) == int(run)]
    elif run is not None:
        wanted = lookup.one_of({row.run for row in rows}, run, "result")
        rows = [row for row in rows if row.run == wanted]
    rows = [row for row in rows if name in (None, row.name)]
    if not rows:
        raise Failure("id.unknown", "There is no such result here.", "See village result list.")
    if len(rows) > 1:
        names = ", ".join(sorted({row.name for row in rows}))
        raise Failure("id.ambiguous", f"There are several results: {names}.", "Name one.")
    return rows[0]


def _number(node: Node, run: bytes) -> int | None:
    place = _run(node, run)
    return place[2].number if place is not None else None


def _run(node: Node, id_: bytes) -> tuple[Collaboration, Record, Run] | None:
    """Agreement, record and document of a committed run."""
    for collaboration in node.world.collaborations():
        for record, run in collaboration.runs.committed().values():
            if record.id == id_:
                return collaboration, record, run
    return None
