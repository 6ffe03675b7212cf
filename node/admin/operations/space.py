"""space.*: found a space, join it, see who is in it, vote on who comes."""

import base64
import secrets
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.peer import remember
from node.admin.space_file import SpaceFile
from node.admin.space_file import read as read_file
from node.node import Node
from node.reactions import JOIN_WISH
from protocol import shape
from protocol.errors import Refused
from protocol.identity import open_identity
from protocol.keys import did_parse
from protocol.kinds.common import Vote
from protocol.kinds.identity import Role
from protocol.kinds.space import Charter, Founder
from protocol.machines.space import CHARTER_SLOT, Member, Space, admission_slot
from protocol.record import Record
from protocol.topic import read_opening

METHODS = Methods("space")

SpaceName = Annotated[str | None, "Name or short id of the space; default: the only one."]


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """A founder: its identity card and its roles."""

    card: bytes
    roles: tuple[Role, ...]


@METHODS.add("new", "govern")
async def new(
    node: Node,
    *,
    name: Annotated[str, "What people call the space."],
    purpose: Annotated[str, "What it is for, in words."],
    founders: Annotated[tuple[Founding, ...], "Who signs the charter: card and roles of each."],
    registrars: Annotated[tuple[str, ...], "Identity authorities: @name of a founder or did:key."],
) -> dict[str, Any]:
    """Write a charter. Its file goes to every founder for space.join; who writes it signs it."""
    cards = {open_identity(one.card).name: open_identity(one.card) for one in founders}
    charter = Charter(
        name=name,
        purpose=purpose,
        founders=tuple(Founder(identity=one.card, roles=one.roles) for one in founders),
        registrars=tuple(
            cards[text[1:]].did if text[1:] in cards else did_parse(text) for text in registrars
        ),
        salt=secrets.token_bytes(32),
    )
    raw = shape.encode(charter)
    Space(read_opening(raw))  # refuses what no founder could open
    file = SpaceFile(opening=raw, addresses=node.transport.addresses())
    if node.keyring.did in {one.did for one in cards.values()}:
        await _enter(node, raw)
    return {"space": read_opening(raw).topic.hex(), "file": _base64(shape.encode(file))}


@METHODS.add("join", "govern")
async def join(
    node: Node,
    *,
    file: Annotated[bytes, "The charter file, or the invitation file, that you were given."],
    addresses: Annotated[tuple[str, ...] | None, "Where else members can be dialled."] = None,
) -> dict[str, Any]:
    """Join a space: a founder signs its charter; a guest accepts the invite once it arrives."""
    found = read_file(file)
    remember(node, (*found.addresses, *(addresses or ())))
    if found.invite is not None:
        node.journal.put_state(f"{JOIN_WISH}{found.invite.hex()}", b"")
    space, signed = await _enter(node, found.opening)
    return {
        "space": space.id.hex(),
        "name": space.charter.name,
        "signed": signed,
        "waits": "" if space.founded and _is_member(node, space) else _why(node, space),
    }


async def _enter(node: Node, raw: bytes) -> tuple[Space, bool]:
    """Open a space by the operator's own will; sign its charter as a founder. True: just now."""
    room = await node.pipeline.open(raw, invited=True)
    node.spread.listen(room)
    space = node.world.space(room.topic)
    me = node.keyring.did
    if me not in space.founders or me in space.charter_ballot.votes:
        return space, False
    await _vote(node, space, CHARTER_SLOT, space.id, "yes", None)
    return space, True


def _is_member(node: Node, space: Space) -> bool:
    return node.keyring.did in space.members()


