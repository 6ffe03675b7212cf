"""The next identity record of a participant: what its root signs when keys come and go.

Nothing here reads a file or a clock: `node/cli/key.py` does it on the machine that holds the root.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from node.keyring import YEAR
from protocol import keys, limits, record, token
from protocol.errors import Refused
from protocol.identity import Participant, identity_topic
from protocol.kinds.identity import Guardians, Identity, KeyRequest, RecordKey, RetiredKey
from protocol.record import Place

Reason = Literal["rotated", "lost", "stolen"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the next identity delegates: record keys (key -> may vote), node keys, the rest."""

    records: Mapping[bytes, bool]
    nodes: tuple[bytes, ...]
    sealing: bytes
    guardians: Guardians | None
    retired: tuple[RetiredKey, ...]


def plan_of(last: Participant) -> Plan:
    """The same as before. Of keys that were taken back only the pinned ones need be said again."""
    return Plan(
        records={key: key == last.vote_key for key in last.record_keys},
        nodes=last.nodes,
        sealing=last.sealing,
        guardians=last.guardians,
        retired=tuple(one for one in last.retired if one.pins is not None),
    )


def sign_next(root: bytes, last: Participant, plan: Plan, now: int) -> bytes:
    """The identity record after `last`, valid for a year. Raises Refused (identity.root)."""
    if keys.public(root) != last.did:
        raise Refused("identity.root", "this is the root of another participant")
    until = now + YEAR
    body = Identity(
        revision=last.revision + 1,
        name=last.name,
        nodes=plan.nodes,
        records=tuple(
            RecordKey(key=key, vote=vote, until=until) for key, vote in sorted(plan.records.items())
        ),
        sealing=plan.sealing,
        until=until,
        retired=plan.retired,
        guardians=plan.guardians,
    )
    return record.sign(
        root,
        topic=identity_topic(last.did),
        author=last.did,
        kind="identity",
        body=body,
        place=Place(seq=body.revision, prev=last.id),
        at=now,
        salt=secrets.token_bytes(limits.SALT),
    ).raw


def request(seed: bytes, body: KeyRequest) -> bytes:
    """The request, signed by the new record key: nobody asks for a key that it does not have."""
    return token.sign(seed, "key-request", body)


def open_request(raw: bytes) -> KeyRequest:
    """Verify a request. Raises Refused (identity.keys, record.*, codec.*, shape.mismatch)."""
    found = token.open_(raw, "key-request", KeyRequest)
    if found.key != found.body.record:
        raise Refused("identity.keys", "the request is not signed by the key that it is about")
    return found.body


def replaced(last: Participant, asked: KeyRequest, reason: Reason, *, pinned: bool) -> Plan:
    """The new key of the request takes the place of the one that its node had: `asked.old`.

    With `pinned`, the old key is worth what `asked.pins` say and nothing more; else all that it
    signed stands. Raises Refused (identity.keys).
    """
    if asked.old not in last.record_keys:
        raise Refused("identity.keys", "the newest identity does not delegate the node's old key")
    plan = plan_of(last)
    votes = plan.records[asked.old]
    records = {key: vote for key, vote in plan.records.items() if key != asked.old}
    nodes = plan.nodes if asked.node in plan.nodes else (*plan.nodes, asked.node)
    return Plan(
        records=records | {asked.record: votes},
        nodes=nodes,
        sealing=plan.sealing,
        guardians=plan.guardians,
        retired=(*plan.retired, _retired(asked, reason, pinned=pinned)),
    )


def check_left(pinned: int, left: Sequence[str]) -> None:
    """Refuse (identity.keys) to take a key back that wrote in more topics than find a pin."""
    if left:
        raise Refused(
            "identity.keys",
            f"one identity pins {limits.PINS} topics: {pinned} are pinned, and without a pin all "
            f"that the key signed is void in {len(left)} more ({', '.join(left[:8])}"
            f"{', …' if len(left) > 8 else ''}). Say --leave-out to let them go; or rotate the "
            "key, if nobody else ever had it: then all that it signed stands.",
        )


def _retired(asked: KeyRequest, reason: Reason, *, pinned: bool) -> RetiredKey:
    return RetiredKey(key=asked.old or b"", reason=reason, pins=asked.pins if pinned else None)


def added(last: Participant, asked: KeyRequest) -> Plan:
    """Another node: its node key, and a record key that does not vote."""
    plan = plan_of(last)
    nodes = plan.nodes if asked.node in plan.nodes else (*plan.nodes, asked.node)
    return Plan(
        records={**plan.records, asked.record: plan.records.get(asked.record, False)},
        nodes=nodes,
        sealing=plan.sealing,
        guardians=plan.guardians,
        retired=plan.retired,
    )
