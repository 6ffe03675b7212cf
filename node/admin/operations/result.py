"""result.list, show, export: what was released to this participant, opened with its own key."""

import base64
import json
from typing import Annotated, Any
from urllib.parse import quote

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.run_words import charges, gate
from node.inbox import open_delivery
from node.node import Node
from node.store import ResultRow
from protocol import limits, shape
from protocol.attestation.policy import CONFIDENTIAL
from protocol.errors import Refused
from protocol.kinds.run import LOG, Delivery, Run, SealedOutput
from protocol.machines.agreement import Collaboration
from protocol.record import Record

METHODS = Methods("result")

Place = tuple[Collaboration, Record, Run]
"""Where a result comes from: its agreement, and record and document of its run."""

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
    """A result for a file: its name, format (json or arrow), the exact bytes that the run record
    commits to, and what another form needs: its JSON-LD context and the IRI of what it is about.
    """
    row = _row(node, run, name)
    place, output = _opened(node, row)
    contexts = {one.name: one.context for one in place[0].document.outputs}
    digest = contexts.get(row.name)
    context = node.blobs.get(digest) if digest is not None else b""
    return {
        "file": f"run-{place[2].number}-{row.name}.{output.format}",
        "format": output.format,
        "raw": base64.b64encode(output.content).decode(),
        "context": base64.b64encode(context).decode(),
        "iri": f"urn:village:run:{row.run.hex()}#{quote(row.name, safe='')}",
    }


def _opened(node: Node, row: ResultRow) -> tuple[Place, SealedOutput]:
    sealed = node.journal.result(row.run, row.name)
    place = _run(node, row.run)
    if sealed is None or place is None:
        raise Failure(
            "id.unknown", "The run of this result is not known here.", "It comes by sync."
        )
    delivery = shape.decode(Delivery, sealed, 2 * limits.OUTPUT)
    output = open_delivery(delivery, node.keyring.sealing, place[1], place[2])
    formats = {one.name: one.format for one in place[0].document.outputs}
    if output.format != formats.get(row.name, "json"):
        raise Refused("audit.altered", "the output is not of its agreed format")
    return place, output


def _open(node: Node, row: ResultRow) -> dict[str, Any]:
    place, output = _opened(node, row)
    found, _, run = place
    text = output.content.decode() if output.format == "json" else None
    return {
        "agreement": found.document.name,
        "run": row.run.hex(),
        "number": run.number,
        "name": row.name,
        "format": output.format,
        "technology": run.technology,
        "confidential": run.technology in CONFIDENTIAL,
        "contributors": run.contributors,
        "gate": gate(node, found, run),
        "charges": charges(node, found, run),
        "result": json.loads(text) if text is not None else None,
        "text": text,
    }


def _row(node: Node, run: str | None, name: str | None) -> ResultRow:
    rows = node.journal.results()
    if run is None and name == LOG:
        rows = [row for row in rows if row.name == LOG][-1:]
    elif run is None and rows:
        rows = [row for row in rows if row.run == rows[-1].run]
    elif run is not None and run.isdecimal() and len(run) < lookup.SHORT:
        rows = [row for row in rows if _number(node, row.run) == int(run)]
    elif run is not None:
        wanted = lookup.one_of({row.run for row in rows}, run, "result")
        rows = [row for row in rows if row.run == wanted]
    rows = [row for row in rows if row.name == name or (name is None and row.name != LOG)]
    if not rows and name == LOG:
        fix = "The agreement says who gets logs: village agreement show."
        raise Failure("id.unknown", "No log of this run came here.", fix)
    if not rows:
        raise Failure("id.unknown", "There is no such result here.", "See village result list.")
    if len(rows) > 1:
        names = ", ".join(sorted({row.name for row in rows}))
        raise Failure("id.ambiguous", f"There are several results: {names}.", "Name one.")
    return rows[0]


def _number(node: Node, run: bytes) -> int | None:
    place = _run(node, run)
    return place[2].number if place is not None else None


def _run(node: Node, id_: bytes) -> Place | None:
    """Agreement, record and document of a committed run."""
    for collaboration in node.world.collaborations():
        decided = collaboration.runs.decided(id_)
        if decided is not None:
            return collaboration, *decided
    return None