def _why(node: Node, space: Space) -> str:
    if not space.founded:
        return "the other founders sign"
    return "the invite arrives and the members vote" if not _is_member(node, space) else ""


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every space that this node follows."""
    return [
        {
            "space": space.id.hex(),
            "name": space.charter.name,
            "founded": space.founded,
            "members": len(space.members()),
            "member": _is_member(node, space),
        }
        for space in node.world.spaces()
    ]


@METHODS.add("show", "read")
async def show(node: Node, *, space: SpaceName = None) -> dict[str, Any]:
    """A space: charter, members with roles and credentials, who waits to be admitted."""
    found = lookup.space_of(node, space)
    unsigned = found.founders.keys() - found.charter_ballot.votes.keys()
    return {
        "space": found.id.hex(),
        "name": found.charter.name,
        "purpose": found.charter.purpose,
        "founded": found.founded,
        "unsigned": sorted(node.world.name(did) for did in unsigned),
        "registrars": [lookup.who(node, did) for did in found.charter.registrars],
        "admission": f"{found.admission_rule.needed} of {len(found.founders)} founders",
        "members": [_member(node, found, member) for member in found.members().values()],
        "waiting": [_waiting(node, found, record) for record, _ in found.joins.values()
                    if found.invites[_invite(found, record)][2].did not in found.members()],
    }  # fmt: skip


@METHODS.add("vote", "govern")
async def vote(
    node: Node,
    *,
    subject: Annotated[str, 'Short id of the join, or "charter".'],
    choice: Annotated[Literal["yes", "no"], "The vote."] = "yes",
    reason: Annotated[str | None, "Words for the others."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Vote on an admission, or sign the charter. A yes needs a valid credential of the guest."""
    found = lookup.space_of(node, space)
    me = node.keyring.did
    if subject == CHARTER_SLOT:
        if me in found.charter_ballot.votes:
            return {"already": True, "founded": found.founded}
        await _vote(node, found, CHARTER_SLOT, found.id, choice, reason)
        return {"already": False, "founded": found.founded}
    id_ = lookup.one_of(found.joins, subject, "join")
    guest = found.invites[_invite(found, found.joins[id_][0])][2]
    ballot = found.ballots.get(admission_slot(id_))
    already = ballot is not None and me in ballot.votes
    if not already:
        if choice == "yes":
            _check_credential(found, guest.did)
        await _vote(node, found, admission_slot(id_), id_, choice, reason)
    admitted = guest.did in found.members()
    return {"already": already, "guest": guest.name, "admitted": admitted}


def _check_credential(space: Space, did: bytes) -> None:
    """A member needs a credential by a registrar of the charter; registrars themselves do not."""
    trusted = space.charter.registrars
    if trusted and did not in trusted and space.credential(did, int(time.time())) is None:
        raise Refused("space.credential")


async def _vote(
    node: Node, space: Space, slot: str, subject: bytes, choice: Literal["yes", "no"],
    reason: str | None,
) -> None:  # fmt: skip
    identity = node.keyring.me.id
    body = Vote(slot=slot, subject=subject, choice=choice, identity=identity, reason=reason)
    await node.pipeline.publish(space.id, "vote", body)


def _invite(space: Space, join: Record) -> bytes:
    return space.joins[join.id][1]


def _member(node: Node, space: Space, member: Member) -> dict[str, Any]:
    did = member.participant.did
    credential = space.credential(did, int(time.time()))
    return {
        **lookup.who(node, did),
        "roles": list(member.roles),
        "founder": did in space.founders,
        "legal_name": credential.claims.legal_name if credential is not None else None,
        "credential_until": credential.until if credential is not None else None,
    }


def _waiting(node: Node, space: Space, join: Record) -> dict[str, Any]:
    _, invite, guest = space.invites[_invite(space, join)]
    ballot = space.ballots.get(admission_slot(join.id))
    credential = space.credential(guest.did, int(time.time()))
    return {
        "join": join.id.hex(),
        **lookup.who(node, guest.did),
        "roles": list(invite.roles),
        "legal_name": credential.claims.legal_name if credential is not None else None,
        "voted": sorted(node.world.name(did) for did in (ballot.votes if ballot else ())),
        "needed": space.admission_rule.needed,
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
