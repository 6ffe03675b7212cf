"""village enrolment: letters for people, on a registrar's node."""

from typing import Annotated

import typer

from node.cli.talk import call

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Letters with one-time codes (registrar)."
)

Person = Annotated[str, typer.Argument(help="Value of the person column in the person's rows.")]


@app.command(epilog="Example: village enrolment new row-003 --category patient")
def new(
    person: Person,
    category: Annotated[str, typer.Option(help="As in agreements.")] = "patient",
    days: Annotated[int, typer.Option(help="Days for which the code is valid.")] = 30,
) -> None:
    """Make a letter; its code is shown this once."""
    from node.cli.show import tell

    tell(call("enrolment.new", person=person, category=category, days=days))


@app.command("list", epilog="Example: village enrolment list")
def list_() -> None:
    """Every letter, and what became of it."""
    from node.cli.show import tell

    tell(call("enrolment.list"))


@app.command(epilog="Example: village enrolment revoke row-003")
def revoke(person: Person) -> None:
    """Admit a person to nothing more."""
    from node.cli.show import tell

    tell(call("enrolment.revoke", person=person))
