"""explain.show: what stands behind any id: refusal, run, election, agreement or record."""

from collections.abc import Iterator
from typing import Annotated, Any

from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations import agreement, host, record, refusal
from node.admin.operations.run_words import describe
from node.node import Node
from protocol import kinds
from protocol.kinds.common import Refusal

METHODS = Methods("explain")


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    id: Annotated[str, "Short id of anything."],  # noqa: A002 (the API's word)
) -> dict[str, Any]:
    """What an id is, what happened, which rule said no, who set it, and what would fix it."""
    found = [*_refusal(node, id), *_run(node, id), *_election(node, id), *_record(node, id)]
    if not found:
        return {"is": "agreement", **await agreement.show(node, id=id)}
    if len({one["id"] for one in found}) > 1:
        shown = ", ".join(f"{one['is']} {one['id'][:12]}" for one in found)
        raise Failure("id.ambiguous", f"{id} can mean: {shown}.", "Give more characters.")
    answer = found[0]
    if answer["is"] == "election":
        return {**answer, **await host.explain(node, id=answer["agreement"], term=answer["term"])}
    return answer


def _refusal(node: Node, text: str) -> Iterator[dict[str, Any]]:
    found = refusal.find(node, text)
    if found is not None:
        yield {"is": "refusal", "id": found.id.hex(), **refusal.shown(found)}


def _run(node: Node, text: str) -> Iterator[dict[str, Any]]:
    for collaboration in node.world.collaborations():
        for found, run in collaboration.runs.proposals.values():
            if found.id.hex().startswith(text.lower()):
                words = describe(node, collaboration, found, run)
                yield {"is": "run", "id": found.id.hex(), **words}


def _election(node: Node, text: str) -> Iterator[dict[str, Any]]:
    for collaboration in node.world.collaborations():
        for subject, appointment in collaboration.election.appointments.items():
            if subject.hex().startswith(text.lower()):
                yield {
                    "is": "election",
                    "id": subject.hex(),
                    "agreement": collaboration.id.hex(),
                    "term": appointment.term,
                }


def _record(node: Node, text: str) -> Iterator[dict[str, Any]]:
    found = record.find(node, text)
    if found is None or found.kind == "run":
        return
    words = record.shown(node, found)
    if found.kind == "refusal" and found.body is not None:
        said = kinds.read(Refusal, found)
        words.update(code=said.code, detail=said.detail, set_by=said.set_by, fix=said.fix)
    yield {"is": found.kind, "id": found.id.hex(), **words}
