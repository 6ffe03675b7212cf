"""key.*: the keys of this participant, the card that shows them to others, and how they change.

The root key is not here: `village key` on the machine that holds it signs the next card.
"""

import base64
import time
from typing import Annotated, Any

import trio

from node import identities, pins, record_keys, state_folder
from node.admin import lookup
from node.admin.method import Methods
from node.node import Node
from node.world import Room
from protocol import keys
from protocol.errors import Refused
from protocol.identity import History, Participant, expiries, open_identity
from protocol.keys import did_text
from protocol.kinds.identity import KeyRequest
from protocol.kinds.space import FeedPin, Recovery, Veto
from protocol.machines.agreement import Collaboration
from protocol.machines.recovery import CONFIRM, SUPPORT
from protocol.machines.space import Space

METHODS = Methods("key")

SpaceName = Annotated[str | None, "Name or short id of the space; default: the only one."]


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """The public keys that the root key delegates, and until when (unix seconds)."""
    me = node.keyring.me
    rows = [("root", me.did.hex(), node.config.keys.root, me.until)]
    rows += [("node", key.hex(), "connections", me.until) for key in me.nodes]
    rows += [
        ("record", key.hex(), "signs and votes" if key == me.vote_key else "signs", me.ends[key])
        for key in sorted(me.record_keys)
    ]
    rows.append(("sealing", me.sealing[:32].hex(), "results are sealed to it", me.until))
    return [
        {"key": kind, "public": text, "use": use, "until": until} for kind, text, use, until in rows
    ]


@METHODS.add("show", "read")
async def show(node: Node) -> dict[str, Any]:
    """The own identity: its revision, what ends when, keys taken back, guardians, this node."""
    ring, me = node.keyring, node.keyring.me
    guardians = me.guardians
    return {
        "name": me.name,
        "did": did_text(me.did),
        "revision": me.revision,
        "node": keys.public(ring.node).hex(),
        "record": keys.public(ring.record).hex(),
        "votes": ring.votes,
        "ends": [{"what": what, "until": until} for what, until in expiries(History.of(me))],
        "retired": [
            {"key": one.key.hex(), "reason": one.reason, "pins": len(one.pins or ())}
            for one in me.retired
        ],
        "guardians": [node.world.name(did) for did in guardians.dids] if guardians else [],
        "guardians_needed": guardians.needed if guardians else 0,
        "silent": sum(_is_silent(room) for room in node.world.rooms.values()),
    }


def _is_silent(room: Room) -> bool:
    """Whether this node, restored from a backup, still asks the others what it forgot here."""
    agreement = isinstance(room.machine, Collaboration) and room.machine.me.from_term is None
    return agreement or room.silent


@METHODS.add("export", "read")
async def export(node: Node) -> dict[str, str]:
    """The identity card: the signed identity record in base64, for founders and invites."""
    me = node.keyring.me
    return {"name": me.name, "did": did_text(me.did), "card": _base64(me.raw)}


@METHODS.add("request", "govern")
async def request(
    node: Node,
    *,
    before: Annotated[int | None, "Vouch for own records dated before this time only."] = None,
) -> dict[str, Any]:
    """Make a fresh record key, and ask the root to delegate it. Until then nothing changes.

    `left` are topics for which a request has no place: should the old key be called stolen, all
    that it signed there is void.
    """
    ring = node.keyring
    make = record_keys.pending
    seed = await trio.to_thread.run_sync(make, node.config.node.state, ring.store, ring.record)
    old = keys.public(ring.record)
    vouched = pins.vouch(node.journal, node.world, old, before)
    body = KeyRequest(
        identity=ring.me.raw,
        node=keys.public(ring.node),
        record=keys.public(seed),
        old=old,
        pins=vouched.pins,
    )
    return {
        "record": body.record.hex(),
        "request": _base64(identities.request(seed, body)),
        "pinned": len(vouched.pins),
        "left": [_topic_words(node.world.room(topic)) for topic in vouched.left],
    }


def _topic_words(room: Room) -> str:
    return f"{room.opening.type} {room.topic.hex()[:12]}"


