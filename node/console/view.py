"""One node as a picture for the console: only what the admin API lets anybody see who may look."""

import time
from typing import Any, Final

from node.admin import methods
from node.admin.failure import Failure
from node.console.app import Look
from node.console.picture import TONES, Fact, Picture, Plot, Row
from node.console.uploads import upload
from node.node import Node
from protocol.errors import ProtocolError

SHOWN: Final = 12
"""Rows of each table on the page."""


def looking(node: Node) -> Look:
    """What the console of `node` asks each second while a page is open."""

    async def look() -> Picture:
        return await _picture(node)

    return look


async def _ask(node: Node, method: str, **parameters: object) -> Any:  # noqa: ANN401 (any JSON)
    """An answer of the API, or none where there is nothing to show yet."""
    try:
        return await methods.call(node, frozenset({"read"}), method, parameters)
    except (Failure, ProtocolError):
        return None


async def _picture(node: Node) -> Picture:
    status = await _ask(node, "node.status") or {}
    space = await _ask(node, "space.show") or {}
    host = await _ask(node, "host.show") or {}
    me, reached = status.get("name", ""), set(status.get("peers", ()))
    members = {one["name"]: (one["roles"] or [""])[0] for one in space.get("members", ())}
    members.setdefault(me, "")
    states = dict.fromkeys(members.keys() - reached - {me}, "down")
    states.update(dict.fromkeys(host.get("standbys", ()), "standby"))
    if host.get("host"):
        states[host["host"]] = "host"
    plot = Plot(roles=members, states=states)
    return Picture(
        title=me,
        simulated=host.get("confidential") is False,
        participants=plot.participants(),
        links=plot.links((me, other) for other in reached),
        facts=_facts(status, host, space),
        uploads=tuple(upload(one) for one in (await _ask(node, "share.status") or [])[:SHOWN]),
        shares=await _shares(node),
        runs=await _runs(node),
        refusals=await _refusals(node),
        feed=_feed(node),
    )


def _facts(status: dict[str, Any], host: dict[str, Any], space: dict[str, Any]) -> tuple[Fact, ...]:
    facts = _of_space(space)
    facts += [
        Fact(label="agreements", value=", ".join(status.get("agreements", ())) or "none"),
        Fact(label="term", value=str(host.get("term", "-"))),
        Fact(label="host", value=str(host.get("host") or "none")),
    ]
    facts += [Fact(label="waits on you", value=one["words"]) for one in status.get("inbox", ())]
    facts += [
        Fact(label="stuck", value=f"{one['about']} {one['why']}") for one in status.get("stuck", ())
    ]
    return tuple(facts)


def _of_space(space: dict[str, Any]) -> list[Fact]:
    """Who belongs to it, who decides, and how often that was changed."""
    if not space:
        return []
    founded = f"epoch {space['epoch']}" if space["founded"] else "not founded yet"
    return [
        Fact(label="space", value=f"{space['name']}, {founded}"),
        Fact(label="members", value=f"{len(space['members'])}, decide by {space['admission']}"),
    ]


async def _shares(node: Node) -> tuple[Row, ...]:
    found = await _ask(node, "share.list") or []
    return tuple(
        Row(
            cells=(one["owner"], str(one["rows"] or "-"), one["share"][:8], one["verdict"] or "-"),
            tone="good" if one["verdict"] == "kept" else "",
        )
        for one in found[:SHOWN]
    )


async def _runs(node: Node) -> tuple[Row, ...]:
    found = await _ask(node, "run.list") or []
    return tuple(
        Row(
            cells=(
                str(one["number"] or "-"),
                one["entry"],
                str(one["contributors"] or "-"),
                one["code"] or one["outcome"],
            ),
            tone=TONES.get(one["outcome"], "bad"),
        )
        for one in reversed(found[-SHOWN:])
    )


async def _refusals(node: Node) -> tuple[Row, ...]:
    found = await _ask(node, "refusal.list", limit=SHOWN) or []
    return tuple(
        Row(cells=(_clock(one["at"]), one["code"], one["rule"], one["set_by"]), tone="bad")
        for one in found
    )


def _feed(node: Node) -> tuple[Row, ...]:
    happenings = node.happenings
    newest = happenings.since(happenings.count - SHOWN)
    return tuple(
        Row(cells=(_clock(one.at), str(one.details.get("author", "")), one.event, one.id[:8]))
        for one in reversed(newest)
    )


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(at))
