"""peer.list and peer.add: the nodes that this node knows."""

import time
from typing import Annotated, Any

from node.admin.failure import Failure
from node.admin.lookup import who
from node.admin.method import Methods
from node.net import address
from node.net.transport import TransportError
from node.node import BOOTSTRAP, Node

METHODS = Methods("peer")


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every known node: whose it is, where it was reached, and whether it answers."""
    reached = node.spread.reached()
    rows = {row.peer: row for row in node.journal.peers()}
    found = []
    for peer in sorted(rows.keys() | reached):
        owner, row = node.world.owner_of(peer), rows.get(peer)
        found.append(
            {
                "peer": peer,
                "owner": who(node, owner) if owner is not None else None,
                "addresses": list(row.addresses) if row is not None else [],
                "seen": row.seen if row is not None else 0,
                "reached": peer in reached,
            }
        )
    return found


@METHODS.add("add", "operate")
async def add(
    node: Node, *, address: Annotated[str, "Multiaddr that ends in /p2p/ID."]
) -> dict[str, Any]:
    """Remember where a node can be dialled; it is kept over restarts."""
    return {"added": remember(node, (address,))}


def remember(node: Node, addresses: tuple[str, ...]) -> list[str]:
    """Dial these addresses from now on. Raises Failure (admin.parameters)."""
    for text in addresses:
        peer = _peer_in(text)
        node.journal.put_state(f"{BOOTSTRAP}{text}", b"")
        node.journal.see_peer(peer, (text,), int(time.time()))
    node.spread.bootstrap = tuple(dict.fromkeys((*node.spread.bootstrap, *addresses)))
    return list(addresses)


def _peer_in(text: str) -> str:
    try:
        found = address.parse(text).peer
    except TransportError as error:
        fix = "As in /ip4/192.0.2.7/tcp/4150/p2p/12D3Koo…"
        raise Failure("admin.parameters", f"{text[:80]!r} is no address.", fix) from error
    if not found:
        raise Failure("admin.parameters", f"{text[:80]!r} names no PeerId.", "End it in /p2p/ID.")
    return found
