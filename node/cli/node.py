"""village node: make and run the daemon."""

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from node.cli.talk import FAILED, USAGE

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


def _leave(error: Exception, code: int) -> NoReturn:
    sys.stderr.write(f"{error}\n")
    raise typer.Exit(code)
