"""village credential: what a registrar says about organizations."""

from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Credentials by registrars.")


@app.command(
    epilog="Example: village credential issue @hospital-b --name 'Hospital B' --country NL"
)
def issue(
    subject: Annotated[str, typer.Argument(help="@name or did:key.")],
    name: Annotated[str, typer.Option(help="Legal name.")],
    country: Annotated[str, typer.Option(help="Two letters.")],
    lei: Annotated[str | None, typer.Option(help="Legal entity identifier.")] = None,
    days: Annotated[int, typer.Option(help="Days for which it is valid.")] = 365,
    space: Space = None,
) -> None:
    """Vouch for an organization (registrars only)."""
    from node.cli.show import tell

    tell(
        call(
            "credential.issue",
            subject=subject,
            legal_name=name,
            country=country,
            lei=lei,
            days=days,
            space=space,
        )
    )


@app.command("list", epilog="Example: village credential list")
def list_(space: Space = None) -> None:
    """Every credential of a space."""
    from node.cli.show import tell

    tell(call("credential.list", space=space))


@app.command(epilog="Example: village credential revoke 9c1e --reason 'closed'")
def revoke(
    credential: Annotated[str, typer.Argument(help="Short id.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    space: Space = None,
) -> None:
    """Take a credential back."""
    from node.cli.show import tell

    tell(call("credential.revoke", credential=credential, reason=reason, space=space))
