"""The connector's own process: python -m node.connectors --file FILE < contract > Arrow stream.

To standard error it writes lines of JSON: about once a second {"whole"}, a guess at the bytes of
the whole stream, and at its end {"rows", "excluded"} or {"code", "detail", "fix"}. Memory and time
are bounded before anything is read.
"""

import argparse
import json
import os
import stat
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from node.connectors import CONTRACT_BYTES, SourceError, Summary
from node.connectors.bounds import bound

CPU: Final = 60
"""Seconds of processor time for any file, and one more for each MiB."""

FAILED: Final = 1


def main(arguments: list[str] | None = None) -> int:
    """Read one source; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _bound(options.file)
        answer, code = asdict(_write(options)), 0
    except SourceError as error:
        answer = {"code": error.code, "detail": error.detail, "fix": error.fix}
        code = FAILED
    except MemoryError:
        detail = "Reading the file needs more memory than a connector has."
        answer = {"code": "source.limit", "detail": detail, "fix": "Split it into smaller parts."}
        code = FAILED
    except BrokenPipeError:
        return FAILED
    sys.stderr.write(json.dumps(answer) + "\n")
    sys.stderr.flush()
    # What is left of the parsers has nothing more to say.
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="node.connectors", description=__doc__)
    parser.add_argument("--file", type=Path, required=True, help="a file or a database")
    parser.add_argument("--query", help="SQL that selects the rows")
    parser.add_argument("--exclude", type=Path, help="CSV of people who objected")
    parser.add_argument("--person", help="the column that says who a row is about")
    return parser


def _bound(file: Path) -> None:
    try:
        found = file.stat()
    except OSError as error:
        detail = f"Cannot open {file.name!r}: {error.strerror}."
        raise SourceError("source.file", detail, "Check the path in [sources].") from error
    if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever, a device never end
        detail = f"{file.name!r} is no plain file."
        raise SourceError("source.file", detail, "Check the path in [sources].")
    bound(CPU + found.st_size // 2**20)


def _write(options: argparse.Namespace) -> Summary:
    # Imported late: the bounds must stand before the parsers are loaded.
    from node.connectors.contract import read_contract
    from node.connectors.tables import write_stream

    contract = read_contract(sys.stdin.buffer.read(CONTRACT_BYTES + 1))
    with sys.stdout.buffer as out:
        return write_stream(
            options.file, contract, out, options.exclude, options.person, options.query, _tell
        )


def _tell(whole: int) -> None:
    sys.stderr.write(json.dumps({"whole": whole}) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
