"""village refusal: what this node refused."""

from typing import Annotated

import typer

from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What was refused, and why.")


@app.command("list", epilog="Example: village refusal list --limit 20")
def list_(limit: Annotated[int, typer.Option(help="At most so many.")] = 20) -> None:
    """The newest refusals."""
    from node.cli.show import tell

    found = call("refusal.list", limit=limit)
    names = ("refusal", "code", "party", "detail", "set_by", "at")
    tell([{name: one[name] for name in names} for one in found])


@app.command(epilog="Example: village refusal show 9c1e")
def show(refusal: Annotated[str, typer.Argument(help="Short id.")]) -> None:
    """One refusal in full."""
    from node.cli.explain import refusal as words
    from node.cli.show import tell

    tell(call("refusal.show", id=refusal), words)
