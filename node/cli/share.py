"""village share: bring own data into an agreement."""

from typing import Annotated

import typer

from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Sealed shares.")

For = Annotated[str | None, typer.Option("--agreement", help="Name or short id.")]


@app.command(epilog="Example: village share push lung")
def push(
    source: Annotated[str | None, typer.Argument(help="Name under [sources].")] = None,
    agreement: For = None,
    anew: Annotated[bool, typer.Option("--anew", help="Give up an unfinished push.")] = False,
) -> None:
    """Seal a source to the elected enclave, and send it."""
    from node.cli.show import tell

    tell(call("share.push", source=source, id=agreement, anew=anew))


@app.command("list", epilog="Example: village share list")
def list_(agreement: For = None) -> None:
    """The organizations' shares, with what the enclave counted."""
    from node.cli.show import tell

    tell(call("share.list", id=agreement))


@app.command(epilog="Example: village share show")
def show(
    share: Annotated[str | None, typer.Argument(help="Short id; default: the own one.")] = None,
    agreement: For = None,
) -> None:
    """One share: header, enclaves that can open it, receipt."""
    from node.cli.show import tell

    tell(call("share.show", share=share, id=agreement))
