"""Where the lines of the demo go: a terminal whose lines rewrite themselves, a pipe, or JSON.

Every line comes from the chronicle; a screen only decides how it looks.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import Final, Protocol, TextIO

from node.demo.layout import laid_out
from node.demo.record import Line

_BOLD: Final = "\x1b[1m"
_DIM: Final = "\x1b[2m"
_RED: Final = "\x1b[31m"
_PLAIN: Final = "\x1b[0m"
_REWRITE: Final = "\r\x1b[2K"
_STYLES: Final = {"title": _BOLD, "command": _DIM, "note": _DIM, "warning": _RED}


class Screen(Protocol):
    """Shows lines."""

    def show(self, line: Line) -> None:
        """Show a line that stays."""
        ...

    def progress(self, text: str) -> None:
        """Say what goes on now; nothing of it stays."""
        ...


@dataclass(slots=True)
class Live:
    """A terminal: the line of what goes on now rewrites itself."""

    out: TextIO

    def show(self, line: Line) -> None:
        """Show a line that stays."""
        style = _STYLES.get(line.kind, "")
        self.out.write(_REWRITE)
        for one in laid_out(line.text, shutil.get_terminal_size().columns - 1):
            self.out.write(f"{style}{one}{_PLAIN if style else ''}\n")
        self.out.flush()

    def progress(self, text: str) -> None:
        """Show what goes on now, in the width of the terminal."""
        width = shutil.get_terminal_size().columns - 1
        self.out.write(f"{_REWRITE}{_DIM}{text[:width]}{_PLAIN}")
        self.out.flush()


@dataclass(slots=True)
class Plain:
    """A pipe, or NO_COLOR: only lines that stay, without codes."""

    out: TextIO

    def show(self, line: Line) -> None:
        """Show a line."""
        self.out.writelines(f"{one}\n" for one in laid_out(line.text))
        self.out.flush()

    def progress(self, text: str) -> None:
        """Show nothing: a log has no use for it."""


@dataclass(slots=True)
class Json:
    """Each line as one JSON object."""

    out: TextIO

    def show(self, line: Line) -> None:
        """Show a line."""
        self.out.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
        self.out.flush()

    def progress(self, text: str) -> None:
        """Show nothing: a program reads what happened."""


def choose(*, as_json: bool, out: TextIO = sys.stdout) -> Screen:
    """The screen for `out` (https://no-color.org)."""
    if as_json:
        return Json(out)
    if out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return Live(out)
    return Plain(out)
