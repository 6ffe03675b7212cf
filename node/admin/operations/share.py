"""share.push, status, list, show: bring own data into an agreement, and what became of them."""

import itertools
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.admin.words import called, plain
from node.connectors import SourceError
from node.documents import contract_file
from node.node import Node
from node.share_lane import ShareLane
from node.share_pushes import under_way
from protocol.errors import RULES
from protocol.machines.agreement import Collaboration, KeptShare

METHODS = Methods("share")

BEGINNING = 240
"""Bytes of a stored share that are shown."""


@METHODS.add("push", "operate")
async def push(
    node: Node,
    *,
    source: Annotated[str | None, "Name under [sources]; default: the only one."] = None,
    id: Which = None,  # noqa: A002 (the API's word)
    anew: Annotated[bool, "Give up an unfinished push of other data."] = False,
) -> dict[str, Any]:
    """Seal a source to the elected enclave and its standbys, and send it. Idempotent.

    Returns when the host and its standbys have it. Cut off, it goes on in the background.
    """
    found = lookup.collaboration_of(node, id)
    name = source if source is not None else _only_source(node)
    configured = node.config.sources.get(name)
    if configured is None:
        known = ", ".join(node.config.sources) or "none"
        raise Failure("id.unknown", f"There is no source {name[:64]}.", f"Configured: {known}.")
    data = contract_file.load(configured.contract)
    dataset, _ = contract_file.identify(data, configured.contract.name)
    if found.election.elected() is None:
        raise Failure("admin.waits", "No host is elected yet.", "See village host show.")
    try:
        outcome = await node.owner.push(found.id, dataset, configured, anew=anew)
    except SourceError:
        await _take_back(node, found, dataset)
        raise
    return {
        "already": outcome.already,
        "share": outcome.share.hex(),
        "dataset": dataset,
        "rows": outcome.receipt.rows,
        "people": outcome.receipt.people,
        "excluded": outcome.receipt.excluded,
        "bytes": outcome.receipt.bytes,
        "replicas": outcome.replicas,
    }


@METHODS.add("status", "read")
async def status(node: Node) -> list[dict[str, Any]]:
    """The own pushes that no host confirmed yet: how far, how fast, by which way, what they wait
    for. In bytes, bytes per second and seconds; `total` is a guess, and none where nobody knows.
    """
    return [
        {
            "agreement": node.pipeline.world.collaboration(one.agreement).document.name,
            "dataset": one.dataset,
            "share": None if one.share is None else one.share.hex(),
            "state": one.state,
            "sent": one.sent,
            "total": one.total,
            "rate": one.rate,
            "left": one.left,
            "way": one.way,
            "why": one.why,
            "waits": one.waits,
        }
        for one in under_way(node.owner, node.happenings)
    ]


