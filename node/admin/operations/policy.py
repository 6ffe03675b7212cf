"""policy.check: what the own acceptance policy says to a proposal."""

from typing import Any, assert_never

import trio

from node import judgement
from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.operations.agreement import Which
from node.node import Node
from node.reactions import policy_of
from protocol.errors import Refused
from protocol.policy import Accept, Ask, Counter, Refuse, Verdict

METHODS = Methods("policy")


@METHODS.add("check", "read")
async def check(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002 (the API's word)
    """The verdict on the newest version: accept, counter, ask or refuse, and why."""
    rules = policy_of(node)
    if rules is None:
        raise Failure(
            "admin.parameters", "There is no policy: no rule, no yes.", "Set policy.file."
        )
    negotiation = lookup.negotiation_of(node, id)
    newest = negotiation.newest
    if newest is None:
        raise Refused("agreement.version", "no version is here yet")
    verdict = await judgement.judge(node, rules, negotiation, newest)
    answer, why = _words(verdict)
    rule = verdict.rule or None
    return {"digest": newest.digest.hex(), "verdict": answer, "rule": rule, "why": why}


@METHODS.add("show", "read")
async def show(node: Node) -> dict[str, Any]:
    """The policy in full: its file as it stands, and its rules by name."""
    rules = policy_of(node)
    file = str(node.config.policy.file) if node.config.policy.file is not None else None
    allow = [{"name": r.name, "then": r.then} for r in rules.allow] if rules is not None else []
    ask = [", ".join(one.when) for one in rules.ask] if rules is not None else []
    path = node.config.policy.file
    text = await trio.to_thread.run_sync(path.read_text) if path is not None else None
    return {"file": file, "allow": allow, "ask": ask, "policy": text}


def _words(verdict: Verdict) -> tuple[str, list[str]]:
    match verdict:
        case Accept():
            return "accept", []
        case Counter(changes=changes):
            return "counter", list(changes)
        case Ask(why=why):
            return "ask", list(why)
        case Refuse(reasons=reasons):
            return "refuse", [reason.words for reason in reasons]
        case _:
            assert_never(verdict)
