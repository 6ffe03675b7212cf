"""village audit: the life of an agreement in one file."""

import base64
from pathlib import Path
from typing import Annotated

import typer

from node.cli.agreement import Which
from node.cli.talk import call, write
from node.cli.verify import verify

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Audit files.")

app.command(epilog="Example: village audit verify lung.village")(verify)


@app.command(epilog="Example: village audit export --out lung.village")
def export(
    agreement: Which = None,
    out: Annotated[Path | None, typer.Option(help="Default: AGREEMENT.village")] = None,
) -> None:
    """Write everything that was signed, with evidence and leaves; nothing sealed."""
    from node.cli.show import tell

    found = call("audit.export", id=agreement)
    target = out or Path(Path(found["name"]).name)
    write(target, base64.b64decode(found.pop("file")))
    if str(target) != "-":
        tell({**found, "out": str(target)})
