"""village record: one signed record."""

from typing import Annotated

import typer

from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Signed records.")


@app.command(epilog="Example: village record show 9c1e")
def show(record: Annotated[str, typer.Argument(help="Short id.")]) -> None:
    """A record: header, body, place in its feed."""
    from node.cli.show import tell

    tell(call("record.show", id=record))
