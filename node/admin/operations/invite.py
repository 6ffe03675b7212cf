"""invite.new and invite.list: ask somebody into a space."""

import base64
import time
from typing import Annotated, Any

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.admin.space_file import SpaceFile
from node.node import Node
from protocol import shape
from protocol.identity import open_identity
from protocol.kinds.identity import Role
from protocol.kinds.space import Invite

METHODS = Methods("invite")

DAY = 86_400


@METHODS.add("new", "govern")
async def new(
    node: Node,
    *,
    card: Annotated[bytes, "The identity card of the guest."],
    roles: Annotated[tuple[Role, ...], "The roles that it will have."],
    days: Annotated[int, "Days for which the invite stands."] = 30,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Invite one participant; the invitation file is bound to its key and is no secret."""
    found = lookup.space_of(node, space)
    guest = open_identity(card)
    body = Invite(identity=card, roles=roles, until=int(time.time()) + days * DAY)
    made = await node.pipeline.publish(found.id, "invite", body)
    file = SpaceFile(
        opening=found.opening.raw, addresses=node.transport.addresses(), invite=made.id
    )
    text = base64.b64encode(shape.encode(file)).decode()
    return {"invite": made.id.hex(), "guest": guest.name, "file": text}


@METHODS.add("list", "read")
async def list_(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every invite of a space, and what became of it."""
    found = lookup.space_of(node, space)
    joined = {invite for _, invite in found.joins.values()}
    members = found.members()
    return [
        {
            "invite": id_.hex(),
            "guest": guest.name,
            "by": node.world.name(record.author),
            "roles": list(invite.roles),
            "until": invite.until,
            "state": _state(id_ in joined, guest.did in members, invite.until),
        }
        for id_, (record, invite, guest) in found.invites.items()
    ]


def _state(joined: bool, member: bool, until: int) -> str:
    if member:
        return "admitted"
    if joined:
        return "waits for votes"
    return "expired" if until < time.time() else "waits for the guest"
