"""village node: make and run the daemon."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from node.cli.talk import FAILED, REFUSED, USAGE

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The daemon of this machine.")

ConfigFile = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The node's configuration.")
]
DEFAULT = Path("/etc/village/node.toml")


@app.command(epilog="Example: village node init --config node.toml")
def init(config: ConfigFile = DEFAULT) -> None:
    """Make state folder, keys and identity. What is there already stays."""
    from node.cli.show import tell
    from node.config import ConfigError
    from node.state_folder import init as make
    from protocol.errors import ProtocolError

    try:
        found = make(config)
    except ConfigError as error:
        _leave(error, USAGE)
    except ProtocolError as error:
        _leave(error, FAILED)
    tell(
        found, lambda one: [f"{'already' if one['already'] else 'made'}: {one['name']}", one["did"]]
    )


@app.command(epilog="Example: village node run --config /etc/village/node.toml")
def run(config: ConfigFile = DEFAULT) -> None:
    """Run the node until SIGTERM. Logs are JSON on the standard error."""
    from node.config import ConfigError
    from node.daemon import run as serve
    from protocol.errors import ProtocolError

    try:
        raise typer.Exit(serve(config))
    except ConfigError as error:
        _leave(error, USAGE)
    except ProtocolError as error:
        _leave(error, FAILED)


BackupUnlock = Annotated[
    str,
    typer.Option("--unlock", help="Passphrase of FILE: prompt, file:PATH or systemd-creds:NAME."),
]


@app.command(epilog="Example: village node backup /media/usb/hospital-b.backup --unlock file:pass")
def backup(
    file: Annotated[Path, typer.Argument(help="Where the backup goes.")],
    unlock: BackupUnlock = "prompt",
    config: ConfigFile = DEFAULT,
) -> None:
    """Seal journal, sealing keys and configuration into one file; no key that signs is in it."""
    from node import config as configs
    from node.cli.show import tell
    from node.cli.talk import CHOICES, call
    from node.restore import back_up_anyhow

    def by_daemon(_: Path) -> None:
        call("node.snapshot")

    with leaving():
        CHOICES.socket = CHOICES.socket or configs.load(config).admin.socket
        found = back_up_anyhow(config, file, unlock, by_daemon)
    tell(found, _backed_up)


def _backed_up(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['out']}: {found['bytes']} bytes"
    if found["root"]:
        yield "The root key is not in it: village key export-root takes it to a safe place."


@app.command(
    epilog="Example: village node restore hospital-b.backup --root root.key --config node.toml"
)
def restore(
    file: Annotated[Path, typer.Argument(help="What village node backup wrote.")],
    root: Annotated[Path, typer.Option(help="File of village key export-root.")],
    unlock: BackupUnlock = "prompt",
    root_unlock: Annotated[str, typer.Option(help="Passphrase of the root key.")] = "prompt",
    newest: Annotated[
        Path | None, typer.Option("--card", help="Newest card, if keys changed since the backup.")
    ] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Make a node of a backup. The root delegates a fresh record key in place of the lost one.

    The node first asks the others what it forgot, and votes in nothing that was open before.
    """
    from node import config as configs
    from node import restore as restoring
    from node import root_key, state_folder
    from node.cli.show import tell
    from node.cli.talk import card
    from protocol.identity import open_identity

    with leaving():
        seed = root_key.read(root, root_unlock, config)
        last = root_key.newest(root, open_identity(card(newest)) if newest else None)
        found = restoring.restore(file, unlock, config, seed, last)
        root_key.remember(root, state_folder.identity(configs.load(config).node.state))
    tell(found, lambda one: [f"restored: {one['name']}, revision {one['revision']}", one["did"]])


@contextmanager
def leaving() -> Iterator[None]:
    """What goes wrong on this machine is said in one line, with an exit code."""
    from node.config import ConfigError
    from protocol.errors import ProtocolError, Refused

    try:
        yield
    except ConfigError as error:
        _leave(error, USAGE)
    except Refused as error:
        _leave(error, REFUSED)
    except ProtocolError as error:
        _leave(error, FAILED)


def _leave(error: Exception, code: int) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise typer.Exit(code)
