"""village credential: what a registrar says about organizations."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call, read, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Credentials by registrars.")

Which = Annotated[str, typer.Argument(metavar="CREDENTIAL", help="Short id.")]


@app.command(
    epilog="Example: village credential issue @hospital-b --name 'Hospital B' --country NL --no-id"
)
def issue(
    subject: Annotated[str, typer.Argument(help="@name or did:key.")],
    name: Annotated[str, typer.Option(help="Legal name.")],
    country: Annotated[str, typer.Option(help="Two letters.")],
    lei: Annotated[str | None, typer.Option(help="Legal entity identifier.")] = None,
    vat: Annotated[str | None, typer.Option(help="VAT number with country prefix.")] = None,
    no_id: Annotated[bool, typer.Option("--no-id", help="It has neither: you checked.")] = False,
    days: Annotated[int, typer.Option(help="Days for which it is valid.")] = 365,
    space: Space = None,
) -> None:
    """Vouch for an organization (registrars only); again before it ends, to renew."""
    from node.cli.show import tell

    tell(
        call(
            "credential.issue",
            subject=subject,
            legal_name=name,
            country=country,
            lei=lei,
            vat=vat,
            no_id=no_id,
            days=days,
            space=space,
        )
    )


@app.command("list", epilog="Example: village credential list")
def list_(space: Space = None) -> None:
    """Every credential of a space."""
    from node.cli.show import tell

    tell(call("credential.list", space=space))


@app.command(epilog="Example: village credential show 9c1e")
def show(credential: Which, space: Space = None) -> None:
    """One credential, with its claims by their CWT names."""
    from node.cli.show import tell

    tell(call("credential.show", credential=credential, space=space))


@app.command(epilog="Example: village credential present --to 'Ethics board' --out us.credential")
def present(
    to: Annotated[str, typer.Option(help="For whom it is meant.")],
    out: Annotated[Path, typer.Option(help="File, or - for the standard output.")],
    space: Space = None,
) -> None:
    """Write a file that shows the own credential to somebody outside the space."""
    from node.cli.show import tell

    found = call("credential.present", to=to, space=space)
    write(out, base64.b64decode(found["file"]))
    if str(out) != "-":
        tell({**found, "out": str(out)})


@app.command(epilog="Example: village credential check us.credential")
def check(file: Annotated[Path, typer.Argument(help="What credential present wrote.")]) -> None:
    """Verify a credential that somebody shows."""
    from node.cli.show import tell

    tell(call("credential.check", file=base64.b64encode(read(file)).decode()))


@app.command(epilog="Example: village credential revoke 9c1e --reason 'closed'")
def revoke(
    credential: Which,
    reason: Annotated[str, typer.Option(help="Why.")],
    space: Space = None,
) -> None:
    """Take a credential back (its registrar only)."""
    from node.cli.show import tell

    tell(call("credential.revoke", credential=credential, reason=reason, space=space))
