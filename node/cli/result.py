"""village result: what was released to this participant."""

from pathlib import Path
from typing import Annotated

import typer

from node.cli.talk import call, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Released results.")

Run = Annotated[str | None, typer.Argument(help="Number or short id of the run.")]
Output = Annotated[str | None, typer.Option(help="Name of the output.")]


@app.command("list", epilog="Example: village result list")
def list_() -> None:
    """Every result received."""
    from node.cli.show import tell

    tell(call("result.list"))


@app.command(epilog="Example: village result show 2 --name model")
def show(run: Run = None, name: Output = None) -> None:
    """A result in the clear; default: of the newest run."""
    from node.cli.show import as_json, tell
    from protocol.attestation.policy import exposed

    found = call("result.show", run=run, name=name)
    label = exposed([found["technology"]])
    head = f"{found['name']} of run {found['number']} of {found['agreement']}  {label}"
    tell(found, lambda one: [head, *as_json(one["result"]).splitlines()])


@app.command(epilog="Example: village result export 2 --out model.json")
def export(
    run: Run = None,
    name: Output = None,
    out: Annotated[Path | None, typer.Option(help="Default: run-NUMBER-NAME.json")] = None,
) -> None:
    """Write a result to a file, byte for byte as the run record commits to it."""
    from node.cli.show import tell

    found = call("result.export", run=run, name=name)
    target = out or Path(Path(found["file"]).name)
    write(target, found["text"].encode())
    if str(target) != "-":
        tell({"out": str(target)})
