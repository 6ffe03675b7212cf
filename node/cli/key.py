"""village key: the keys of this participant."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from node.cli.talk import call, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Keys and identity card.")


@app.command("list", epilog="Example: village key list")
def list_() -> None:
    """The keys that the root key delegates."""
    from node.cli.show import tell

    tell(call("key.list"))


@app.command(epilog="Example: village key export --out hospital-b.card")
def export(
    out: Annotated[Path | None, typer.Option(help="Default: NAME.card; - prints it.")] = None,
) -> None:
    """Write the identity card, which others need to invite this participant."""
    from node.cli.show import tell

    found = call("key.export")
    target = out or Path(f"{found['name']}.card")
    write(target, found["card"].encode() + b"\n")
    if str(target) != "-":
        tell({**found, "out": str(target)}, _exported)


def _exported(found: dict[str, str]) -> Iterator[str]:
    yield f"{found['out']}: {found['name']} {found['did']}"
