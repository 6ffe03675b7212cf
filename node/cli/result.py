"""village result: what was released to this participant."""

import base64
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from node.cli.talk import call, usage, write

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Released results.")

Run = Annotated[str | None, typer.Argument(help="Number or short id of the run.")]
Output = Annotated[str | None, typer.Option(help="Name of the output.")]
As = Literal["json", "jsonld", "turtle", "ntriples"]

_ENDINGS = {
    ".arrow": "arrow",
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
    ".jsonld": "jsonld",
    ".ttl": "turtle",
    ".nt": "ntriples",
}
"""How the name of a file ends, and the form that it asks for."""


@app.command("list", epilog="Example: village result list")
def list_() -> None:
    """Every result received."""
    from node.cli.show import tell

    tell(call("result.list"))


@app.command(epilog="Example: village result show 2 --name model --as turtle")
def show(
    run: Run = None,
    name: Output = None,
    form: Annotated[As, typer.Option("--as", help="As rows, or as RDF by the agreed context.")] = (
        "json"
    ),
) -> None:
    """A result in the clear, and how the gate looked at it; default: of the newest run."""
    from node.cli.show import as_json, tell

    found = call("result.show", run=run, name=name)
    if form != "json":
        write(Path("-"), _as(call("result.export", run=run, name=name), form))
        return
    if found["result"] is None:
        found["result"] = _rows(call("result.export", run=run, name=name))
    tell(found, lambda one: [*_head(one), *as_json(one["result"]).splitlines()])


@app.command(epilog="Example: village result export 2 --name cells --out cells.parquet")
def export(
    run: Run = None,
    name: Output = None,
    out: Annotated[
        Path | None, typer.Option(help="Default: as it is; else .arrow .parquet .csv .json .ttl …")
    ] = None,
) -> None:
    """Write a result to a file: byte for byte as the run record commits to it, or in another form.

    The ending of the file says which: .arrow, .parquet, .csv, .json, .jsonld, .ttl, .nt.
    """
    from node.cli.show import tell

    found = call("result.export", run=run, name=name)
    target = out or Path(Path(found["file"]).name)
    to = _ENDINGS.get(target.suffix, found["format"] if str(target) == "-" else "")
    if not to:
        usage(f"{target.name}: the ending is none of {', '.join(_ENDINGS)}.")
    write(target, _as(found, to))
    if str(target) != "-":
        tell({"out": str(target), "form": to})


def _as(found: dict[str, Any], to: str) -> bytes:
    content = base64.b64decode(found["raw"])
    if to == found["format"]:
        return content
    from node.cli.convert import converted

    context = base64.b64decode(found["context"] or "")
    return converted(content, found["format"], to, context, found["iri"])


def _rows(found: dict[str, Any]) -> Any:  # noqa: ANN401 (JSON)
    import json

    return json.loads(_as(found, "json"))


def _head(found: dict[str, Any]) -> list[str]:
    from node.cli.run import checks
    from protocol.attestation.policy import exposed

    label = exposed([found["technology"]])
    head = f"{found['name']} of run {found['number']} of {found['agreement']}  {label}"
    return [head, *checks(found)]
