"""village host: candidates and elections."""

from typing import Annotated

import typer

from node.cli.agreement import Which
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Enclave hosts and elections.")


@app.command("list", epilog="Example: village host list")
def list_(agreement: Which = None) -> None:
    """The candidates, and what the voters found."""
    from node.cli.show import tell

    tell(call("host.list", id=agreement))


@app.command(epilog="Example: village host show")
def show(agreement: Which = None) -> None:
    """The host of the current term."""
    from node.cli.show import tell

    found = call("host.show", id=agreement)
    tell(found)


@app.command(epilog="Example: village host explain --term 1")
def explain(
    agreement: Which = None,
    term: Annotated[int | None, typer.Option(help="Default: the current one.")] = None,
) -> None:
    """An election in full: verdicts, votes, lapses."""
    from node.cli.show import tell

    tell(call("host.explain", id=agreement, term=term))
