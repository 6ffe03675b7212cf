"""The pushes of this node that no host confirmed yet, as their people see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from node.happenings import Happening, Happenings
from node.shares import Owner, Push
from protocol.kinds.algorithm import CODE

State = Literal["sending", "checking", "waits", "stopped"]
"""Frames leave; all left, and the enclave and its standbys work; something else must come first;
it does not go on by itself.
"""

_TOLD: Final = frozenset({"share progress", "share waits", "share sealed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """One push. `share` is none until the share is published; `sent` are bytes of about `total`, if
    that can be guessed, `rate` bytes per second, `left` seconds; `way` says how the frames go, and
    `why` why not by a bulk lane; `waits` what it waits for, or why it stopped.
    """

    agreement: bytes
    dataset: str
    share: bytes | None
    state: State
    sent: int
    total: int | None
    rate: int
    left: int | None
    way: str | None
    why: str | None
    waits: str | None


def under_way(owner: Owner, happenings: Happenings) -> Iterator[UnderWay]:
    """Every push of data that began and has not ended."""
    for place, push in sorted(owner.unfinished().items()):
        if push.dataset != CODE:
            yield _under_way(owner, push, owner.turns.stopped.get(place), _last(happenings, push))


def _under_way(owner: Owner, push: Push, stopped: str | None, last: Happening | None) -> UnderWay:
    found = owner.road.last(push.share or b"")
    waits = str(last.details["why"]) if last is not None and last.event == "share waits" else None
    state: State = "checking" if push.sealed is not None else "sending"
    if stopped is not None or waits is not None:
        state = "stopped" if stopped is not None else "waits"
    goes = found is not None and state == "sending"
    return UnderWay(
        agreement=push.agreement,
        dataset=push.dataset,
        share=push.share,
        state=state,
        sent=found.sent if found is not None else 0,
        total=found.total if found is not None else None,
        rate=int(found.rate) if found is not None and goes else 0,
        left=round(found.left) if found is not None and goes and found.left is not None else None,
        way=found.way if found is not None else None,
        why=found.why if found is not None else None,
        waits=stopped or waits,
    )


def _last(happenings: Happenings, push: Push) -> Happening | None:
    """The last that was told of a push."""
    topic = push.agreement.hex()
    return next(
        (
            one
            for one in reversed(happenings.kept)
            if one.event in _TOLD
            and one.topic == topic
            and one.details.get("dataset") == push.dataset
        ),
        None,
    )
