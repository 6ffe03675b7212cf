"""audit.export: the life of an agreement in one file that anyone can verify offline."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import trio

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.leaves import fetch_leaves
from node.node import Node
from protocol import kinds, record
from protocol.audit import affected, bundle
from protocol.audit.bundle import TopicMaterial
from protocol.errors import Refused
from protocol.kinds.host import Verdict
from protocol.machines.agreement import Collaboration

METHODS = Methods("audit")


@METHODS.add("export", "operate")
async def export(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002 (the API's word)
    """The audit file of an agreement: records, evidence, leaves; never anything sealed."""
    found = lookup.collaboration_of(node, id)
    topics = (found.document.space, found.document.negotiation, found.id)
    materials = [_material(node, topic) for topic in topics if topic in node.world.rooms]
    evidence, missing = await _evidence(node, found)
    leaves, without = await _leaves(node, found)
    data = await trio.to_thread.run_sync(
        lambda: bundle.build(
            materials,
            evidence=evidence,
            leaves=leaves,
            seed=node.keyring.record,
            identity=node.keyring.me.raw,
            at=int(time.time()),
        )
    )
    return {
        "name": f"{found.document.name}.village",
        "records": sum(len(material.records) for material in materials),
        "evidence": len(evidence),
        "leaves": len(leaves),
        "missing": [*missing, *without],
        "size": len(data),
        "file": base64.b64encode(data).decode(),
    }


@METHODS.add("affected", "read")
async def affected_(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002
    """The past runs of an agreement that an advisory of its space touches."""
    found = lookup.collaboration_of(node, id)
    space = node.world.space(found.document.space)
    advisories = space.advisories.in_force(space.terms.advisors)
    touched = affected.affected(found, advisories)
    return {
        "runs": len(affected.ran(found)),
        "advisories": len(advisories),
        "affected": [affected.as_json(one, node.world.name) for one in touched],
    }


def _material(node: Node, topic: bytes) -> TopicMaterial:
    opening = node.world.room(topic).opening.raw
    return TopicMaterial(opening=opening, records=tuple(node.journal.records(topic)))


async def _evidence(node: Node, found: Collaboration) -> tuple[list[bytes], list[str]]:
    """Each bundle that any verdict names, those that a later one replaced too, from here or from
    the voter; and what nobody gives.
    """
    bundles, missing = [], []
    for voter, evidence in _named(node, found):
        try:
            bundles.append(await node.spread.fetch_blob(evidence, node.world.peers_of(voter)))
        except Refused:
            missing.append(f"evidence {evidence.hex()[:8]} of {node.world.name(voter)}")
    return bundles, missing


def _named(node: Node, found: Collaboration) -> Iterator[tuple[bytes, bytes]]:
    """Voter and digest of the bundle, for each verdict of the agreement's life."""
    for raw in node.journal.records(found.id):
        made = record.parse(raw)
        if made.kind == "verdict" and made.body is not None:
            evidence = kinds.read(Verdict, made).evidence
            if evidence is not None:
                yield made.author, evidence


async def _leaves(node: Node, found: Collaboration) -> tuple[list[bytes], list[str]]:
    peers = node.spread.audience_peers(node.world.room(found.id))
    leaves, missing = [], []
    for number, (_, run) in found.runs.committed().items():
        try:
            leaves.append(await fetch_leaves(node.journal, node.spread, run.leaves, peers))
        except Refused:
            missing.append(f"leaves of run {number}")
    return leaves, missing
