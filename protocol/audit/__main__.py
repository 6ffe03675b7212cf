"""`python -m protocol.audit verify FILE [--json] [--at ISO]`: the verifier without a node.

Exit code 0: nothing found. 3: findings. 2: wrong usage, or a file that cannot be opened. The only
module of this package that touches files and the clock.
"""

import argparse
import json
import sys
import time
from datetime import datetime
from pathlib import Path

from protocol import limits
from protocol.audit import report
from protocol.audit.examine import examine

CLEAN, USAGE, FOUND = 0, 2, 3


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    wanted = _parser().parse_args(arguments)
    try:
        data = _read(wanted.file)
    except OSError as error:
        sys.stderr.write(f"{wanted.file}: {error.strerror}\n")
        return USAGE
    found = examine(data, wanted.at)
    if wanted.json:
        text = json.dumps(report.as_json(found), indent=2, ensure_ascii=False)
    else:
        text = "\n".join(report.lines(found))
    sys.stdout.write(f"{text}\n")
    return CLEAN if found.clean else FOUND


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m protocol.audit", description=__doc__)
    commands = parser.add_subparsers(required=True)
    verify = commands.add_parser("verify", help="check an audit file, a receipt or a record")
    verify.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    verify.add_argument("--json", action="store_true", help="print the report as JSON")
    verify.add_argument(
        "--at", metavar="ISO", type=_time, default=int(time.time()), help="as if it were this time"
    )
    return parser


def _time(text: str) -> int:
    """Unix seconds of an ISO 8601 time; without offset it is local time."""
    return int(datetime.fromisoformat(text).timestamp())


def _read(name: str) -> bytes:
    """The file, or one byte more than allowed: enough to be refused."""
    if name == "-":
        return sys.stdin.buffer.read(limits.AUDIT + 1)
    with Path(name).open("rb") as file:
        return file.read(limits.AUDIT + 1)


if __name__ == "__main__":
    sys.exit(main())
