"""console.link: open the web console."""

from node.admin.failure import Failure
from node.admin.method import Methods
from node.node import Node

METHODS = Methods("console")


@METHODS.add("link", "read")
async def link(node: Node) -> dict[str, str]:
    """The link that opens the web console in a browser of this machine; it works once."""
    if node.console is None:
        fix = "Set console.listen in the configuration."
        raise Failure("admin.parameters", "This node has no console.", fix)
    return {"link": node.console}
