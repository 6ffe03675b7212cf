"""space.change, remove, leave, members, history: what the members of a space decide about it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, get_args

from node.admin import lookup, space_words
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.space import SpaceName
from node.admin.space_votes import standing, vote_on_change
from node.documents import attestation
from node.node import Node
from protocol.errors import Refused
from protocol.kinds.common import Vote
from protocol.kinds.identity import Role
from protocol.kinds.space import Change, Leave, Terms
from protocol.machines.epochs import Epoch
from protocol.machines.space import Space

METHODS = Methods("space")

DAY = 86_400

Reason = Annotated[str, "Why, in words for the others."]


@METHODS.add("change", "govern")
async def change(
    node: Node,
    *,
    reason: Reason,
    roles: Annotated[tuple[str, ...] | None, "@NAME=ROLE[,ROLE]: other roles of a member."] = None,
    registrars: Annotated[tuple[str, ...] | None, "All identity authorities from now on."] = None,
    advisors: Annotated[tuple[str, ...] | None, "All whose advisories count from now on."] = None,
    recovery_days: Annotated[int | None, "Days in which a recovery may be vetoed."] = None,
    floors: Annotated[bytes | None, "The least that attestation asks everywhere, YAML."] = None,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Propose the next epoch: all members vote in it, with these roles and terms. Votes yes."""
    found = lookup.space_of(node, space)
    terms = found.terms
    if registrars is not None:
        terms = replace(terms, registrars=tuple(lookup.did_of(node, one) for one in registrars))
    if advisors is not None:
        terms = replace(terms, advisors=tuple(lookup.did_of(node, one) for one in advisors))
    if recovery_days is not None:
        terms = replace(terms, recovery_delay=recovery_days * DAY)
    if floors is not None:
        terms = replace(terms, attestation=attestation.floors(floors))
    asked = dict(_roles(node, one) for one in roles or ())
    return await _propose(node, found, removed={}, roles=asked, terms=terms, reason=reason)


@METHODS.add("remove", "govern")
async def remove(
    node: Node,
    *,
    who: Annotated[str, "@name or did:key of who is to go."],
    reason: Reason,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Propose to remove a participant; what it signed so far stands. Votes yes."""
    found = lookup.space_of(node, space)
    did = lookup.did_of(node, who)
    if did not in found.members() and did not in found.epoch.seats:
        raise Refused("space.member", f"{node.world.name(did)} is no member")
    return await _propose(
        node, found, removed={did: reason}, roles={}, terms=found.terms, reason=reason
    )


@METHODS.add("leave", "govern")
async def leave(node: Node, *, reason: Reason, space: SpaceName = None) -> dict[str, Any]:
    """Leave a space for good: agreements in force go on, nothing new comes. Idempotent."""
    found = lookup.space_of(node, space)
    me = node.keyring.did
    if found.founded and me not in found.members():
        return {"already": True, "space": found.id.hex()}
    heads = node.world.room(found.id).feeds.heads
    own = space_words.pins(found.histories[me], heads)
    others = tuple(pin for pin in own if pin.key != node.keyring.me.vote_key)
    body = Leave(revision=node.keyring.me.revision, reason=reason, pins=others)
    await node.pipeline.publish(found.id, "leave", body)
    return {"already": False, "space": found.id.hex()}


@METHODS.add("members", "read")
async def members(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Who belongs to a space, who votes in its epoch, and until when each credential holds."""
    found = lookup.space_of(node, space)
    known = found.members()
    rows = []
    for did in sorted({*known, *found.epoch.seats}, key=node.world.name):
        credential = found.credential(did, int(time.time()))
        rows.append(
            {
                **lookup.who(node, did),
                "roles": list(known[did].roles) if did in known else [],
                "votes": did in found.epoch.seats,
                "state": "member" if did in known else "left",
                "credential_until": credential.until if credential is not None else None,
            }
        )
    return rows


@METHODS.add("history", "read")
async def history(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every epoch of a space, what its change altered, and what is proposed for the next."""
    found = lookup.space_of(node, space)
    rows = [_begin(node, found)]
    for before, epoch in zip(found.chain.epochs, found.chain.epochs[1:], strict=False):
        rows.append(
            {**_row(node, found, before, epoch.id), "epoch": epoch.number, "state": "final"}
        )
    for record, _ in found.chain.proposed():
        rows.append({**_row(node, found, found.epoch, record.id), "epoch": found.epoch.number + 1,
                     "state": standing(found, record.id)})  # fmt: skip
    return rows


def words(node: Node, space: Space, id_: bytes) -> list[str]:
    """What a change of the newest epoch alters, in words."""
    return space_words.diff(space.epoch, space.chain.changes[id_][1], node.world.name)


async def _propose(
    node: Node,
    space: Space,
    *,
    removed: Mapping[bytes, str],
    roles: Mapping[bytes, tuple[Role, ...]],
    terms: Terms,
    reason: str,
) -> dict[str, Any]:
    """Propose a change, or find the same among those proposed, and vote for it."""
    heads = node.world.room(space.id).feeds.heads
    body = space_words.draft(space, heads, removed=removed, roles=roles, terms=terms, reason=reason)
    id_ = _same(space, body)
    already = id_ is not None
    if id_ is None:
        id_ = (await node.pipeline.publish(space.id, "change", body)).id
    vote = Vote(slot="", subject=id_, choice="yes", identity=node.keyring.me.id)
    said = words(node, space, id_)
    voted = await vote_on_change(node, space, id_, vote)
    return {"change": id_.hex(), "already": already, "alters": said, "state": voted["state"]}


def _same(space: Space, body: Change) -> bytes | None:
    """A change of this epoch that says the same; the feeds of the removed may have grown."""
    for record, known in space.chain.proposed():
        gone = {one.did: one.reason for one in known.removed}
        if (known.members, known.terms, gone, known.reason) == (
            body.members, body.terms, {one.did: one.reason for one in body.removed}, body.reason,
        ):  # fmt: skip
            return record.id
    return None


def _roles(node: Node, text: str) -> tuple[bytes, tuple[Role, ...]]:
    who, sign, named = text.partition("=")
    asked = tuple(one for one in get_args(Role) if one in named.split(","))
    if not sign or len(asked) != len(named.split(",")):
        raise Failure(
            "admin.parameters", f"{text[:64]!r} is not @NAME=ROLE[,ROLE].",
            f"Roles are: {', '.join(get_args(Role))}.",
        )  # fmt: skip
    return lookup.did_of(node, who), asked


def _begin(node: Node, space: Space) -> dict[str, Any]:
    names = ", ".join(sorted(node.world.name(did) for did in space.founders))
    state = "final" if space.founded else "waits for signatures"
    return {
        "change": space.id.hex(), "by": "the founders", "at": None, "reason": space.charter.purpose,
        "alters": [f"founded by {names}"], "epoch": 0, "state": state,
    }  # fmt: skip


def _row(node: Node, space: Space, before: Epoch, id_: bytes) -> dict[str, Any]:
    record, proposed = space.chain.changes[id_]
    return {
        "change": id_.hex(),
        "by": node.world.name(record.author),
        "at": record.at,
        "reason": proposed.reason,
        "alters": space_words.diff(before, proposed, node.world.name),
    }
