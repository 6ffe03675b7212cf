"""record.show: one signed record, as it stands in the journal."""

import base64
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.words import plain
from node.node import Node
from node.store import StoreError
from protocol import record
from protocol.keys import cid_text
from protocol.record import Record

METHODS = Methods("record")


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    id: Annotated[str, "Short id of the record."],  # noqa: A002 (the API's word)
) -> dict[str, Any]:
    """A record: header, body, place in its feed, and its exact bytes in base64."""
    found = find(node, id)
    if found is None:
        raise Failure("id.unknown", f"There is no record {id[:64]}.", "It may not be here yet.")
    return {**shown(node, found), "raw": base64.b64encode(found.raw).decode()}


def find(node: Node, text: str) -> Record | None:
    """The record with this short id, if it is kept here. Raises Failure (id.*)."""
    try:
        known = node.journal.resolve(text)
    except StoreError as error:
        raise Failure("id.short", error.detail, error.fix) from error
    if not known:
        return None
    raw = node.journal.get(lookup.one_of(known, text, "record"))
    return record.parse(raw) if raw is not None else None


def shown(node: Node, found: Record) -> dict[str, Any]:
    """A record as JSON, byte strings in hex, large ones as their size."""
    return {
        "record": found.id.hex(),
        "cid": cid_text(found.id),
        "kind": found.kind,
        "author": node.world.name(found.author),
        "key": found.key.hex(),
        "topic": found.topic.hex(),
        "seq": found.seq,
        "prev": found.prev.hex() if found.prev is not None else None,
        "at": found.at,
        "body": plain(dict(found.body)) if found.body is not None else None,
    }
