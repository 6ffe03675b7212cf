"""node.snapshot: a consistent copy of the journal, for a backup of a node that runs."""

import trio

from node.admin.method import Methods
from node.node import Node

METHODS = Methods("node")

SNAPSHOT = "snapshot.db"


@METHODS.add("snapshot", "govern")
async def snapshot(node: Node) -> dict[str, str]:
    """Copy the journal into the state folder; village node backup seals it and takes it away."""
    target = node.config.node.state / SNAPSHOT
    target.unlink(missing_ok=True)
    await trio.to_thread.run_sync(node.journal.back_up, target)
    return {"file": str(target)}
