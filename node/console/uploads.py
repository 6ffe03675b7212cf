"""What the page says of a push under way: an answer of share.status, in words."""

from collections.abc import Mapping
from typing import Any, Final

from node.console.picture import Upload

MIB: Final = 2**20

_STATES: Final = {
    "sending": "",
    "checking": "sent: the enclave checks it, standbys get their copies",
    "waits": "waits, and goes on by itself: ",
    "stopped": "stopped: ",
}


def upload(one: Mapping[str, Any], owner: str = "") -> Upload:
    """One push, of a node called `owner` where the page shows several."""
    state, total, sent = one["state"], one["total"], one["sent"]
    done = None if not total else min(100, 100 * sent // total)
    return Upload(
        name=" · ".join(part for part in (owner, one["dataset"], one["agreement"]) if part),
        done=100 if state == "checking" else done,
        words=_words(one) if sent else "",
        way=_way(one),
        waits=_STATES[state] + (one["waits"] or ""),
        tone="bad" if state == "stopped" else "",
    )


def _words(one: Mapping[str, Any]) -> str:
    known = one["total"] and one["state"] != "checking"
    whole = f" of about {_size(one['total'])}" if known else ""
    rate = f", {_size(one['rate'])}/s" if one["rate"] else ""
    left = "" if one["left"] is None else f", {_duration(one['left'])} left"
    return f"{_size(one['sent'])}{whole}{rate}{left}"


def _way(one: Mapping[str, Any]) -> str:
    if one["way"] is None:
        return ""
    return f"by bulk {one['way']}" if one["why"] is None else f"inside the connection: {one['why']}"


def _size(count: int) -> str:
    return f"{count / MIB:.1f} MiB" if count < 10 * MIB else f"{count / MIB:,.0f} MiB"


def _duration(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
