"""village audit: the life of an agreement in one file."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.agreement import Which
from node.cli.talk import REFUSED, call, read, usage, write
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


@app.command(epilog="Example: village audit affected lung.village")
def affected(
    agreement: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|AGREEMENT]", help="Audit file, or name or short id."),
    ] = None,
) -> None:
    """List the past runs that an advisory touches; exit code 3 if there is one."""
    from node.cli.show import tell

    offline = agreement is not None and Path(agreement).is_file()
    found = survey(Path(agreement or "")) if offline else call("audit.affected", id=agreement)
    tell(found, lines)
    if found["affected"]:
        raise typer.Exit(REFUSED)


def survey(file: Path) -> dict[str, Any]:
    """What an audit file says, without any node."""
    from protocol.audit import affected
    from protocol.errors import ProtocolError

    try:
        found = affected.survey(read(file), int(time.time()))
    except ProtocolError as error:
        usage(str(error))
    return {
        "runs": found.runs,
        "advisories": found.advisories,
        "faults": found.faults,
        "affected": [affected.as_json(one, found.name) for one in found.affected],
    }


def lines(found: dict[str, Any]) -> Iterator[str]:
    """Affected runs in words."""
    for one in found["affected"]:
        ended = f"record {one['record'][:12]}" if one["ended"] else "started, not ended"
        yield f"{one['agreement']} run {one['run']}  term {one['term']} on {one['host']}, {ended}"
        reference = f" ({one['reference']})" if one["reference"] else ""
        yield f"  advisory     {one['advisory'][:12]} by {one['by']}: {one['reason']}{reference}"
        yield f"  measured by  {', '.join(one['measured_by'])}"
    looked = f"{found['runs']} runs, {found['advisories']} advisories in force"
    yield f"{len(found['affected'])} affected: {looked}"
    if found.get("faults"):
        yield f"the file has {found['faults']} faults: village audit verify"
