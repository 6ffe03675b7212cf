"""village contract: data contracts of a space."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call, read

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Data contracts (ODCS).")


@app.command(epilog="Example: village contract publish lung-v1.odcs.yaml")
def publish(
    file: Annotated[Path, typer.Argument(help="ODCS file, or -.")],
    note: Annotated[str | None, typer.Option(help="Words for the members.")] = None,
    space: Space = None,
) -> None:
    """Publish a data contract to a space."""
    from node.cli.show import tell

    tell(call("contract.publish", file=read(file), note=note, space=space))


@app.command("list", epilog="Example: village contract list")
def list_(space: Space = None) -> None:
    """The data contracts of a space."""
    from node.cli.show import tell

    tell(call("contract.list", space=space))
