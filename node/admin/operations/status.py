"""node.status and node.doctor: what this node is, and whether it is well."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

from node.admin import waiting, words
from node.admin.method import Methods
from node.node import Node
from node.release import software, version
from protocol.keys import did_text

METHODS = Methods("node")


@METHODS.add("status", "read")
async def status(node: Node) -> dict[str, Any]:
    """What this node is, whom it reaches, what waits on it, and where it is stuck."""
    return {
        "name": node.config.node.name,
        "did": did_text(node.keyring.did),
        "peer": node.transport.peer_id,
        "addresses": list(node.transport.addresses()),
        "version": version(),
        "software": software().hex(),
        "peers": _reached(node),
        "spaces": [space.charter.name for space in node.world.spaces()],
        "agreements": [one.document.name for one in node.world.collaborations()],
        "negotiations": [
            one.document.name for one in node.world.negotiations() if one.agreed is None
        ],
        "advisories": [
            words.advisory_in_words(node, one)
            for space in node.world.spaces()
            for one in space.advisories.in_force(space.terms.advisors)
        ],
        "roles": {"host": node.host is not None, "registrar": node.registrar is not None},
        "happenings": node.happenings.count,
        "barred": waiting.barred(node),
        "quarantine": {
            "waiting": len(node.pipeline.quarantine),
            "dropped": node.pipeline.quarantine.dropped,
        },
        "memory": _memory(),
        "inbox": waiting.on_me(node),
        "stuck": waiting.on_others(node),
    }


def _reached(node: Node) -> list[str]:
    owners = {node.world.owner_of(peer) for peer in node.spread.reached()}
    return sorted(node.world.name(did) for did in owners if did is not None)


@METHODS.add("doctor", "read")
async def doctor(node: Node) -> list[dict[str, Any]]:
    """Checks of this node: keys, credentials, disk, clock, network, policy, enclave; each says what
    to do.
    """
    checks = (_keys, _credentials, _disk, _clock, _network, _policy, _enclave)
    return [check(node) for check in checks]


def _check(about: str, well: bool, says: str, fix: str) -> dict[str, Any]:
    return {"check": about, "well": well, "says": says, "fix": "" if well else fix}


def _keys(node: Node) -> dict[str, Any]:
    left = (node.keyring.me.until - int(time.time())) // 86_400
    return _check("keys", left > 30, f"delegation ends in {left} days", "Renew before it ends.")


def _credentials(node: Node) -> dict[str, Any]:
    """Parties of agreements in force that no registrar vouches for now; runs go on, renewal not."""
    now, spaces = int(time.time()), {space.id: space for space in node.world.spaces()}
    bare = {
        node.world.name(did)
        for one in node.world.collaborations()
        if (space := spaces.get(one.document.space)) is not None and not one.ended(now)
        for did in one.parties
        if space.lacks_credential(did, now)
    }
    says = f"not in force: {', '.join(sorted(bare))}" if bare else "all parties have one in force"
    return _check("credentials", not bare, says, "Ask the registrar; no new agreement until then.")


def _clock(_: Node) -> dict[str, Any]:
    says = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    fix = "Set the clock: records far in the future are refused."
    return _check("clock", time.time() > 1_700_000_000, says, fix)


def _policy(node: Node) -> dict[str, Any]:
    there = node.config.policy.file is not None
    says = "answers proposals by itself" if there else "none: people answer"
    return _check("policy", True, says, "")


def _disk(node: Node) -> dict[str, Any]:
    free = shutil.disk_usage(node.config.node.state).free
    says = f"{free // 2**20} MiB free"
    return _check("disk", free > 2**30, says, "Free space: the node stops rather than lose data.")


def _network(node: Node) -> dict[str, Any]:
    members = {d for d in node.world.participants() if d != node.keyring.did}
    reached = {node.world.owner_of(peer) for peer in node.spread.reached()} & members
    says = f"{len(reached)} of {len(members)} known participants reached"
    return _check(
        "network", bool(reached) or not members, says, "See network.bootstrap, peer list."
    )


def _enclave(node: Node) -> dict[str, Any]:
    if node.config.enclave is None:
        return _check("enclave", True, "none configured", "")
    there = Path(node.config.enclave.socket).exists()
    says = "its socket is there" if there else "its socket is missing"
    return _check("enclave", there, says, "Start it: village-enclave run.")


def _memory() -> int:
    """Resident bytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
