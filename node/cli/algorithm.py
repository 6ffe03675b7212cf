"""village algorithm: bundles of code and their reviews."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.space import Space
from node.cli.talk import call

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Algorithms and reviews.")

Folder = Annotated[Path, typer.Argument(help="Folder with manifest.yaml.")]
Bundle = Annotated[str, typer.Argument(help="Name or short id.")]


@app.command(epilog="Example: village algorithm env scientific a77d...10c4")
def env(
    name: Annotated[str, typer.Argument(help="As manifests call it.")],
    digest: Annotated[str, typer.Argument(help="As village-enclave measure prints it.")],
) -> None:
    """Name an environment by its digest."""
    from node.cli.show import tell

    tell(call("algorithm.env", name=name, digest=digest))


@app.command(epilog="Example: village algorithm pack ./cox-ph")
def pack(folder: Folder) -> None:
    """Say the digest of a folder; publish nothing."""
    from node.cli.show import tell

    tell(call("algorithm.pack", folder=folder.absolute()))


@app.command(epilog="Example: village algorithm publish ./cox-ph")
def publish(
    folder: Folder,
    note: Annotated[str | None, typer.Option(help="Words for the members.")] = None,
    space: Space = None,
) -> None:
    """Publish a bundle to a space."""
    from node.cli.show import tell

    tell(call("algorithm.publish", folder=folder.absolute(), note=note, space=space))


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
