"""village verify: check a file offline; no daemon, no network."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from node.cli.talk import CHOICES, REFUSED, read


def verify(
    file: Annotated[Path, typer.Argument(help="Audit file, receipt or record; or -.")],
) -> None:
    """Verify an audit file, a receipt or a record; exit code 3 if there is a finding.

    Example: village verify audit.village
    """
    from node.cli.show import as_json, plain
    from protocol.audit import report
    from protocol.audit.examine import examine

    found = examine(read(file), int(time.time()))
    if CHOICES.json:
        sys.stdout.write(as_json(report.as_json(found)) + "\n")
    else:
        sys.stdout.writelines(plain(line) + "\n" for line in report.lines(found))
    if not found.clean:
        raise typer.Exit(REFUSED)
