"""village space: found, join, look, vote."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from node.cli.talk import call, card, read, usage, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Collaboration spaces.")

Space = Annotated[str | None, typer.Option("--space", help="Name or short id of the space.")]


@app.command(
    epilog="Example: village space new lung --purpose 'Lung cancer research' "
    "--founder a.card:data-provider --founder r.card:registrar --registrar @nki"
)
def new(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    purpose: Annotated[str, typer.Option(help="What it is for, in words.")],
    founder: Annotated[list[str], typer.Option(help="CARD:ROLE[,ROLE], once for each founder.")],
    registrar: Annotated[list[str] | None, typer.Option(help="@name or did:key.")] = None,
    out: Annotated[Path | None, typer.Option(help="Default: NAME.charter")] = None,
) -> None:
    """Write a charter; every founder joins with its file, and so signs it."""
    from node.cli.show import tell

    founders = [_founder(text) for text in founder]
    found = call(
        "space.new", name=name, purpose=purpose, founders=founders, registrars=registrar or []
    )
    target = out or Path(f"{name}.charter")
    write(target, base64.b64decode(found["file"]))
    tell({**found, "out": str(target)})


def _founder(text: str) -> dict[str, object]:
    file, colon, roles = text.rpartition(":")
    if not colon:
        usage(f"{text} is not CARD:ROLE[,ROLE].")
    return {"card": card(Path(file)), "roles": roles.split(",")}


@app.command(epilog="Example: village space join lung.charter")
def join(
    file: Annotated[Path, typer.Argument(help="Charter or invitation file, or -.")],
    address: Annotated[list[str] | None, typer.Option(help="Where members can be dialled.")] = None,
) -> None:
    """Join: a founder signs the charter, a guest accepts its invite."""
    from node.cli.show import tell

    tell(call("space.join", file=read(file), addresses=address))


@app.command("list", epilog="Example: village space list")
def list_() -> None:
    """The spaces that this node follows."""
    from node.cli.show import tell

    tell(call("space.list"))


@app.command(epilog="Example: village space show")
def show(
    space: Annotated[str | None, typer.Argument(help="Default: the only one.")] = None,
) -> None:
    """Members, roles, credentials, and who waits."""
    from node.cli.show import tell

    tell(call("space.show", space=space))


@app.command(epilog="Example: village space vote 9c1e")
def vote(
    subject: Annotated[str, typer.Argument(help='Short id of the join, or "charter".')],
    no: Annotated[bool, typer.Option("--no", help="Vote no.")] = False,
    reason: Annotated[str | None, typer.Option(help="Words for the others.")] = None,
    space: Space = None,
) -> None:
    """Vote on an admission."""
    from node.cli.show import tell

    choice = "no" if no else "yes"
    tell(call("space.vote", subject=subject, choice=choice, reason=reason, space=space))
