"""inbox.list: what waits on this participant's people."""

from typing import Any

from node.admin import waiting
from node.admin.method import Methods
from node.node import Node

METHODS = Methods("inbox")


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """What waits on me: charters to sign, joins to vote on, proposals, shares, ending keys."""
    return waiting.on_me(node)
