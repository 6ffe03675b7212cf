"""village algorithm: bundles of code and their reviews."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli import algorithm_local, environment
from node.cli.algorithm_local import Folder
from node.cli.space import Space
from node.cli.talk import REFUSED, call, unfold

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Algorithms and reviews.")
app.registered_commands += algorithm_local.app.registered_commands
app.add_typer(environment.app, name="env")

Bundle = Annotated[str, typer.Argument(help="Name or short id.")]


@app.command(epilog="Example: village algorithm publish ./cox-ph")
def publish(
    folder: Folder,
    note: Annotated[str | None, typer.Option(help="Words for the members.")] = None,
    confidential: Annotated[
        bool, typer.Option("--confidential", help="Only reviewers and enclaves see the code.")
    ] = False,
    reviewers: Annotated[str, typer.Option(help="Who may read it: @a,@b.")] = "",
    space: Space = None,
) -> None:
    """Publish a bundle to a space."""
    from node.cli.show import tell

    tell(
        call(
            "algorithm.publish",
            folder=folder.absolute(),
            note=note,
            space=space,
            confidential=confidential,
            reviewers=[name for name in reviewers.split(",") if name],
        )
    )


@app.command("open", epilog="Example: village algorithm open cox-ph --to ./cox-ph")
def open_(
    bundle: Bundle,
    to: Annotated[Path, typer.Option(help="A folder, which is made; nobody else may look in.")],
    space: Space = None,
) -> None:
    """Write the files of an algorithm, and say what is wrong with its SQL; of a confidential one if
    it was sealed to you.
    """
    from node.cli.show import tell

    found = call("algorithm.open", bundle=bundle, space=space)
    unfold(to, found["files"])
    told = {name: found[name] for name in ("name", "bundle", "faults")}
    tell({**told, "to": str(to)}, _opened)
    if found["faults"]:
        raise typer.Exit(REFUSED)


def _opened(told: dict[str, Any]) -> Iterator[str]:
    yield f"{told['name']}  {told['bundle']}: opened in {told['to']}"
    yield from (f"fault: {fault}" for fault in told["faults"])


@app.command(epilog="Example: village algorithm review cox-ph --text 'Read all of it.'")
def review(
    bundle: Bundle,
    text: Annotated[str, typer.Option(help="What was looked at, and found.")],
    reject: Annotated[bool, typer.Option("--reject", help="Do not approve.")] = False,
    space: Space = None,
) -> None:
    """Sign a review."""
    from node.cli.show import tell

    verdict = "rejected" if reject else "approved"
    tell(call("algorithm.review", bundle=bundle, verdict=verdict, text=text, space=space))


@app.command("list", epilog="Example: village algorithm list")
def list_(space: Space = None) -> None:
    """The algorithms of a space."""
    from node.cli.show import tell

    tell(call("algorithm.list", space=space))


@app.command(epilog="Example: village algorithm show cox-ph")
def show(bundle: Bundle, space: Space = None) -> None:
    """Manifest, files and reviews of an algorithm."""
    from node.cli.show import tell

    tell(call("algorithm.show", bundle=bundle, space=space))
