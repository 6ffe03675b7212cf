"""invite.*: ask somebody into a space, and see what became of it."""

import base64
import time
from typing import Annotated, Any, get_args

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.peer import remember
from node.admin.operations.space import SpaceName
from node.admin.space_file import SpaceFile
from node.admin.space_file import read as read_file
from node.node import Node
from node.reactions import DECLINE_WISH
from protocol import shape
from protocol.errors import Refused
from protocol.identity import open_identity
from protocol.kinds.identity import Role
from protocol.kinds.space import Invite, InviteRevocation
from protocol.machines.invitations import InviteState
from protocol.machines.space import Space

METHODS = Methods("invite")

DAY = 86_400

InviteId = Annotated[str, "Short id of the invite."]
Reason = Annotated[str, "Why, in words for the others."]


@METHODS.add("new", "govern")
async def new(
    node: Node,
    *,
    card: Annotated[bytes, "The identity card of the guest."],
    roles: Annotated[tuple[Role, ...], "The roles that it will have."],
    days: Annotated[int, "Days for which the invite stands."] = 30,
    contract: Annotated[str | None, "Name of the data contract that it is to provide."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Invite one participant; the invitation file is bound to its key and is no secret."""
    found = lookup.space_of(node, space)
    guest = open_identity(card)
    if not found.founded:
        missing = sorted(
            map(node.world.name, found.founders.keys() - found.charter_ballot.votes.keys())
        )
        raise Refused("space.member", f"first all founders sign: {', '.join(missing)} did not yet")
    until = int(time.time()) + days * DAY
    body = Invite(identity=card, roles=roles, until=until, contract=contract)
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
    return [_row(node, found, id_) for id_ in found.invites]


@METHODS.add("counts", "read")
async def counts(node: Node, *, space: SpaceName = None) -> dict[str, int]:
    """How many invites there are, and how many were opened, declined, joined and so on."""
    found = lookup.space_of(node, space)
    rows = [_row(node, found, id_) for id_ in found.invites]
    states = [row["state"] for row in rows]
    return {
        "invited": len(rows),
        "opened": sum(row["opened"] for row in rows),
        **{state: states.count(state) for state in get_args(InviteState)},
    }


@METHODS.add("show", "read")
async def show(node: Node, *, id: InviteId, space: SpaceName = None) -> dict[str, Any]:  # noqa: A002
    """One invite: for whom, by whom, and what became of it."""
    found = lookup.space_of(node, space)
    id_ = lookup.one_of(found.invites, id, "invite")
    known = found.invitations
    no = known.declined.get(id_) or known.revoked.get(id_)
    return {
        **_row(node, found, id_),
        "did": lookup.who(node, found.invites[id_][2].did)["did"],
        "reason": no[1] if no else None,
        "joins": [join.hex() for join, (_, invite) in known.joins.items() if invite == id_],
    }


@METHODS.add("revoke", "govern")
async def revoke(
    node: Node, *, id: InviteId, reason: Reason, space: SpaceName = None  # noqa: A002
) -> dict[str, Any]:  # fmt: skip
    """Take an own invite back: nobody votes on its join any more. Idempotent."""
    found = lookup.space_of(node, space)
    id_ = lookup.one_of(found.invites, id, "invite")
    already = id_ in found.invitations.revoked
    if not already:
        body = InviteRevocation(invite=id_, reason=reason)
        await node.pipeline.publish(found.id, "invite-revocation", body)
    return {"already": already, **_row(node, found, id_)}


@METHODS.add("decline", "govern")
async def decline(
    node: Node,
    *,
    file: Annotated[bytes, "The invitation file that you were given."],
    reason: Reason,
) -> dict[str, Any]:
    """Say no to an invitation; its space learns of it as soon as a member is reached."""
    found = read_file(file)
    if found.invite is None:
        raise Refused("space.invite", "a charter is no invitation: do not sign it")
    remember(node, found.addresses)
    room = await node.pipeline.open(found.opening, invited=True)
    node.spread.listen(room)
    node.journal.put_state(f"{DECLINE_WISH}{found.invite.hex()}", reason.encode())
    return {"invite": found.invite.hex(), "space": room.topic.hex()}


def _row(node: Node, space: Space, id_: bytes) -> dict[str, Any]:
    record, invite, guest = space.invites[id_]
    peers = set(node.world.peers_of(guest.did))
    seen = any(one.peer in peers and one.seen >= record.at for one in node.journal.peers())
    admitted = frozenset(space.chain.admitted)
    state = space.invitations.state(id_, admitted, int(time.time()))
    return {
        "invite": id_.hex(),
        "guest": guest.name,
        "by": node.world.name(record.author),
        "roles": list(invite.roles),
        "contract": invite.contract,
        "until": invite.until,
        "opened": seen or state in ("joined", "admitted", "declined"),
        "state": state,
    }
