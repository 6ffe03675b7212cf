"""village enrolment: letters for people, on a registrar's node."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from node.cli.talk import call, confirm, usage

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Letters with one-time codes (registrar)."
)

Person = Annotated[str, typer.Argument(help="Value of the person column in the person's rows.")]
Category = Annotated[str, typer.Option(help="As in agreements.")]
Days = Annotated[int, typer.Option(help="Days for which the codes are valid.")]
Address = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Where vaults reach this node.")
]


@app.command(epilog="Example: village enrolment new row-003 --category patient")
def new(
    person: Person, category: Category = "patient", days: Days = 30, address: Address = None
) -> None:
    """Make a letter for one person; its code is shown this once."""
    from node.cli.show import tell

    tell(call("enrolment.new", person=person, category=category, days=days, address=address))


@app.command(epilog="Example: village enrolment letters --from people.csv --out letters.csv")
def letters(
    out: Annotated[Path, typer.Option(help="CSV file for the letters; never overwritten.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="CSV file with a column person.")
    ] = None,
    count: Annotated[int | None, typer.Option(help="Or so many, numbered from 1.")] = None,
    prefix: Annotated[str, typer.Option(help="What stands before the numbers.")] = "person-",
    qr: Annotated[Path | None, typer.Option(help="Folder for a QR code of each letter.")] = None,
    image: Annotated[Literal["svg", "png"], typer.Option(help="Kind of the QR codes.")] = "svg",
    category: Category = "patient",
    days: Days = 30,
    address: Address = None,
) -> None:
    """Make letters for many: codes to a CSV file, links to QR codes. Who has a letter that waits,
    or a vault, gets none: so it can be repeated.
    """
    from node.cli import letters as bulk
    from node.cli.show import tell

    if (source is None) == (count is None):
        usage("Say --from FILE or --count N.")
    people = bulk.read(source, category) if source else bulk.numbered(count or 0, prefix, category)
    with bulk.Letters(out, qr, image) as file:
        for batch in bulk.batches(people):
            found = call("enrolment.letters", people=batch, days=days, address=address)
            file.add(found)
    tell(file.said())


@app.command("list", epilog="Example: village enrolment list")
def list_() -> None:
    """Every letter, and what became of it."""
    from node.cli.show import tell

    tell(call("enrolment.list"))


@app.command(epilog="Example: village enrolment status")
def status() -> None:
    """How many letters wait, were used, expired or were cancelled."""
    from node.cli.show import tell

    tell(call("enrolment.status"))


@app.command(epilog="Example: village enrolment show row-003")
def show(person: Person) -> None:
    """One person: letters, credential, agreements."""
    from node.cli.show import tell

    tell(call("enrolment.show", person=person))


@app.command(epilog="Example: village enrolment cancel --all --yes")
def cancel(
    people: Annotated[
        list[str] | None, typer.Argument(metavar="[PERSON]…", help="Whose letters.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every letter that waits.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Make letters that nobody used yet worthless."""
    from node.cli.show import tell

    if bool(people) == all_:
        usage("Name people, or say --all.")
    if all_:
        confirm("Cancel every letter that waits?", yes)
    tell(call("enrolment.cancel", people=None if all_ else people))


@app.command(epilog="Example: village enrolment revoke row-003")
def revoke(person: Person) -> None:
    """Admit a person to nothing more, and cancel the person's letters."""
    from node.cli.show import tell

    tell(call("enrolment.revoke", person=person))
