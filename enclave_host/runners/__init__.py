"""The runners: trusted code that, inside the sandbox, hands the tables to one kind of algorithm.

A runner is a file that defines `run(job, output)`: it reads the tables, calls the algorithm,
writes one document to the descriptor `output` and ends the process with one of the codes below.
The trusted process reads its source and never imports it; the shim loads it, after common.py.
"""

from functools import cache
from pathlib import Path
from typing import Final

from protocol.errors import ProtocolError

RUNNERS: Final = {
    "python": Path(__file__).parent / "python.py",
    "prepare": Path(__file__).parent / "prepare.py",
    "gate": Path(__file__).parent / "gate.py",
    "sql": Path(__file__).parent / "sql.py",
}
"""Kind of algorithm -> its runner. A new kind is a new file and a new line here."""

ROOT: Final = Path(__file__).parents[2]

BESIDE: Final = {
    "prepare": Path(__file__).parent / "columns.py",
    "gate": Path(__file__).parent / "columns.py",
    "sql": ROOT / "protocol" / "sql_report.py",
}
"""What a runner imports too; it imports nothing but the standard library itself."""

COMMON: Final = Path(__file__).parent / "common.py"
"""What runners share; they import it by its real name."""

LIMIT_EXIT: Final = 3  # the runner's exit code for: the memory was not enough


class UnknownKind(ProtocolError):
    """There is no runner for this kind of algorithm."""

    code = "cage.kind"


@cache
def sources(kind: str) -> list[tuple[str, str]]:
    """Name and source text of the modules that the shim loads for `kind`, in this order; the last
    is the runner. Raises UnknownKind.
    """
    if kind not in RUNNERS:
        known = ", ".join(sorted(RUNNERS))
        raise UnknownKind(f"no runner for algorithms of kind {kind[:40]!r}; there are: {known}")
    beside = [BESIDE[kind]] if kind in BESIDE else []
    paths = (COMMON, *beside, RUNNERS[kind])
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return list(zip(names, (path.read_text("utf-8") for path in paths), strict=True))
