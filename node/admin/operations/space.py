"""space.*: found a space, join it, see who is in it, vote on who comes."""

import base64
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.peer import remember
from node.admin.space_file import SpaceFile
from node.admin.space_file import read as read_file
from node.admin.space_votes import vote_on_change
from node.documents import attestation
from node.node import Node
from node.reactions import JOIN_WISH
from protocol import shape
from protocol.errors import Refused
from protocol.identity import Participant, open_identity
from protocol.keys import did_parse
from protocol.kinds.common import Vote
from protocol.kinds.identity import Role
from protocol.kinds.space import Charter, Founder, Terms
from protocol.machines.chain import admission_slot
from protocol.machines.membership import CHARTER_SLOT, Member
from protocol.machines.space import Space
from protocol.record import Record
from protocol.topic import read_opening

METHODS = Methods("space")

DAY = 86_400

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
    advisors: Annotated[tuple[str, ...] | None, "Whose advisories count, written alike."] = None,
    recovery_days: Annotated[int, "Days in which a recovery may be vetoed."] = 7,
    floors: Annotated[bytes | None, "The least that attestation asks everywhere, YAML."] = None,
) -> dict[str, Any]:
    """Write a charter. Its file goes to every founder for space.join; who writes it signs it."""
    cards = {open_identity(one.card).name: open_identity(one.card) for one in founders}
    charter = Charter(
        name=name,
        purpose=purpose,
        founders=tuple(Founder(identity=one.card, roles=one.roles) for one in founders),
        terms=Terms(
            registrars=tuple(_did(cards, text) for text in registrars),
            advisors=tuple(_did(cards, text) for text in advisors or ()),
            recovery_delay=recovery_days * DAY,
            attestation=None if floors is None else attestation.floors(floors),
        ),
        salt=secrets.token_bytes(32),
    )
    raw = shape.encode(charter)
    Space(read_opening(raw))  # refuses what no founder could open
    file = SpaceFile(opening=raw, addresses=node.transport.addresses())
    if node.keyring.did in {one.did for one in cards.values()}:
        await _enter(node, raw)
    return {"space": read_opening(raw).topic.hex(), "file": _base64(shape.encode(file))}


def _did(cards: Mapping[str, Participant], text: str) -> bytes:
    return cards[text[1:]].did if text[1:] in cards else did_parse(text)


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
        "registrars": [lookup.who(node, did) for did in found.terms.registrars],
        "epoch": found.epoch.number,
        "admission": f"{found.admission_rule.needed} of {len(found.epoch.seats)} voters",
        "members": [_member(node, found, member) for member in found.members().values()],
        "waiting": [_waiting(node, found, record) for record, _ in found.joins.values()
                    if found.invites[_invite(found, record)][2].did not in found.members()],
    }  # fmt: skip


@METHODS.add("vote", "govern")
async def vote(
    node: Node,
    *,
    subject: Annotated[str, 'Short id of the join or of the change, or "charter".'],
    choice: Annotated[Literal["yes", "no"], "The vote."] = "yes",
    reason: Annotated[str | None, "Words for the others."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Vote on an admission or a change, or sign the charter. A yes to a guest needs its credential;
    a yes to a change needs that it says of people what is known here.
    """
    found = lookup.space_of(node, space)
    me = node.keyring.did
    if subject == CHARTER_SLOT:
        if me in found.charter_ballot.votes:
            return {"already": True, "founded": found.founded}
        await _vote(node, found, CHARTER_SLOT, found.id, choice, reason)
        return {"already": False, "founded": found.founded}
    id_ = lookup.one_of({**found.joins, **found.chain.changes}, subject, "join or change")
    if id_ in found.chain.changes:
        said = Vote(slot="", subject=id_, choice=choice, identity=node.keyring.me.id, reason=reason)
        return await vote_on_change(node, found, id_, said)
    guest = found.invites[_invite(found, found.joins[id_][0])][2]
    ballot = found.chain.admissions.get(admission_slot(found.epoch.id, id_))
    voted = ballot is not None and me in ballot.votes
    already = voted or id_ in found.chain.admitted
    if not already:
        if choice == "yes":
            _check_credential(found, guest.did)
        await _vote(node, found, admission_slot(found.epoch.id, id_), id_, choice, reason)
    admitted = guest.did in found.members()
    return {"already": already, "guest": guest.name, "admitted": admitted}


def _check_credential(space: Space, did: bytes) -> None:
    """A member needs a credential by a registrar of the charter; registrars themselves do not."""
    if space.lacks_credential(did, int(time.time())):
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
    ballot = space.chain.admissions.get(admission_slot(space.epoch.id, join.id))
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
