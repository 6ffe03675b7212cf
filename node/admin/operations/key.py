"""key.list and key.export: the keys of this participant, and the card that shows them to others."""

import base64
from typing import Any

from node.admin.method import Methods
from node.node import Node
from protocol.keys import did_text

METHODS = Methods("key")


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """The public keys that the root key delegates, and until when (unix seconds)."""
    me = node.keyring.me
    rows = [("root", me.did.hex(), node.config.keys.root)]
    rows += [("node", key.hex(), "connections") for key in me.nodes]
    rows += [
        ("record", key.hex(), "signs and votes" if key == me.vote_key else "signs")
        for key in sorted(me.record_keys)
    ]
    rows.append(("sealing", me.sealing[:32].hex(), "results are sealed to it"))
    return [
        {"key": kind, "public": text, "use": use, "until": me.until} for kind, text, use in rows
    ]


@METHODS.add("export", "read")
async def export(node: Node) -> dict[str, str]:
    """The identity card: the signed identity record in base64, for founders and invites."""
    me = node.keyring.me
    card = base64.b64encode(me.raw).decode()
    return {"name": me.name, "did": did_text(me.did), "card": card}