@METHODS.add("cancel", "operate")
async def cancel(
    node: Node,
    *,
    dataset: Annotated[str | None, "Dataset of the push; default: the only one."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Give up a push that is under way. What a host has of it is erased. Idempotent."""
    found = lookup.collaboration_of(node, id)
    if dataset is None:
        pushed = [
            one for one in under_way(node.owner, node.happenings) if one.agreement == found.id
        ]
        if len(pushed) > 1:
            known = ", ".join(one.dataset for one in pushed)
            raise Failure("admin.parameters", f"Pushes under way: {known}.", "Name one.")
        dataset = pushed[0].dataset if pushed else ""
    push = node.owner.give_up(found.id, dataset)
    share = push.share if push is not None else None
    if share is not None and found.word_of_owner(share) is None:
        await node.erasing.pull_back(found.id, share)
    return {
        "already": push is None,
        "dataset": dataset or None,
        "share": None if share is None else share.hex(),
        "agreement": found.id.hex(),
    }


@METHODS.add("list", "read")
async def list_(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """The organizations' shares of an agreement, with what the enclave counted in each."""
    found = lookup.collaboration_of(node, id)
    return [_line(node, found, kept) for kept in found.current_shares().values()]


@METHODS.add("show", "read")
async def show(
    node: Node,
    *,
    share: Annotated[str | None, "Short id; default: the own one."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """One share: header, which enclaves can open it, and the enclave's receipt; of an own one by
    which way its frames went, and why not by a bulk lane.
    """
    found = lookup.collaboration_of(node, id)
    known = {kept.record.id: kept for kept in found.current_shares().values()}
    kept = known[_mine(node, known) if share is None else lookup.one_of(known, share, "share")]
    verdict = kept.receipt.verdict if kept.receipt is not None else "waits for the enclave"
    rule = RULES.get(verdict)
    way, why = node.owner.way(found.id, kept.record.id) or (None, None)
    return {
        **_line(node, found, kept),
        "way": way,
        "why": why,
        "header": plain(kept.header),
        "enclaves": sorted(id_.hex() for id_ in found.wrapped_to(kept.record.id)),
        "receipt": plain(kept.receipt) if kept.receipt is not None else None,
        "fix": rule.fix if rule is not None else None,
    }


@METHODS.add("pull-back", "operate")
async def pull_back(
    node: Node,
    *,
    share: Annotated[str | None, "Short id; default: the own one."] = None,
    id: Which = None,  # noqa: A002
) -> dict[str, Any]:
    """Take an own share back: its key is destroyed here, and every host erases what it holds.

    Results that were released stay with their recipients. Idempotent.
    """
    found = lookup.collaboration_of(node, id)
    known = {one: record for one, (record, _, _) in found.shares.items()}
    current = {kept.record.id: kept for kept in found.current_shares().values()}
    chosen = _mine(node, current) if share is None else lookup.one_of(known, share, "share")
    already = found.word_of_owner(chosen) is not None
    if not already:
        await node.erasing.pull_back(found.id, chosen)
    return {"already": already, "share": chosen.hex(), "agreement": found.id.hex()}


@METHODS.add("erasures", "read")
async def erasures(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """What was erased under an agreement, by whom and why, and which enclaves had a key."""
    found = lookup.collaboration_of(node, id)
    return [
        {
            "share": share.hex(),
            "what": said.what,
            "by": called(node, record.author, found.document),
            "reason": said.reason,
            "enclaves": [enclave.hex() for enclave in said.enclaves],
            "record": record.id.hex(),
            "at": record.at,
        }
        for share, words in sorted(found.erasures.items())
        for record, said in sorted(words.values(), key=lambda one: one[0].said)
    ]


@METHODS.add("stored", "read")
async def stored(node: Node, *, id: Which = None) -> list[dict[str, Any]]:  # noqa: A002
    """On a host: the sealed shares on its disk, and how each begins: all that it ever sees."""
    found = lookup.collaboration_of(node, id)
    if node.host is None:
        raise Failure("admin.parameters", "This node is no enclave host.", "Ask one of the hosts.")
    index = node.host.lane.index
    return [
        {
            "share": kept.share.hex(),
            "person": kept.person is not None,
            "complete": index.complete(kept.share),
            "begins": _beginning(node.host.lane, kept.share),
        }
        for kept in index.of(found.id)
    ]


def _beginning(lane: ShareLane, share: bytes) -> str:
    """The first bytes of the longest of the first frames: ciphertext, in hex."""
    frames = list(itertools.islice(lane.frames(share), 2)) if lane.index.complete(share) else [b""]
    return max(frames, key=len)[:BEGINNING].hex()


async def _take_back(node: Node, found: Collaboration, dataset: str) -> None:
    """What was published of a source before a fault was found in it has no use any more."""
    kept = found.current_shares().get((dataset, node.keyring.did))
    going_on = {push.share for push in node.owner.unfinished().values()}
    if kept is not None and kept.receipt is None and kept.record.id not in going_on:
        await node.erasing.pull_back(found.id, kept.record.id)


def _only_source(node: Node) -> str:
    if len(node.config.sources) != 1:
        known = ", ".join(node.config.sources) or "none"
        raise Failure("admin.parameters", f"Configured sources: {known}.", "Name one.")
    return next(iter(node.config.sources))


def _mine(node: Node, known: dict[bytes, KeptShare]) -> bytes:
    mine = [id_ for id_, kept in known.items() if kept.header.owner == node.keyring.did]
    if not mine:
        raise Failure("id.unknown", "There is no own share here.", "village share push brings one.")
    if len(mine) > 1:
        raise Failure("id.unknown", f"There are {len(mine)} own shares.", "Name one.")
    return mine[0]


def _line(node: Node, found: Collaboration, kept: KeptShare) -> dict[str, Any]:
    receipt = kept.receipt
    return {
        "share": kept.record.id.hex(),
        "dataset": kept.header.dataset,
        "owner": called(node, kept.header.owner, found.document),
        "verdict": receipt.verdict if receipt is not None else None,
        "rows": receipt.rows if receipt is not None else None,
        "people": receipt.people if receipt is not None else None,
        "excluded": receipt.excluded if receipt is not None else None,
        "at": kept.record.at,
    }
