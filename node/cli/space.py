"""village space: found, join, look, vote, change, remove, leave."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

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
    advisor: Annotated[
        list[str] | None, typer.Option(help="Whose advisories count: @name or did:key.")
    ] = None,
    floors: Annotated[
        Path | None, typer.Option(help="The least that attestation asks everywhere, YAML.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Default: NAME.charter")] = None,
) -> None:
    """Write a charter; every founder joins with its file, and so signs it."""
    from node.cli.show import tell

    founders = [_founder(text) for text in founder]
    found = call(
        "space.new",
        name=name,
        purpose=purpose,
        founders=founders,
        registrars=registrar or [],
        advisors=advisor or [],
        floors=None if floors is None else read(floors),
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
    subject: Annotated[str, typer.Argument(help='Short id of the join or change, or "charter".')],
    no: Annotated[bool, typer.Option("--no", help="Vote no.")] = False,
    reason: Annotated[str | None, typer.Option(help="Words for the others.")] = None,
    space: Space = None,
) -> None:
    """Vote on an admission or a change, or sign the charter."""
    from node.cli.show import tell

    choice = "no" if no else "yes"
    tell(call("space.vote", subject=subject, choice=choice, reason=reason, space=space))


@app.command(epilog="Example: village space members")
def members(space: Space = None) -> None:
    """Who belongs to a space, and who votes."""
    from node.cli.show import tell

    tell(call("space.members", space=space))


@app.command(
    epilog="Example: village space change --advisor @nki --recovery-days 3 --reason 'as agreed'"
)
def change(
    reason: Annotated[str, typer.Option(help="Why, in words for the others.")],
    role: Annotated[list[str] | None, typer.Option(help="@NAME=ROLE[,ROLE] of a member.")] = None,
    registrar: Annotated[
        list[str] | None, typer.Option(help="All of them from now on: @name or did:key.")
    ] = None,
    advisor: Annotated[list[str] | None, typer.Option(help="All of them from now on.")] = None,
    recovery_days: Annotated[int | None, typer.Option(help="Days for a veto.")] = None,
    floors: Annotated[Path | None, typer.Option(help="Least that attestation asks, YAML.")] = None,
    space: Space = None,
) -> None:
    """Propose new terms, roles and voters; the voters of now decide."""
    from node.cli.show import tell

    tell(
        call(
            "space.change",
            reason=reason,
            roles=role,
            registrars=registrar,
            advisors=advisor,
            recovery_days=recovery_days,
            floors=read(floors) if floors is not None else None,
            space=space,
        )
    )


@app.command(epilog="Example: village space remove @sponsor --reason 'contract ended'")
def remove(
    who: Annotated[str, typer.Argument(help="@name or did:key.")],
    reason: Annotated[str, typer.Option(help="Why, in words for the others.")],
    space: Space = None,
) -> None:
    """Propose to remove a participant."""
    from node.cli.show import tell

    tell(call("space.remove", who=who, reason=reason, space=space))


@app.command(epilog="Example: village space leave --reason 'study closed'")
def leave(
    reason: Annotated[str, typer.Option(help="Why, in words for the others.")],
    space: Space = None,
) -> None:
    """Leave a space for good; agreements in force go on."""
    from node.cli.show import tell

    tell(call("space.leave", reason=reason, space=space))


@app.command(epilog="Example: village space history")
def history(space: Space = None) -> None:
    """Every epoch, what it altered, and what is proposed next."""
    from node.cli.show import tell

    tell(call("space.history", space=space), _history)


def _history(rows: list[dict[str, Any]]) -> Iterator[str]:
    from node.cli.show import date

    for row in rows:
        when = f", {date(row['at'])}" if row["at"] else ""
        yield f"epoch {row['epoch']}  {row['state']}  {row['change'][:12]}  by {row['by']}{when}"
        if row["reason"]:
            yield f"    why: {row['reason']}"
        for line in row["alters"]:
            yield f"    {line}"
