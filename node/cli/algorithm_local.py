"""village algorithm new, check, try, pack: work on files alone, with no daemon."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from node.cli.talk import CHOICES, FAILED, REFUSED, USAGE, parameters, socket_path, usage
from protocol.errors import ProtocolError

if TYPE_CHECKING:
    from node.algorithm_check import Known

app = typer.Typer(rich_markup_mode=None)

Folder = Annotated[Path, typer.Argument(help="Folder with manifest.yaml.")]
Environment = Annotated[
    Path | None,
    typer.Option(
        help="Folder of packages; default: the one that `env list` has for the manifest.",
    ),
]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@app.command(epilog="Example: village algorithm new mean-stay --kind sql")
def new(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -.")],
    kind: Annotated[Literal["python", "sql"], typer.Option(help="Its language.")] = "python",
    folder: Annotated[Path | None, typer.Option("--dir", help="Default: the name.")] = None,
) -> None:
    """Make a folder that works at once: manifest, code, contract, model, sample."""
    from node.cli.show import tell
    from node.documents import template

    if not _NAME.fullmatch(name):
        usage(f"{name!a} is no name. Small letters, digits and -, at most 64.")
    target = folder or Path(name)
    with telling():
        files = template.write(kind, name, target)
    found = {"name": name, "kind": kind, "folder": str(target), "files": files}
    sample = f"stays-v1={target}/sample/stays-v1.csv"
    tell(
        found,
        lambda _: [
            f"made {target}: {', '.join(files)}",
            f"next: village algorithm try {target} --table {sample} -p by=sex",
        ],
    )


@app.command(epilog="Example: village algorithm check ./cox-ph")
def check(folder: Folder, environment: Environment = None) -> None:
    """Look for every fault without running anything."""
    from node.algorithm_check import check as look
    from node.cli.show import tell

    with telling():
        found = look(folder, _known(folder, environment))
    manifest = found.bundle.manifest
    answer = {
        "name": manifest.name,
        "version": manifest.version,
        "kind": manifest.kind,
        "entries": [entry.name for entry in manifest.entries],
        "files": len(found.bundle.files),
        "unchecked": list(found.unchecked),
    }
    tell(
        answer,
        lambda one: [
            f"{one['name']} {one['version']}: no fault in {one['files']} files",
            *(f"not checked: {what}" for what in one["unchecked"]),
        ],
    )


@app.command(epilog="Example: village algorithm pack ./cox-ph")
def pack(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Write the bundle to this file.")] = None,
    environment: Environment = None,
) -> None:
    """Say the digest that publishing the folder gives; publish nothing."""
    from node.cli.show import tell
    from node.cli.talk import write
    from node.documents import algorithm_bundle

    with telling():
        packed = algorithm_bundle.pack(folder, _known(folder, environment).names)
    if out is not None:
        write(out, packed.raw)
    tell(
        {
            "bundle": packed.digest.hex(),
            "size": len(packed.raw),
            "name": packed.manifest.name,
            "version": packed.manifest.version,
            "kind": packed.manifest.kind,
            "environment": packed.manifest.environment.hex(),
        }
    )


@app.command("try", epilog="Example: village algorithm try ./mean-stay --table stays-v1=stays.csv")
def try_(
    folder: Folder,
    table: Annotated[
        list[str] | None, typer.Option(help="DATASET=FILE: rows, as CSV, Parquet, Arrow or XLSX.")
    ] = None,
    entry: Annotated[str | None, typer.Option(help="Default: the only one.")] = None,
    given: Annotated[list[str] | None, typer.Option("-p", help="NAME=VALUE.")] = None,
    parameters_: Annotated[str | None, typer.Option("--parameters", help="JSON object.")] = None,
    contract: Annotated[
        list[str] | None, typer.Option(help="DATASET=FILE instead of the bundle's own.")
    ] = None,
    person: Annotated[
        list[str] | None, typer.Option(help="DATASET=COLUMN: who a row is about.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: a state that --out wrote before.")
    ] = None,
    min_contributors: Annotated[int, typer.Option(help="As in an agreement.", min=1)] = 10,
    precision: Annotated[int, typer.Option(help="Decimals that may leave.", min=0, max=15)] = 6,
    out: Annotated[Path | None, typer.Option(help="A folder for what may leave.")] = None,
    environment: Environment = None,
) -> None:
    """Run it on rows of your own: same sandbox, same gate, with the whole log."""
    from node.algorithm_check import check as look
    from node.cli.show import tell
    from node.trial import Wanted, run

    with telling():
        known = _known(folder, environment)
        checked = look(folder, known)
        if known.folder is None:
            usage("No folder of its environment is known here: village algorithm env build.")
        answer = run(
            Wanted(
                checked=checked,
                environment=known.folder,
                tables={name: Path(file).absolute() for name, file in _pairs(table)},
                contracts={name: Path(file).absolute() for name, file in _pairs(contract)},
                persons=dict(_pairs(person)),
                states={name: Path(file).absolute() for name, file in _pairs(state)},
                entry=entry,
                parameters=parameters(given or [], parameters_),
                min_contributors=min_contributors,
                precision=precision,
                out=out,
            )
        )
    tell(answer, _tried)
    if answer["status"] != "ok":
        raise typer.Exit(FAILED)
    if not answer["gate"]["passed"]:
        raise typer.Exit(REFUSED)


def _tried(answer: dict[str, Any]) -> Iterator[str]:
    """A trial in words."""
    from node.cli.show import as_json

    gate = answer["gate"]
    rows = ", ".join(f"{count} rows of {name}" for name, count in answer["rows"].items())
    yield answer["simulated"]
    yield f"tier {answer['tier']}, {answer['entry']}, {rows}, {answer['people']} people: "
    yield f"  {answer['status']} after {answer['seconds']} s"
    yield from _block("log", answer["log"])
    for name, value in answer["returned"].items():
        yield from _block(f"returned {name}", as_json(value))
    for one in gate["checks"]:
        verdict = "passed" if one["passed"] else "NO"
        yield f"gate  {one['rule']:<18} limit {one['limit']}, is {one['measured']}: {verdict}"
    if "code" in gate:
        yield f"gate  {gate['code']}: {gate['detail']}"
        yield f"  fix: {gate['fix']}"
    for name, value in answer["released"].items():
        yield from _block(f"may leave: {name}", as_json(value))


def _block(title: str, text: str) -> Iterator[str]:
    lines = text.strip().splitlines()
    if lines:
        yield title
        yield from (f"  {line}" for line in lines)


def _pairs(given: Iterable[str] | None) -> Iterator[tuple[str, str]]:
    for pair in given or ():
        name, equals, value = pair.partition("=")
        if not equals or not name or not value:
            usage(f"{pair} is not NAME=VALUE.")
        yield name, value


def _known(folder: Path, chosen: Path | None) -> "Known":
    """The environment of a folder: as a running node and this machine know it."""
    from node.algorithm_check import known

    return known(folder, chosen, node_names())


def node_names() -> dict[str, bytes]:
    """Name -> digest of the environments that the node knows; none where no node runs."""
    from node.admin.client import AdminClient, AdminError

    with AdminClient(socket_path()) as client:
        try:
            return {
                one["name"]: bytes.fromhex(one["digest"])
                for one in client.call("algorithm.environments")
            }
        except AdminError:
            return {}


@contextmanager
def telling(code: int = FAILED) -> Iterator[None]:
    """Say what is wrong and what would fix it, and leave: with USAGE where a file is wrong."""
    from node.config import ConfigError

    try:
        yield
    except ConfigError as error:
        _leave(error, USAGE, [_problem(error.file, one) for one in error.problems])
    except ProtocolError as error:
        _leave(error, code, [])


def _problem(file: str, one: Any) -> dict[str, Any]:  # noqa: ANN401 (a Problem)
    return {
        "file": one.file or file,
        "line": one.line,
        "key": one.key,
        "detail": one.detail,
        "fix": one.fix,
    }


def _leave(error: ProtocolError, code: int, faults: list[dict[str, Any]]) -> NoReturn:
    from node.cli.show import as_json, plain

    message = getattr(error, "detail", "") or str(error)
    fix = getattr(error, "fix", "") or getattr(getattr(error, "rule", None), "fix", "")
    if CHOICES.json:
        answer = {"code": error.code, "message": message, "fix": fix, "faults": faults}
        sys.stderr.write(as_json(answer) + "\n")
        raise typer.Exit(code)
    lines = str(error).splitlines() if faults else [f"{error.code}: {message}"]
    sys.stderr.writelines(f"{plain(line)}\n" for line in lines)
    if fix and not faults:
        sys.stderr.write(f"  fix: {plain(fix)}\n")
    raise typer.Exit(code)


def progress() -> Callable[[str], None]:
    """Where progress goes: the standard error, a line at a time, rewritten on a terminal."""
    live = sys.stderr.isatty()

    def tell(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text[:78]}" if live else f"{text}\n")
        sys.stderr.flush()

    return tell
