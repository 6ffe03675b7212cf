"""village peer: the nodes that this node knows."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Nodes known here.")


@app.command("list", epilog="Example: village peer list")
def list_() -> None:
    """Every known node, whose it is, and whether it answers."""
    from node.cli.show import tell

    tell(call("peer.list"), _peers)


def _peers(found: list[dict[str, Any]]) -> Iterator[str]:
    from node.cli.show import date

    for one in found:
        state = "reached" if one["reached"] else f"not reached, last seen {date(one['seen'])}"
        yield f"{one['owner']['name'] if one['owner'] else 'unknown'}  {state}"
        yield from (f"  {address}" for address in one["addresses"] or [one["peer"]])
    if not found:
        yield "no node is known yet"


@app.command(epilog="Example: village peer add /ip4/192.0.2.7/tcp/4150/p2p/12D3Koo...")
def add(address: Annotated[str, typer.Argument(help="Multiaddr with PeerId.")]) -> None:
    """Remember where a node can be dialled."""
    from node.cli.show import tell

    tell(call("peer.add", address=address))