@METHODS.add("install", "govern")
async def install(
    node: Node, *, card: Annotated[bytes, "The new identity card, as the root signed it."]
) -> dict[str, Any]:
    """Go on as a new card says: its key signs from now on, and every room is told."""
    me = open_identity(card)
    ring, state = node.keyring, node.config.node.state
    find = record_keys.of_card
    seed = await trio.to_thread.run_sync(find, state, ring.store, ring.record, me)
    if seed is None:
        raise Refused("identity.keys", "the card delegates no record key of this node")
    already = me.id == ring.me.id
    if not already:
        ring.check(me, seed)
        # Save, then send: after a crash the node must not go on with the key taken back.
        await trio.to_thread.run_sync(state_folder.write_card, state, me.raw)
        await node.pipeline.adopt(me, seed)
    return {"already": already, **_words(me, int(time.time()))}


@METHODS.add("recover", "govern")
async def recover(
    node: Node,
    *,
    lost: Annotated[str, "@name or did:key of the member whose root is lost."],
    card: Annotated[bytes, "First card of its new root; check its did with the people there."],
    reason: Annotated[str, "What happened, in words."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Vote, as a guardian, that the seat of a member passes to a new root. Again is no harm."""
    found = lookup.space_of(node, space)
    did, heir = lookup.did_of(node, lost), open_identity(card)
    known = [
        id_ for id_, case in found.recoveries.cases.items()
        if (case.said.did, case.heir.did) == (did, heir.did)
    ]  # fmt: skip
    id_ = min(known) if known else await _propose(node, found, did, card, reason)
    vote = found.recoveries.support(id_, node.keyring.did, node.keyring.me.id)
    if vote is not None:
        await node.pipeline.publish(found.id, "vote", vote)
    return _case(node, found, id_)


async def _propose(node: Node, found: Space, did: bytes, card: bytes, reason: str) -> bytes:
    heads, history = node.world.room(found.id).feeds.heads, found.histories.get(did)
    if history is None:
        raise Refused("space.recovery", "nobody of that did is known in the space")
    body = Recovery(
        did=did,
        identity=card,
        epoch=found.epoch.id,
        pins=tuple(
            FeedPin(key=key, seq=heads[key].seq, head=heads[key].id)
            for key in sorted(history.record_keys)
            if key in heads
        ),
        reason=reason,
    )
    return (await node.pipeline.publish(found.id, "recovery", body)).id


@METHODS.add("veto", "govern")
async def veto(
    node: Node,
    *,
    recovery: Annotated[str, "Short id of the recovery."],
    reason: Annotated[str, "Why the own keys are not lost."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Stop a recovery of this participant: its keys are not lost."""
    found = lookup.space_of(node, space)
    id_ = lookup.one_of(found.recoveries.cases, recovery, "recovery")
    if not found.recoveries.vetoes.get(id_):
        await node.pipeline.publish(found.id, "veto", Veto(recovery=id_, reason=reason))
    return _case(node, found, id_)


@METHODS.add("recoveries", "read")
async def recoveries(node: Node, *, space: SpaceName = None) -> list[dict[str, Any]]:
    """Every recovery in a space: whose, by whom, how far."""
    found = lookup.space_of(node, space)
    return [_case(node, found, id_) for id_ in sorted(found.recoveries.cases)]


def _case(node: Node, space: Space, id_: bytes) -> dict[str, Any]:
    all_ = space.recoveries
    case = all_.cases[id_]
    final = any(one.record.id == id_ for one in all_.finals)
    states = (("recovered", final), ("vetoed", id_ in all_.vetoes), ("waits", all_.certified(id_)))
    return {
        "recovery": id_.hex(),
        "lost": node.world.name(case.said.did),
        "heir": did_text(case.heir.did),
        "state": next((word for word, holds in states if holds), "asks the guardians"),
        "supported": [node.world.name(did) for did in all_.voted(SUPPORT, id_)],
        "confirmed": [node.world.name(did) for did in all_.voted(CONFIRM, id_)],
        "delay": space.terms.recovery_delay,
    }


def _words(me: Participant, now: int) -> dict[str, Any]:
    return {"name": me.name, "revision": me.revision, "days": (me.until - now) // 86_400}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
