"""agreement.propose, accept, reject, counter, suspend, resume: acts that are signed."""

import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import trio

from node import confidential, judgement, sql_faults
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.admin.operations.algorithm import digests
from node.admin.operations.space import SpaceName
from node.documents import agreement_file
from node.documents.agreement_file import Draft, Setting
from node.node import Node
from node.reactions import policy_of
from node.world import Room
from protocol import model_faults, shape
from protocol.consistency import faults as faults_of
from protocol.consistency import manifest_faults
from protocol.errors import Refused
from protocol.kinds.agreement import NegotiationOpening, Suspension
from protocol.machines.negotiation import Negotiation, Version
from protocol.policy import Counter

METHODS = Methods("agreement")

Digest = Annotated[str, "The digest that was read: short id of the newest version."]
Reason = Annotated[str, "Why, in words for all parties."]


@METHODS.add("check", "operate")
async def check(
    node: Node,
    *,
    path: Annotated[str, "Agreement file, absolute, on the node's machine."],
    space: SpaceName = None,
) -> dict[str, Any]:
    """Read an agreement file and say what is wrong with it; nothing is published."""
    draft = await _draft(node, Path(path), lookup.space_of(node, space).id)
    faults = faults_of(draft.document) + model_faults.faults(draft.document, draft.blobs)
    if draft.bundle is not None:
        faults += manifest_faults(draft.document, draft.bundle)
        faults += tuple(one.words for one in await sql_faults.find(draft.bundle))
    return {"name": draft.document.name, "faults": list(faults), "blobs": len(draft.blobs)}


@METHODS.add("propose", "govern")
async def propose(
    node: Node,
    *,
    path: Annotated[str, "Agreement file, absolute, on the node's machine."],
    sign: Annotated[bool, "Sign the own proposal at once."] = True,
    space: SpaceName = None,
) -> dict[str, Any]:
    """Open a negotiation with all parties of an agreement file, and propose it."""
    found = lookup.space_of(node, space)
    draft = await _draft(node, Path(path), found.id)
    if draft.bundle is not None and (wrong := manifest_faults(draft.document, draft.bundle)):
        raise Refused("agreement.document", "; ".join(wrong))
    if wrong := model_faults.faults(draft.document, draft.blobs):
        raise Refused("agreement.document", "; ".join(wrong))
    judgement.check_credentials(node, draft.document)
    for blob in draft.blobs.values():
        await trio.to_thread.run_sync(node.blobs.put, blob)
    room = await _open(node, draft, found.id)
    negotiation = node.world.negotiation(room.topic)
    effects = negotiation.propose(replace(draft.document, negotiation=room.topic))
    await judgement.publish(node, room.topic, effects)
    for peer in node.spread.audience_peers(room):
        node.spread.announce(peer, room)
    newest = _newest(negotiation)
    return {
        "negotiation": room.topic.hex(),
        "name": draft.document.name,
        "digest": newest.digest.hex(),
        **(await _sign_own(node, negotiation, newest) if sign else {"signed": False}),
    }


@METHODS.add("accept", "govern")
async def accept(node: Node, *, id: Which = None, digest: Digest) -> dict[str, Any]:  # noqa: A002
    """Sign the newest version, which must be the one that was read. Idempotent."""
    negotiation = lookup.negotiation_of(node, id)
    version = _read(negotiation, digest)
    signed = await judgement.sign(node, negotiation, version.digest)
    return {"already": not signed, **_where(node, negotiation)}


@METHODS.add("reject", "govern")
async def reject(
    node: Node,
    *,
    id: Which = None,  # noqa: A002
    digest: Digest,
    reason: Reason,
) -> dict[str, Any]:
    """Reject the newest version, with a reason. Idempotent."""
    negotiation = lookup.negotiation_of(node, id)
    effects = negotiation.reject(_read(negotiation, digest).digest, (reason,))
    await judgement.publish(node, negotiation.id, effects)
    return {"already": not effects, **_where(node, negotiation)}


