"""refusal.list and show: what this node refused, why, whose rule it was, what would fix it."""

from dataclasses import asdict
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.node import Node
from node.store import Refusal, StoreError

METHODS = Methods("refusal")


@METHODS.add("list", "read")
async def list_(
    node: Node, *, limit: Annotated[int, "At most so many, the newest first."] = 100
) -> list[dict[str, Any]]:
    """The newest refusals of this node."""
    return [shown(one) for one in node.journal.refusals(min(max(limit, 1), 1000))]


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    id: Annotated[str, "Short id of the refusal."],  # noqa: A002 (the API's word)
) -> dict[str, Any]:
    """One refusal: code, rule, who set it, what was seen, what would fix it."""
    found = find(node, id)
    if found is None:
        raise Failure("id.unknown", f"There is no refusal {id[:64]}.", "See village refusal list.")
    return shown(found)


def find(node: Node, text: str) -> Refusal | None:
    """The refusal with this short id, if there is one. Raises Failure (id.*)."""
    try:
        known = node.journal.resolve_refusal(text)
    except StoreError as error:
        raise Failure("id.short", error.detail, error.fix) from error
    return node.journal.refusal(lookup.one_of(known, text, "refusal")) if known else None


def shown(one: Refusal) -> dict[str, Any]:
    """A refusal as JSON."""
    return {"refusal": one.id.hex(), **asdict(one)}
