"""village evidence: look at attestation evidence by hand; no node, no configuration, no network."""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.talk import CHOICES, REFUSED, usage

if TYPE_CHECKING:
    from protocol.attestation.inspect import Inspection
    from protocol.kinds.attestation import Attestation

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Attestation evidence, without any node."
)

BASELINE = "baseline"


@app.command(
    epilog="Example: village evidence verify --technology nitro --evidence document.cose"
    " --policy baseline"
)
def verify(
    *,
    technology: Annotated[
        str,
        typer.Option(metavar="NAME", help="nitro, sev-snp, tdx, sgx or tpm."),
    ],
    evidence: Annotated[
        Path, typer.Option(metavar="FILE", help="What the hardware produced; or -.")
    ],
    policy: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The attestation block of an agreement, YAML; or the word baseline: any "
            "measurement passes, so it is for inspection only.",
        ),
    ],
    endorsement: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Certificate or revocation list, DER or PEM."),
    ] = None,
    collateral: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Intel's collateral, JSON.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As if it were this time, ISO 8601; default: now."),
    ] = None,
) -> None:
    """Say whether evidence is genuine, what it proves and what not; exit code 3 if refused."""
    from node.cli.show import as_json, plain
    from protocol.attestation import inspect

    if technology not in inspect.TECHNOLOGIES:
        usage(f"{technology!r:.40} is no technology: {', '.join(inspect.TECHNOLOGIES)}.")
    found = _inspect(technology, evidence, endorsement or [], collateral, policy, _moment(at))
    if CHOICES.json:
        sys.stdout.write(as_json(inspect.as_json(found)) + "\n")
    else:
        sys.stdout.writelines(plain(line) + "\n" for line in inspect.lines(found))
    if not found.accepted:
        raise typer.Exit(REFUSED)


def _inspect(
    technology: str,
    evidence: Path,
    endorsement: list[Path],
    collateral: Path | None,
    policy: str,
    now: int,
) -> "Inspection":
    from protocol.attestation import endorsements, inspect
    from protocol.errors import Refused

    judged_by, terms = ("own", _policy(Path(policy))) if policy != BASELINE else (BASELINE, None)
    raw, files = _read(evidence), [_read(file) for file in endorsement]
    given = None if collateral is None else _read(collateral)
    try:
        named = endorsements.by_name(technology, files, given)
    except Refused as error:
        return inspect.refused(technology, judged_by, error.code, error.detail, now)
    return inspect.inspect(technology, endorsements.raw(technology, raw), named, terms, now)


def _policy(path: Path) -> "Attestation":
    from node.config import ConfigError
    from node.documents import attestation

    try:
        return attestation.load(path)
    except ConfigError as error:
        usage(str(error))


def _read(path: Path) -> bytes:
    """A file, or one byte more of it than evidence may have: enough to be refused."""
    from protocol import limits

    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(limits.EVIDENCE + 1)
        with path.open("rb") as file:
            return file.read(limits.EVIDENCE + 1)
    except (OSError, ValueError) as error:
        usage(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.")


def _moment(text: str | None) -> int:
    """Unix seconds of an ISO 8601 time; without a zone it is UTC."""
    if text is None:
        return int(time.time())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        usage(f"{text!r:.40} is no time: as in 2026-06-01T12:00:00Z.")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
