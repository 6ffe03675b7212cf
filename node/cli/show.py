"""How answers look: JSON for programs, words for people; what peers wrote stays harmless."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from node.cli.talk import CHOICES

_HIDDEN: Final = frozenset({"file", "raw", "card", "text", "did"})
_TIMES: Final = frozenset({"at", "until", "seen", "ends", "credential_until"})
_SHORT: Final = 12
_WIDE: Final = 160


def as_json(value: object) -> str:
    """The value as JSON text, pure ASCII: no answer can write on a terminal."""
    return json.dumps(value, indent=2)


def plain(text: object) -> str:
    """Text in which nothing moves the cursor, hides or turns around other text."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def tell(value: Any, human: Callable[[Any], Iterable[str]] | None = None) -> None:  # noqa: ANN401
    """Print an answer: JSON if asked for, else the lines of `human`, else all of it in words."""
    if CHOICES.json:
        sys.stdout.write(as_json(value) + "\n")
        return
    if human is not None:
        for line in human(value):
            sys.stdout.write(plain(line) + "\n")
        return
    everything(value)


def everything(value: Any) -> None:  # noqa: ANN401 (any JSON)
    """Any answer in words: a table for a list, a line for each field, deeper fields set in."""
    if isinstance(value, list):
        table(value)
        return
    _fields(value, "")


def _fields(value: dict[str, Any], margin: str) -> None:
    shown = {name: item for name, item in value.items() if name not in _HIDDEN}
    width = max((len(name) for name, item in shown.items() if _is_plain(item)), default=0)
    for name, item in shown.items():
        if _is_plain(item):
            sys.stdout.write(f"{margin}{_label(name):<{width}}  {_cell(name, item)}\n")
    for name, item in shown.items():
        if not _is_plain(item) and item:
            sys.stdout.write(f"\n{margin}{_label(name)}\n")
            if isinstance(item, dict):
                _fields(item, margin + "  ")
            else:
                table(item, margin + "  ")


def table(rows: list[Any], margin: str = "") -> None:
    """Rows under the names of their fields; where they do not fit side by side, a block each."""
    if not rows:
        sys.stdout.write(f"{margin}none\n")
        return
    if not isinstance(rows[0], dict):
        sys.stdout.writelines(f"{margin}{_cell('', row)}\n" for row in rows)
        return
    names = list(dict.fromkeys(name for row in rows for name in row if name not in _HIDDEN))
    grid = [[_label(name) for name in names]]
    grid += [[_cell(name, row.get(name)) for name in names] for row in rows]
    widths = [max(len(line[place]) for line in grid) for place in range(len(names))]
    if len(margin) + sum(widths) + 2 * len(widths) <= _columns():
        for line in grid:
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            sys.stdout.write(f"{margin}{'  '.join(cells).rstrip()}\n")
        return
    for place, row in enumerate(rows):
        sys.stdout.write("\n" if place else "")
        _fields(row, margin)


def _columns() -> int:
    """The width of the terminal; wide where nobody looks at it."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def date(at: int | None) -> str:
    """Unix seconds as a date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) if at else "never"


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return not value or not isinstance(value[0], dict)
    return not isinstance(value, dict)


def _label(name: str) -> str:
    return plain(name).replace("_", " ")


def _cell(name: str, value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name in _TIMES:
            return date(value)
        case list():
            return ", ".join(_cell(name, item) for item in value) or "-"
        case {"name": name_, **_rest}:
            return plain(name_)
        case dict():
            return ", ".join(f"{_label(k)}: {_cell(k, v)}" for k, v in value.items()) or "-"
        case str() if len(value) == 64 and set(value) <= set("0123456789abcdef"):
            return value[:_SHORT]
        case _:
            return plain(value)
