"""audit.export: the life of an agreement in one file that anyone can verify offline."""

import base64
import time
from typing import Any

import trio

from node.admin import lookup
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.leaves import fetch_leaves
from node.node import Node
from protocol.audit import bundle
from protocol.audit.bundle import TopicMaterial
from protocol.errors import Refused
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


def _material(node: Node, topic: bytes) -> TopicMaterial:
    opening = node.world.room(topic).opening.raw
    return TopicMaterial(opening=opening, records=tuple(node.journal.records(topic)))


async def _evidence(node: Node, found: Collaboration) -> tuple[list[bytes], list[str]]:
    """Each bundle that a verdict names, from here or from the voter; and what nobody gives."""
    bundles, missing = [], []
    for verdicts in found.election.verdicts.values():
        for voter, verdict in verdicts.items():
            if verdict.evidence is None:
                continue
            try:
                peers = node.world.peers_of(voter)
                bundles.append(await node.spread.fetch_blob(verdict.evidence, peers))
            except Refused:
                missing.append(f"evidence {verdict.evidence.hex()[:8]} of {node.world.name(voter)}")
    return bundles, missing


async def _leaves(node: Node, found: Collaboration) -> tuple[list[bytes], list[str]]:
    peers = node.spread.audience_peers(node.world.room(found.id))
    leaves, missing = [], []
    for number, (_, run) in found.runs.committed().items():
        try:
            leaves.append(await fetch_leaves(node.journal, node.spread, run.leaves, peers))
        except Refused:
            missing.append(f"leaves of run {number}")
    return leaves, missing
