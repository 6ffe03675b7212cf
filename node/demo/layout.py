"""How a line of the story fits a screen: folded at words, its time of day at the right margin.

The line itself stays in one piece in events.jsonl; only what people see is folded. Pure.
"""

import re
from typing import Final

WIDEST: Final = 119
"""Columns that people read without effort; a wider terminal is not filled."""

_NARROWEST: Final = 40
_CLOCK: Final = re.compile(r"(.*\S) {4,}(\d+:\d\d)")
_COLUMN: Final = re.compile(r" {2,}(?=\S)")
_SCENE: Final = re.compile(r"[ \d]\d [A-Z0-9 ]+? {2,}")
_STOP: Final = " · "
_FULL: Final = 0.7
"""How full a line is at least that ends where a part of the sentence does."""
_ROOM: Final = 16
"""Columns that a folded line must have for its words."""


def laid_out(text: str, columns: int = WIDEST) -> list[str]:
    """The lines of `text` on a screen of so many columns."""
    width = max(_NARROWEST, min(columns, WIDEST))
    return [line for one in text.split("\n") for line in _one(one, width)]


def _one(text: str, width: int) -> list[str]:
    timed = _CLOCK.fullmatch(text)
    if timed is None:
        return _folded(text, width)
    said, clock = timed.groups()
    lines = _folded(said, width)
    if len(lines[-1]) + 2 + len(clock) > width:
        lines.append("")
    return [*lines[:-1], lines[-1] + clock.rjust(width - len(lines[-1]))]


def _folded(text: str, width: int) -> list[str]:
    """Fold at spaces, under the last column of the line; a word longer than a line stays whole."""
    indent = _indent(text, width)
    lines, rest = [], text
    while len(rest) > width:
        blank = _break(rest, indent, width)
        if blank <= indent:
            break
        lines.append(rest[:blank].rstrip())
        rest = " " * indent + rest[blank + 1 :].lstrip()
    return [*lines, rest]


def _break(text: str, indent: int, width: int) -> int:
    """Where to fold: after a part of the sentence if that fills the line, else at a word."""
    stop = text.rfind(_STOP, indent + 1, width)
    if stop >= _FULL * width:
        return stop + len(_STOP) - 1
    return text.rfind(" ", indent + 1, width + 1)


def _indent(text: str, width: int) -> int:
    """Where the text of a scene begins, or the last column of another line if words fit there."""
    scene = _SCENE.match(text)
    if scene is not None and scene.end() <= width - _ROOM:
        return scene.end()
    begins = [0, *(one.end() for one in _COLUMN.finditer(text))]
    return max(one for one in begins if one == 0 or one <= width - _ROOM)
