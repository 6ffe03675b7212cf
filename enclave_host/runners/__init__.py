"""The runners: trusted code that, inside the sandbox, hands the tables to one kind of algorithm.

A runner is a file that defines `run(job, output)`: it reads the tables, calls the algorithm,
writes one document to the descriptor `output` and ends the process with one of the codes below.
The trusted process reads its source and never imports it.
"""

from functools import cache
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError

RUNNERS: Final = {
    "python": Path(__file__).parent / "python.py",
    "prepare": Path(__file__).parent / "prepare.py",
}
"""Kind of algorithm -> its runner. A new kind is a new file and a new line here."""

LIMIT_EXIT: Final = 3  # the runner's exit code for: the memory was not enough


class UnknownKind(ProtocolError):
    """There is no runner for this kind of algorithm."""

    code = "cage.kind"


@cache
def source(kind: str) -> str:
    """Return the source text of the runner for `kind`. Raises UnknownKind."""
    if kind not in RUNNERS:
        known = ", ".join(sorted(RUNNERS))
        raise UnknownKind(f"no runner for algorithms of kind {kind[:40]!r}; there are: {known}")
    return RUNNERS[kind].read_text("utf-8")
