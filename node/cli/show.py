"""How answers look: JSON for programs, words for people; what peers wrote stays harmless."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from node.cli.talk import CHOICES

_HIDDEN: Final = frozenset({"file", "raw", "card", "text", "did"})
_TIMES: Final = frozenset({"at", "until", "seen", "ends", "credential_until"})
_SHORT: Final = 12


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
    """Any answer in words: a table for a list, a line for each field."""
    if isinstance(value, list):
        table(value)
        return
    width = max((len(name) for name in value if _is_plain(value[name])), default=0)
    for name, item in value.items():
        if _is_plain(item) and name not in _HIDDEN:
            sys.stdout.write(f"{_label(name):<{width}}  {_cell(name, item)}\n")
    for name, item in value.items():
        if not _is_plain(item) and item:
            sys.stdout.write(f"\n{_label(name)}\n")
            table(item if isinstance(item, list) else [item])


def table(rows: list[Any]) -> None:
    """Rows under the names of their fields; rows of plain values one a line."""
    if not rows:
        sys.stdout.write("none\n")
        return
    if not isinstance(rows[0], dict):
        for row in rows:
            sys.stdout.write(f"  {_cell('', row)}\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    names = [name for name in rows[0] if name not in _HIDDEN]
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        grid.add_column(Text(_label(name)), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(_cell(name, row.get(name))) for name in names))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False).print(grid)


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