@METHODS.add("counter", "govern")
async def counter(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002
    """Make the smallest counter-offer that the own policy asks for."""
    negotiation = lookup.negotiation_of(node, id)
    rules = policy_of(node)
    if rules is None:
        raise Failure("admin.parameters", "There is no policy.", "Name policy.file.")
    verdict = await judgement.judge(node, rules, negotiation, _newest(negotiation))
    if not isinstance(verdict, Counter):
        words = type(verdict).__name__.lower()
        raise Refused("policy.refused", f"the policy does not counter here, it says: {words}")
    effects = negotiation.propose(verdict.document, verdict.changes)
    await judgement.publish(node, negotiation.id, effects)
    return {"changes": list(verdict.changes), **_where(node, negotiation)}


@METHODS.add("suspend", "govern")
async def suspend(node: Node, *, id: Which = None, reason: Reason) -> dict[str, Any]:  # noqa: A002
    """Stop all runs of an agreement at once; only who suspended can resume."""
    return await _suspension(node, id, "suspension", reason)


@METHODS.add("resume", "govern")
async def resume(node: Node, *, id: Which = None, reason: Reason) -> dict[str, Any]:  # noqa: A002
    """Take the own suspension back."""
    return await _suspension(node, id, "resumption", reason)


async def _suspension(node: Node, id_: str | None, kind: str, reason: str) -> dict[str, Any]:
    collaboration = lookup.collaboration_of(node, id_)
    mine = collaboration.runs.suspensions.get(node.keyring.did, False)
    answer = {"agreement": collaboration.id.hex(), "name": collaboration.document.name}
    if mine == (kind == "suspension"):
        return {"already": True, "suspended": collaboration.runs.suspended, **answer}
    made = await node.pipeline.publish(collaboration.id, kind, Suspension(reason=reason))
    suspended = collaboration.runs.suspended
    return {"already": False, "suspended": suspended, "record": made.id.hex(), **answer}


async def _draft(node: Node, path: Path, space: bytes) -> Draft:
    setting = Setting(
        author=node.keyring.did,
        space=space,
        negotiation=bytes(32),  # set once the parties, and so the topic, are known
        names=judgement.petnames(node),
        digests=digests(node),
        start=int(time.time()),
        salt=secrets.token_bytes(32),
        sealed=confidential.published(node.world.space(space)),
    )
    return await trio.to_thread.run_sync(agreement_file.load, path, setting)


async def _open(node: Node, draft: Draft, space: bytes) -> Room:
    opening = NegotiationOpening(
        space=space,
        name=draft.document.name,
        members=tuple(party.did for party in draft.document.parties),
        salt=secrets.token_bytes(32),
    )
    return await node.pipeline.open(shape.encode(opening))


async def _sign_own(node: Node, negotiation: Negotiation, version: Version) -> dict[str, Any]:
    try:
        return {"signed": await judgement.sign(node, negotiation, version.digest)}
    except Refused as error:
        return {"signed": False, "why": str(error)}


def _newest(negotiation: Negotiation) -> Version:
    newest = negotiation.newest
    if newest is None:
        raise Refused("agreement.version", "no version is here yet")
    return newest


def _read(negotiation: Negotiation, digest: str) -> Version:
    """The newest version, if `digest` is its short id. Raises Refused (agreement.version)."""
    newest = _newest(negotiation)
    known = {version.digest for version in negotiation.versions.values()}
    if lookup.one_of(known, digest, "version") != newest.digest:
        raise Refused("agreement.version", f"the newest is {newest.digest.hex()[:8]}")
    return newest


def _where(node: Node, negotiation: Negotiation) -> dict[str, Any]:
    newest = _newest(negotiation)
    return {
        "digest": newest.digest.hex(),
        "state": negotiation.state.value,
        "signed": sorted(node.world.name(did) for did in negotiation.signatures(newest)),
        "unsigned": [node.world.name(did) for did in negotiation.unsigned(newest)],
    }
