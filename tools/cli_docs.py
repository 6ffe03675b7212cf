"""Write docs/cli.md from the command tree itself.

``python tools/cli_docs.py`` writes the page; a test compares it with what is rendered here.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

sys.path.insert(0, str(Path(__file__).parents[1]))

from node.cli.main import COMMANDS, Nouns

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """\
# Commands

`village NOUN VERB`. Every command has `--json`, `--socket PATH` and `--help`. The socket is
`--socket`, else `VILLAGE_SOCKET`, else `/run/village/admin.sock`, else that of the user below
`XDG_RUNTIME_DIR`. Where an id is asked for, its first four characters do, and a participant is
`@name` or a did:key. FILE can be `-`. Not on a terminal, nothing is asked: say `--yes`.

| exit code | means |
|---|---|
| 0 | done, or verified without finding; doing it again says "already" |
| 1 | failed |
| 2 | usage or configuration |
| 3 | a rule said no: refusal or finding, printed with who set it |
| 4 | not permitted on this socket |
| 5 | unknown or ambiguous id |
| 6 | waits on others |
| 7 | no daemon |
| 130 | interrupted |
"""

TAIL = """
This page is written by `python tools/cli_docs.py` from the commands themselves.
"""

COMMON = frozenset({"--json", "--socket", "--help"})


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_word(name, command) for name, command in commands()) + TAIL


def commands() -> Iterator[tuple[str, Any]]:
    """Every first word and its command, in the order of `village --help`."""
    app = typer.Typer(cls=Nouns, rich_markup_mode=None, add_completion=False)
    app.callback()(_nothing)
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        yield name, group.get_command(None, name)


def _nothing() -> None:
    """Commands are only looked at here."""


def verbs(line: str, command: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (typer's own click)
    """Every command at and below `line`, as it is typed: `village NOUN VERB`."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield line, command
        return
    for verb, one in inner.items():
        yield from verbs(f"{line} {verb}", one)


def _word(name: str, command: Any) -> str:  # noqa: ANN401
    line = f"village {name}"
    if getattr(command, "commands", None) is None:
        return f"\n## {line}\n" + _verb(line, command)
    sections = (f"\n### {verb}\n" + _verb(verb, one) for verb, one in verbs(line, command))
    return f"\n## {line}\n\n{_sentence(command.help)}\n" + "".join(sections)


def _verb(line: str, command: Any) -> str:  # noqa: ANN401
    words, _, example = (command.help or "").partition("Example: ")
    example = example or (command.epilog or "").removeprefix("Example: ")
    parts = [f"\n{_sentence(words)}\n"]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if not COMMON.intersection(one.opts)]
    if options:
        parts.append("\n| | meaning |\n|---|---|\n")
        parts += [f"| {_name(one)} | {_cell(one)} |\n" for one in options]
    usage = " ".join([line, *(_bare(one) for one in arguments)])
    shown = example.strip() or usage
    return "".join([*parts, f"\n    {' '.join(shown.split())}\n"])


def _name(one: Any) -> str:  # noqa: ANN401
    if one.param_type_name == "argument":
        return f"`{_bare(one)}`"
    long = max(one.opts, key=len)
    return f"`{long}`" if one.is_flag else f"`{long} {_value(one)}`"


def _bare(one: Any) -> str:  # noqa: ANN401
    name = str(one.metavar or one.name.upper().strip("_")).strip("[]")
    return name if one.required else f"[{name}]"


def _value(one: Any) -> str:  # noqa: ANN401
    return str(one.metavar or one.name.upper())


def _cell(one: Any) -> str:  # noqa: ANN401
    text = _sentence(getattr(one, "help", None))
    again = " More than once." if getattr(one, "multiple", False) else ""
    needed = " Must stand." if one.required and one.param_type_name == "option" else ""
    return f"{text}{again}{needed}".replace("|", "\\|").strip()


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> int:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
