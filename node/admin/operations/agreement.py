"""agreement.list, show, diff, use: what is agreed or proposed, in words."""

import time
from typing import Annotated, Any

from node.admin import lookup
from node.admin.failure import Failure
from node.admin.method import Methods
from node.admin.words import ground_in_words, in_words
from node.node import Node
from protocol import diff as differences
from protocol.consistency import notes
from protocol.keys import cid_text
from protocol.machines.agreement import Collaboration
from protocol.machines.negotiation import Negotiation, Version

METHODS = Methods("agreement")

Which = Annotated[
    str | None, "Name, or short id of negotiation, agreement or version; has default."
]


@METHODS.add("list", "read")
async def list_(node: Node) -> list[dict[str, Any]]:
    """Every agreement: where it stands, and who has not signed yet."""
    return [_line(node, joint) for joint in lookup.joints(node.world).values()]


@METHODS.add("show", "read")
async def show(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002 (the API's word)
    """An agreement in words: its document, signatures, rejections, versions, and what to note."""
    joint = lookup.joint_of(node, id)
    document = joint.document if isinstance(joint, Collaboration) else _newest(joint).document
    return {
        **_line(node, joint),
        "words": in_words(node, document),
        "notes": [*notes(document), *ground_in_words(node, document)],
        "versions": _versions(node, joint),
    }


@METHODS.add("diff", "read")
async def diff(node: Node, *, id: Which = None) -> dict[str, Any]:  # noqa: A002
    """What the newest version changes: against what I signed, else against its parent."""
    negotiation = lookup.negotiation_of(node, id)
    newest = _newest(negotiation)
    before = _before(negotiation, newest)
    found = differences.diff(before.document, newest.document) if before is not None else ()
    return {
        "newest": newest.digest.hex(),
        "against": before.digest.hex() if before is not None else None,
        "changes": [
            {
                "field": one.field,
                "before": one.before,
                "after": one.after,
                "concerns": list(one.affects),
            }
            for one in found
        ],
        "said": list(newest.changes),
    }


@METHODS.add("use", "operate")
async def use(node: Node, *, id: Annotated[str, "Name or short id."]) -> dict[str, Any]:  # noqa: A002
    """Choose the agreement that commands mean by default."""
    joint = lookup.joint_of(node, id)
    key = joint.id if isinstance(joint, Negotiation) else joint.document.negotiation
    node.journal.put_state(lookup.USED, key)
    return _line(node, joint)


def _newest(negotiation: Negotiation) -> Version:
    newest = negotiation.newest
    if newest is None:
        detail = f"{negotiation.document.name} has no version here yet."
        raise Failure("id.unknown", detail, "It comes with the next sync.")
    return newest


def _before(negotiation: Negotiation, newest: Version) -> Version | None:
    """The newest other version that I signed, else the parent."""
    me = negotiation.me
    signed = [
        version
        for version in negotiation.versions.values()
        if version.digest != newest.digest and me in negotiation.signatures(version)
    ]
    if signed:
        return max(signed, key=lambda version: version.depth)
    return negotiation.versions.get(newest.parent) if newest.parent is not None else None


def _line(node: Node, joint: lookup.Joint) -> dict[str, Any]:
    if isinstance(joint, Collaboration):
        return _in_force(node, joint)
    newest = joint.newest
    signed = joint.signatures(newest) if newest is not None else {}
    return {
        "name": joint.document.name,
        "state": joint.state.value,
        "negotiation": joint.id.hex(),
        "agreement": None,
        "digest": newest.digest.hex() if newest is not None else None,
        "signed": sorted(node.world.name(did) for did in signed),
        "unsigned": [node.world.name(did) for did in joint.unsigned(newest)] if newest else [],
        "rejected": {
            node.world.name(did): list(why)
            for did, why in (joint.rejecting(newest) if newest else {}).items()
        },
        "waits_for_me": joint.pending(),
    }


def _in_force(node: Node, joint: Collaboration) -> dict[str, Any]:
    document = joint.document
    elected = joint.election.elected()
    return {
        "name": document.name,
        "state": _state(joint),
        "negotiation": document.negotiation.hex(),
        "agreement": joint.id.hex(),
        "digest": joint.id.hex(),
        "cid": cid_text(joint.id),
        "signed": [party.name for party in document.parties],
        "unsigned": [],
        "rejected": {},
        "waits_for_me": False,
        "term": joint.election.term,
        "host": node.world.name(elected.appointment.host) if elected is not None else None,
        "runs": len(joint.runs.committed()),
        "runs_left": document.runs.at_most - len(joint.runs.committed()),
        "suspended": joint.runs.suspended,
        "ends": document.start + document.purpose.duration,
    }


def _state(joint: Collaboration) -> str:
    if joint.ended(int(time.time())):
        return "ENDED"
    return "SUSPENDED" if joint.runs.suspended else "IN FORCE"


def _versions(node: Node, joint: lookup.Joint) -> list[dict[str, Any]]:
    if isinstance(joint, Collaboration):
        known = {one.id: one for one in node.world.negotiations()}
        negotiation = known.get(joint.document.negotiation)
    else:
        negotiation = joint
    return [
        {
            "digest": version.digest.hex(),
            "record": version.record.hex(),
            "by": node.world.name(version.author),
            "at": version.at,
            "changes": list(version.changes),
            "signed": sorted(node.world.name(did) for did in negotiation.signatures(version)),
        }
        for version in (negotiation.versions.values() if negotiation is not None else ())
        if negotiation is not None
    ]
