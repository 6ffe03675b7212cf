"""What the live page shows, as plain values, and where each participant stands on its map. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

WIDTH: Final = 760
HEIGHT: Final = 500
"""Units of the map's view box; the page scales it."""

TONES: Final = {"released": "good", "ordered": "", "early": "", "running": ""}
"""How a run or order looks by its outcome; every other is bad."""

_RADIUS_X: Final = 300
_RADIUS_Y: Final = 195
_MIDDLE: Final = 229
"""Above the half: names stand below their participant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One participant on the map. `role` picks the colour, `state` the ring: up, host, standby,
    down.
    """

    name: str
    role: str
    state: str
    note: str
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Two who talk; `kind` is "talk", or "share" where a sealed share went."""

    x1: int
    y1: int
    x2: int
    y2: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One line of state."""

    label: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a table, already in words; `tone` is "", "good" or "bad"."""

    cells: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One share on its way. `done` is a per cent, or none where nobody knows the whole; `words` say
    how much, how fast and how long still, `way` how it goes, `waits` what else must happen first.
    """

    name: str
    done: int | None
    words: str
    way: str
    waits: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Everything on the page at one moment."""

    title: str
    simulated: bool
    participants: tuple[Participant, ...]
    links: tuple[Link, ...]
    facts: tuple[Fact, ...] = ()
    uploads: tuple[Upload, ...] = ()
    shares: tuple[Row, ...] = ()
    runs: tuple[Row, ...] = ()
    refusals: tuple[Row, ...] = ()
    cipher: tuple[str, ...] = ()
    feed: tuple[Row, ...] = ()


@dataclass(slots=True)
class Plot:
    """Places participants on an ellipse, in the order given, and draws who talks to whom."""

    roles: Mapping[str, str]
    states: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def participants(self) -> tuple[Participant, ...]:
        """Everybody with a place."""
        return tuple(
            Participant(
                name=name,
                role=role,
                state=self.states.get(name, "up"),
                note=self.notes.get(name, ""),
                x=x,
                y=y,
            )
            for (name, role), (x, y) in zip(
                self.roles.items(), _places(len(self.roles)), strict=True
            )
        )

    def links(self, talks: Iterable[tuple[str, str]], kind: str = "talk") -> tuple[Link, ...]:
        """A line for each pair of names that have a place; a pair counts once."""
        places = dict(zip(self.roles, _places(len(self.roles)), strict=True))
        pairs = {(min(pair), max(pair)) for pair in talks}
        known = sorted((a, b) for a, b in pairs if a != b and a in places and b in places)
        return tuple(
            Link(x1=places[a][0], y1=places[a][1], x2=places[b][0], y2=places[b][1], kind=kind)
            for a, b in known
        )


def hex_lines(data: bytes, width: int = 24) -> tuple[str, ...]:
    """Bytes as people look at them: `width` to a line, in hex, four to a group."""
    starts = range(0, len(data), width)
    return tuple(data[start : start + width].hex(" ", 4) for start in starts)


def _places(count: int) -> Sequence[tuple[int, int]]:
    angles = (math.tau * index / max(count, 1) - math.pi / 2 for index in range(count))
    return [
        (
            round(WIDTH / 2 + _RADIUS_X * math.cos(angle)),
            round(_MIDDLE + _RADIUS_Y * math.sin(angle)),
        )
        for angle in angles
    ]
