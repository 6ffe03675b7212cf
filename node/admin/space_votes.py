"""Votes of this node on changes of a space, and where a change stands."""

from dataclasses import replace
from typing import Any

from node.node import Node
from protocol.errors import Refused
from protocol.kinds.common import Vote
from protocol.machines.epochs import step_slot
from protocol.machines.space import Space


async def vote_on_change(node: Node, space: Space, id_: bytes, vote: Vote) -> dict[str, Any]:
    """Vote on a change in the round that is open for this node. Idempotent.

    Raises Refused (space.change) for a yes to what an honest voter would not sign.
    """
    _, proposed = space.chain.changes[id_]
    rounds, me = space.chain.current, node.keyring.did
    if proposed.epoch != space.epoch.id:
        final = id_ in {epoch.id for epoch in space.chain.epochs}
        return {"already": True, "state": "final" if final else "overtaken"}
    round_ = rounds.round_for(me)
    if round_ is None:
        return {"already": True, "state": standing(space, id_)}
    if vote.choice == "yes":
        _check_yes(node, space, id_, round_)
    body = replace(vote, slot=step_slot("change", space.epoch.id, round_), subject=id_)
    await node.pipeline.publish(space.id, "vote", body)
    return {"already": False, "state": standing(space, id_)}


def _check_yes(node: Node, space: Space, id_: bytes, round_: int) -> None:
    bound = space.chain.current.bound(round_)
    if bound not in (None, id_):
        raise Refused("space.change", "another change is certified already; it comes first")
    heads = {key: head.seq for key, head in node.world.room(space.id).feeds.heads.items()}
    faults = space.change_faults(space.chain.changes[id_][1], heads)
    if faults:
        raise Refused("space.change", "; ".join(faults))


def standing(space: Space, id_: bytes) -> str:
    """Where a change of the newest epoch stands: its round, and how many of how many."""
    if id_ in {epoch.id for epoch in space.chain.epochs}:
        return "final"
    rounds = space.chain.current
    needed = rounds.rule.needed
    newest = rounds.certificate()
    if newest is not None and newest[1] == id_:
        ballot = rounds.confirms.get(newest[0])
        confirmed = 0 if ballot is None else len(ballot.yes(id_))
        return f"certified, {confirmed} of {needed} confirmed"
    for round_, ballot in sorted(rounds.votes.items(), reverse=True):
        count = len(ballot.yes(id_))
        if count:
            return f"round {round_}: {count} of {needed} voted"
    return f"0 of {needed} voted"
