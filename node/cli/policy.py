"""village policy: what this node says yes to by itself."""

import typer

from node.cli.agreement import Which
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The acceptance policy.")


@app.command(epilog="Example: village policy check lung-survival-2026")
def check(agreement: Which = None) -> None:
    """What the policy says to the newest version of a proposal."""
    from node.cli.show import tell

    tell(call("policy.check", id=agreement))


@app.command(epilog="Example: village policy show")
def show() -> None:
    """The rules of the policy file."""
    from node.cli.show import tell

    tell(call("policy.show"))
