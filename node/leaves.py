"""The sorted person leaves of each run: opaque to everybody but the holder of a receipt secret."""

from node.spread import Spread
from node.store.blobs import Blobs
from node.store.journal import Journal
from protocol import merkle
from protocol.errors import Refused


def leaves_name(root: bytes) -> str:
    """Under which name the journal keeps where the leaves with this Merkle root are."""
    return f"leaves/{root.hex()}"


def keep_leaves(journal: Journal, blobs: Blobs, leaves: bytes) -> None:
    """Store leaves (32 bytes each, sorted) so that their Merkle root finds them."""
    digest = blobs.put(leaves)
    journal.put_state(leaves_name(merkle.root(merkle.split(leaves))), digest)


async def fetch_leaves(journal: Journal, spread: Spread, root: bytes, peers: list[str]) -> bytes:
    """The leaves with Merkle root `root`, from here or from a peer.

    Raises Refused (topic.unknown, audit.altered).
    """
    if root == merkle.root([]):
        return b""  # nobody's leaf: no peer gives a blob of no bytes
    known = journal.state(leaves_name(root))
    if known is not None:
        return spread.blobs.get(known)
    data = await spread.fetch_named(root, peers)
    if merkle.root(merkle.split(data)) != root:
        raise Refused("audit.altered", "the leaves do not match the run record")
    keep_leaves(journal, spread.blobs, data)
    return data
