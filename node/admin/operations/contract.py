"""contract.*: data contracts (ODCS v3) that a space knows."""

import hashlib
from typing import Annotated, Any

import trio

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.documents import contract_file
from node.node import Node
from protocol.kinds.space import Artifact

METHODS = Methods("contract")


@METHODS.add("publish", "operate")
async def publish(
    node: Node,
    *,
    file: Annotated[bytes, "The ODCS file."],
    note: Annotated[str | None, "Words for the members."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Publish a data contract to a space, by its digest. Idempotent."""
    found = lookup.space_of(node, space)
    name, version = contract_file.identify(file)
    digest = hashlib.sha256(file).digest()
    known = [
        p for p in found.publications.values() if (p.kind, p.artifact.blob) == ("contract", digest)
    ]
    answer = {"contract": digest.hex(), "id": name, "version": version}
    if known:
        return {"already": True, "record": known[0].id.hex(), **answer}
    await trio.to_thread.run_sync(node.blobs.put, file)
    body = Artifact(name=name, version=version, blob=digest, size=len(file), note=note)
    made = await node.pipeline.publish(found.id, "contract", body)
    return {"already": False, "record": made.id.hex(), **answer}


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """The data contracts of a space."""
    found = lookup.space_of(node, space)
    return [
        {
            "contract": one.artifact.blob.hex(),
            "id": one.artifact.name,
            "version": one.artifact.version,
            "by": node.world.name(one.author),
            "record": one.id.hex(),
            "note": one.artifact.note,
        }
        for one in found.publications.values()
        if one.kind == "contract"
    ]
