"""village peer: the nodes that this node knows."""

from typing import Annotated

import typer

from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Nodes known here.")


@app.command("list", epilog="Example: village peer list")
def list_() -> None:
    """Every known node, whose it is, and whether it answers."""
    from node.cli.show import tell

    tell(call("peer.list"))


@app.command(epilog="Example: village peer add /ip4/192.0.2.7/tcp/4150/p2p/12D3Koo...")
def add(address: Annotated[str, typer.Argument(help="Multiaddr with PeerId.")]) -> None:
    """Remember where a node can be dialled."""
    from node.cli.show import tell

    tell(call("peer.add", address=address))
