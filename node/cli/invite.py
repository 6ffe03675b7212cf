"""village invite: ask somebody into a space."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call, card, read, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Invitations into a space.")

Id = Annotated[str, typer.Argument(metavar="ID", help="Short id of the invite.")]
Reason = Annotated[str, typer.Option(help="Why, in words for the others.")]


@app.command(epilog="Example: village invite new sponsor.card --role data-consumer")
def new(
    file: Annotated[Path, typer.Argument(metavar="CARD", help="Identity card of the guest.")],
    role: Annotated[list[str], typer.Option(help="A role, once for each.")],
    days: Annotated[int, typer.Option(help="Days for which it stands.")] = 30,
    contract: Annotated[str | None, typer.Option(help="Data contract to provide.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: CARD.invitation")] = None,
    space: Space = None,
) -> None:
    """Invite one participant; its invitation file is bound to its key."""
    from node.cli.show import tell

    found = call(
        "invite.new", card=card(file), roles=role, days=days, contract=contract, space=space
    )
    target = out or Path(f"{file.stem}.invitation")
    write(target, base64.b64decode(found["file"]))
    tell({**found, "out": str(target)})


@app.command("list", epilog="Example: village invite list")
def list_(space: Space = None) -> None:
    """Every invite, and what became of it."""
    from node.cli.show import tell

    tell(call("invite.list", space=space))


@app.command(epilog="Example: village invite counts")
def counts(space: Space = None) -> None:
    """How many invites were opened, declined, joined, admitted, and expired."""
    from node.cli.show import tell

    tell(call("invite.counts", space=space))


@app.command(epilog="Example: village invite show 9c1e")
def show(id: Id, space: Space = None) -> None:  # noqa: A002 (the word of the API)
    """One invite, and what became of it."""
    from node.cli.show import tell

    tell(call("invite.show", id=id, space=space))


@app.command(epilog="Example: village invite revoke 9c1e --reason 'wrong department'")
def revoke(id: Id, reason: Reason, space: Space = None) -> None:  # noqa: A002
    """Take an own invite back."""
    from node.cli.show import tell

    tell(call("invite.revoke", id=id, reason=reason, space=space))


@app.command(epilog="Example: village invite decline sponsor.invitation --reason 'no capacity'")
def decline(
    file: Annotated[Path, typer.Argument(help="The invitation file, or -.")], reason: Reason
) -> None:
    """Say no to an invitation."""
    from node.cli.show import tell

    tell(call("invite.decline", file=read(file), reason=reason))
