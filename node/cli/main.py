"""The command `village`: nouns and verbs, loaded when they are needed, and one way to end."""

import importlib
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer._click.exceptions import ClickException
from typer.core import TyperCommand, TyperGroup

from node.cli.talk import CHOICES, FAILED, INTERRUPTED, USAGE

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "status": ("node.cli.status", "status"),
    "inbox": ("node.cli.status", "inbox"),
    "doctor": ("node.cli.status", "doctor"),
    "events": ("node.cli.status", "events"),
    "demo": ("node.cli.demo", "demo"),
    "verify": ("node.cli.verify", "verify"),
    "explain": ("node.cli.explain", "explain"),
    "use": ("node.cli.agreement", "use"),
    "console": ("node.cli.console", "console"),
    "version": ("node.cli.status", "version"),
    "node": ("node.cli.node", "app"),
    "key": ("node.cli.key", "app"),
    "peer": ("node.cli.peer", "app"),
    "space": ("node.cli.space", "app"),
    "invite": ("node.cli.invite", "app"),
    "credential": ("node.cli.credential", "app"),
    "enrolment": ("node.cli.enrolment", "app"),
    "contract": ("node.cli.contract", "app"),
    "algorithm": ("node.cli.algorithm", "app"),
    "agreement": ("node.cli.agreement", "app"),
    "policy": ("node.cli.policy", "app"),
    "host": ("node.cli.host", "app"),
    "advisory": ("node.cli.advisory", "app"),
    "share": ("node.cli.share", "app"),
    "run": ("node.cli.run", "app"),
    "result": ("node.cli.result", "app"),
    "refusal": ("node.cli.refusal", "app"),
    "record": ("node.cli.record", "app"),
    "audit": ("node.cli.audit", "app"),
    "evidence": ("node.cli.evidence", "app"),
    "vault": ("node.vault.cli", "vault_app"),
    "consent": ("node.vault.cli", "consent_app"),
}
"""Word -> the module and the name in it: a Typer application (a noun) or a function (a verb)."""


class Nouns(TyperGroup):
    """The first word after `village`; imports only what it means."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 (typer's own click)
        """Every word, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401
        """The command behind a word, with the options that every command has."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        found = getattr(importlib.import_module(module), name)
        return _with_common(_command(found, cmd_name))


def _command(found: Any, name: str) -> Any:  # noqa: ANN401 (a Typer or a function)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    epilog = getattr(found, "example", None)
    single.command(name, epilog=epilog)(found)
    return typer.main.get_command(single)


def _with_common(command: Any) -> Any:  # noqa: ANN401
    """Add --json and --socket to each verb."""
    if isinstance(command, TyperGroup):
        for verb in command.commands.values():
            _with_common(verb)
    elif isinstance(command, TyperCommand):
        named = {option for one in command.params for option in one.opts}
        command.params += [one for one in _common() if not named.intersection(one.opts)]
    return command


@cache
def _common() -> list[Any]:
    """The options of every command, made by Typer from a command that has just these."""
    probe = typer.Typer(add_completion=False)
    probe.command()(_options)
    found = [one for one in typer.main.get_command(probe).params if one.name != "help"]
    for option in found:
        option.expose_value = False
    return found


def _take_json(value: bool) -> bool:
    CHOICES.json = CHOICES.json or value
    return value


def _take_socket(value: Path | None) -> Path | None:
    CHOICES.socket = value or CHOICES.socket
    return value


def _options(
    *,
    socket: Annotated[
        Path | None,
        typer.Option(
            callback=_take_socket,
            metavar="PATH",
            help="Admin socket of the node; default: VILLAGE_SOCKET, then the system's.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", callback=_take_json, help="Print JSON.")] = False,
) -> None:
    """Never called: its parameters are what counts."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code. Never a traceback."""
    app = typer.Typer(cls=Nouns, rich_markup_mode=None, no_args_is_help=True, add_completion=False)
    app.callback(help=__doc__)(_root)
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="village", standalone_mode=False)
    except ClickException as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except Exception as error:
        sys.stderr.write(f"village: {type(error).__name__}: {error}\n")
        return FAILED
    return code if isinstance(code, int) else 0


def _root() -> None:
    """Nothing happens before a noun."""
