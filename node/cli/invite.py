"""village invite: ask somebody into a space."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call, card, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Invitations into a space.")


@app.command(epilog="Example: village invite new sponsor.card --role data-consumer")
def new(
    file: Annotated[Path, typer.Argument(metavar="CARD", help="Identity card of the guest.")],
    role: Annotated[list[str], typer.Option(help="A role, once for each.")],
    days: Annotated[int, typer.Option(help="Days for which it stands.")] = 30,
    out: Annotated[Path | None, typer.Option(help="Default: CARD.invitation")] = None,
    space: Space = None,
) -> None:
    """Invite one participant; its invitation file is bound to its key."""
    from node.cli.show import tell

    found = call("invite.new", card=card(file), roles=role, days=days, space=space)
    target = out or Path(f"{file.stem}.invitation")
    write(target, base64.b64decode(found["file"]))
    tell({**found, "out": str(target)})


@app.command("list", epilog="Example: village invite list")
def list_(space: Space = None) -> None:
    """Every invite, and what became of it."""
    from node.cli.show import tell

    tell(call("invite.list", space=space))
