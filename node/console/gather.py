"""From the answers of nodes to a Picture: the page asks what any client of the admin API may."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node.console.picture import TONES, Fact, Picture, Plot, Row, Upload, hex_lines
from node.console.uploads import upload

SHOWN: Final = 8
"""Refusals on the page."""

OVERTAKEN: Final = frozenset({"record.gap", "topic.unknown"})
"""Refusals that only say that a record came before what it builds on: no news for people."""

FEED: Final = 14
"""Events on the page."""

CIPHER: Final = 240
"""Bytes of ciphertext on the page."""

Ask = Callable[..., Awaitable[Any]]
"""Asks one node a method of its admin API; raises OSError where it does not answer."""


@dataclass(frozen=True, slots=True)
class Source:
    """A node that the page asks. `role` is what it is on the map."""

    name: str
    role: str
    ask: Ask


@dataclass(frozen=True, slots=True)
class Event:
    """One event that was heard, and where."""

    node: str
    at: float
    event: str
    id: str


Answers = Mapping[str, Any]


async def look(
    sources: Sequence[Source], roles: Mapping[str, str], title: str, events: Sequence[Event]
) -> Picture:
    """Ask every node, and draw what they say. Who does not answer is drawn as down."""
    status = {one.name: await _try(one, "node.status") for one in sources}
    up = {name: found for name, found in status.items() if found is not None}
    view = await _first(sources, "host.show")
    shares = await _first(sources, "share.list") or []
    runs = await _first(sources, "run.list") or []
    plot = Plot(roles, _states(roles, up, view), _notes(view))
    talks = [(name, peer) for name, found in up.items() for peer in found["peers"] if peer in up]
    owners = [one["owner"] for one in shares] + _people(roles, shares, runs)
    sent = [(owner, view["host"]) for owner in owners] if view and view["host"] else []
    return Picture(
        title=title,
        simulated=view is None or not view.get("confidential", False),
        participants=plot.participants(),
        links=plot.links(talks) + plot.links(sent, "share"),
        facts=tuple(_facts(up, view, await _first(sources, "agreement.list"))),
        uploads=tuple(await _uploads(sources)),
        shares=tuple(_share(one) for one in shares),
        runs=tuple(_run(one) for one in runs),
        refusals=tuple(await _refusals(sources)),
        cipher=await _cipher(sources, view),
        feed=tuple(_feed(events)),
    )


async def _try(source: Source, method: str) -> Any:  # noqa: ANN401 (any JSON)
    """What a node says; None if it does not answer, or says no."""
    try:
        return await source.ask(method)
    except OSError:
        return None


async def _first(sources: Sequence[Source], method: str) -> Any:  # noqa: ANN401 (any JSON)
    """What the first node says that says anything: all see the same agreement."""
    for source in sources:
        found = await _try(source, method)
        if found:
            return found
    return None


def _people(roles: Mapping[str, str], shares: Any, runs: Any) -> list[str]:  # noqa: ANN401
    """The people on the map, once a run counted more persons than the organizations brought."""
    brought = sum(one["people"] or 0 for one in shares)
    more = any((one["contributors"] or 0) > brought for one in runs)
    return [name for name, role in roles.items() if role == "people" and more]


def _states(roles: Mapping[str, str], up: Answers, view: Any) -> dict[str, str]:  # noqa: ANN401
    states = {name: "up" if name in up or role == "people" else "down"
              for name, role in roles.items()}  # fmt: skip
    if view and view["host"] in up:
        states[view["host"]] = "host"
        states.update({name: "standby" for name in view["standbys"] if name in up})
    return states


def _notes(view: Any) -> dict[str, str]:  # noqa: ANN401 (any JSON)
    if not view or not view["host"]:
        return {}
    return {
        view["host"]: f"host, term {view['term']}",
        **dict.fromkeys(view["standbys"], "standby"),
    }


def _facts(up: Answers, view: Any, agreements: Any) -> Iterable[Fact]:  # noqa: ANN401 (any JSON)
    memory = [found["memory"] // 2**20 for found in up.values()]
    yield Fact(label="nodes", value=f"{len(up)} answer, {max(memory, default=0)} MiB each at most")
    for one in agreements or []:
        yield Fact(label="agreement", value=f"{one['name']}: {one['state']}")
        yield Fact(label="digest", value=(one["digest"] or "")[:12])
        signed = len(one["signed"])
        yield Fact(label="signed", value=f"{signed} of {signed + len(one['unsigned'])}")
    if view and view["host"]:
        technology = "" if view["confidential"] else ", NOT CONFIDENTIAL"
        yield Fact(label="host", value=f"{view['host']}, term {view['term']}")
        yield Fact(label="standby", value=", ".join(view["standbys"]) or "none")
        yield Fact(label="enclave", value=f"{view['technology'].upper()}{technology}")
    stuck = {one["why"] for found in up.values() for one in found["stuck"]}
    yield Fact(label="waits", value="; ".join(sorted(stuck)[:2]) or "nothing")


def _share(one: Answers) -> Row:
    state = one["verdict"] or "on its way"
    rows = "" if one["rows"] is None else str(one["rows"])
    return Row(
        cells=(one["owner"], rows, one["share"][:12], state),
        tone="good" if state == "kept" else "",
    )


def _run(one: Answers) -> Row:
    outcome = f"{one['outcome']} {one['code'] or ''}".strip()
    return Row(
        cells=(
            str(one["number"] or ""),
            f"{one['entry']} {one['order'][:8]}",
            str(one["contributors"] or ""),
            outcome,
        ),
        tone=TONES.get(one["outcome"], "bad"),
    )


async def _uploads(sources: Sequence[Source]) -> Iterable[Upload]:
    """What is on its way, from every node that says so."""
    return [
        upload(one, source.name)
        for source in sources
        for one in await _try(source, "share.status") or []
    ]


async def _refusals(sources: Sequence[Source]) -> Iterable[Row]:
    found: list[tuple[int, str, Any]] = []
    for source in sources:
        refusals = await _try(source, "refusal.list") or []
        found += [(one["at"], source.name, one) for one in refusals]
    newest = sorted(found, key=lambda item: item[:2], reverse=True)
    told = [
        (name, one["detail"] or one["rule"], one["set_by"], one["code"])
        for _, name, one in newest
        if one["code"] not in OVERTAKEN
    ]
    return [Row(cells=cells, tone="bad") for cells in list(dict.fromkeys(told))[:SHOWN]]


async def _cipher(sources: Sequence[Source], view: Any) -> tuple[str, ...]:  # noqa: ANN401
    """What lies on the host's disk, of the newest share."""
    hosts = [one for one in sources if view and one.name == view["host"]]
    for host in hosts:
        stored = [one for one in await _try(host, "share.stored") or [] if one["begins"]]
        if stored:
            return hex_lines(bytes.fromhex(stored[-1]["begins"])[:CIPHER])
    return ()


def _feed(events: Sequence[Event]) -> Iterable[Row]:
    """Each record once, where it was heard first; the newest on top."""
    first: dict[tuple[str, str], Event] = {}
    for one in events:
        first.setdefault((one.event, one.id), one)
    for one in reversed(list(first.values())[-FEED:]):
        clock = time.strftime("%H:%M:%S", time.localtime(one.at))
        yield Row(
            cells=(clock, one.node, one.event, one.id[:12]),
            tone="bad" if one.event == "refused" else "",
        )
