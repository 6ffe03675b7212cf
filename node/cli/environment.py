"""village algorithm env: the packages that algorithms may import, by name and digest."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.algorithm_local import node_names, progress, telling
from node.cli.talk import call

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What algorithms may import, by digest."
)


@app.command(epilog="Example: village algorithm env build scientific")
def build(
    lock: Annotated[
        str, typer.Argument(help="scientific, or a lock file with the hash of each wheel.")
    ],
    to: Annotated[Path | None, typer.Option(help="Folder; default: among those of `list`.")] = None,
    name: Annotated[str | None, typer.Option(help="Default: that of the lock file.")] = None,
) -> None:
    """Install a lock into a folder, and say its digest; no daemon is needed."""
    from node import environments
    from node.cli.show import tell

    file = environments.lock_of(lock)
    known = name or file.name.removesuffix(".lock").removesuffix(".txt")
    with telling():
        target = (to or environments.home() / known).absolute()
        built = environments.build(file, target, progress())
        environments.register(known, built.folder)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    tell(
        {
            "name": known,
            "digest": built.digest.hex(),
            "folder": str(built.folder),
            "already": built.already,
        },
        lambda one: [
            f"{'already' if one['already'] else 'built'}: {one['name']}  {one['folder']}",
            f"sha256:{one['digest']}",
        ],
    )


@app.command("list", epilog="Example: village algorithm env list")
def list_() -> None:
    """Environments known on this machine, and by name at the node if one runs."""
    from node import environments
    from node.cli.show import tell

    with telling():
        folders = environments.local()
        here = environments.digests(folders)
    there = node_names()
    tell(
        [
            {
                "name": name,
                "digest": (there.get(name) or here[name]).hex(),
                "folder": str(folders[name]) if name in folders else None,
                "node": _at_node(there.get(name), here.get(name)),
            }
            for name in sorted({*folders, *there})
        ]
    )


@app.command("name", epilog="Example: village algorithm env name scientific ./scientific")
def name_(
    name: Annotated[str, typer.Argument(help="As manifests and agreements call it.")],
    what: Annotated[
        str | None,
        typer.Argument(help="Its digest, or its folder here; default: the folder of this name."),
    ] = None,
) -> None:
    """Let a name mean an environment, here and at the node."""
    from node import environments
    from node.cli.show import tell

    with telling():
        folder = Path(what) if what is not None and Path(what).is_dir() else None
        if what is None:
            folder = environments.local().get(name)
            if folder is None:
                fix = "village algorithm env build, or give a digest or a folder."
                raise environments.EnvironmentFault(f"{name!a} is not known here.", fix)
        if folder is not None:
            digest = environments.measure(folder).hex()
            environments.register(name, folder)
        else:
            digest = str(what)
    found: dict[str, Any] = call("algorithm.env", name=name, digest=digest)
    tell(found)


def _at_node(there: bytes | None, here: bytes | None) -> str:
    if there is None:
        return "not named"
    return "other digest here" if here not in (None, there) else "named"
