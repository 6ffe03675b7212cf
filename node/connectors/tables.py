"""A provider's rows as one Arrow stream, in exactly the columns and types of a contract.

Runs only in a connector's own process. A fault names row (the first row of data is 1) and column.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from node.connectors import SourceError, Summary
from node.connectors.columns import ARROW, broken, first_line, typed
from node.connectors.contract import Contract
from node.connectors.formats import (
    ROWS,
    Gauge,
    read_arrow,
    read_csv,
    read_json,
    read_parquet,
)

BATCH: Final = 16 * 1024 * 1024
"""Bytes of one batch that is written, unless a single row has more."""

PEOPLE: Final = 10_000_000
"""Lines of the list of people who objected; all are held in memory."""


TELL_EVERY: Final = 1.0
"""Seconds between two guesses at the size of the whole."""


def _nobody(_whole: int) -> None:
    """Nobody wants to know."""


def write_stream(
    path: Path,
    contract: Contract,
    out: BinaryIO,
    exclude: Path | None,
    person: str | None,
    query: str | None = None,
    tell: Callable[[int], None] = _nobody,
) -> Summary:
    """Write the source's rows to `out` as one Arrow IPC stream, without those of `exclude`; `tell`
    hears guesses at the bytes of the whole.

    The same file gives the same bytes. Raises SourceError; what was written is then void.
    """
    objectors, gauge = _Objectors(contract, exclude, person), Gauge()
    schema = pa.schema([(column.name, ARROW[column.type]) for column in contract.columns])
    rows, told, sink = 0, time.monotonic(), pa.PythonFile(out, "w")
    before = _state_of(path)
    with ipc.new_stream(sink, schema) as writer:
        for batch in read_batches(path, contract, query, gauge):
            kept = objectors.leave_out(batch)
            rows += kept.num_rows
            step = max(1, min(ROWS, BATCH * kept.num_rows // max(kept.nbytes, 1)))
            for start in range(0, kept.num_rows, step):
                writer.write_batch(kept.slice(start, step))
            if gauge.read and time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                tell(int(sink.tell() / gauge.read))
    if _state_of(path) != before:
        detail, fix = "The file changed while it was read.", "Push it once it is written."
        raise SourceError("source.changed", detail, fix)
    return Summary(rows=rows, excluded=len(objectors.found))


def read_batches(
    path: Path, contract: Contract, query: str | None = None, gauge: Gauge | None = None
) -> Iterator[Any]:
    """Record batches in the contract's columns, order and types, of a file or of an SQL query over
    it. Raises SourceError.
    """
    row = 1
    try:
        for table in _open(path, contract, query, gauge or Gauge()):
            batch = typed(table, contract, row)
            row += batch.num_rows
            yield batch
    except (pa.ArrowException, UnicodeDecodeError, EOFError) as error:
        raise broken(f"about row {row}: {first_line(error)}") from error
    except OSError as error:
        raise SourceError("source.file", f"Cannot read: {error.strerror}.", "See path.") from error


def _state_of(path: Path) -> tuple[int, ...]:
    """What differs once a plain file was written to; a database keeps its readers apart itself."""
    if path.suffix.lower() not in _FORMATS:
        return ()
    try:
        found = path.stat()
    except OSError as error:
        raise SourceError("source.file", f"Cannot read: {error.strerror}.", "See path.") from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _open(path: Path, contract: Contract, query: str | None, gauge: Gauge) -> Iterator[Any]:
    kind = path.suffix.lower()
    if kind in _FORMATS and query is None:
        return _FORMATS[kind](path, contract, gauge)
    # Imported late: DuckDB is large, and most sources are plain files.
    from node.connectors.databases import DATABASES, query_file

    if kind in DATABASES:
        return DATABASES[kind](path, contract, query)
    if query is not None:
        return query_file(path, contract, query)
    known = ", ".join(sorted(_FORMATS.keys() | DATABASES.keys()))
    raise SourceError("source.format", f"No file of {path.suffix!r}.", f"One of: {known}.")


_FORMATS: Final[dict[str, Callable[[Path, Contract, Gauge], Iterator[Any]]]] = {
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".jsonl": read_json,
    ".ndjson": read_json,
}


class _Objectors:
    """People whose rows stay out; `found` are those who had a row."""

    def __init__(self, contract: Contract, path: Path | None, person: str | None) -> None:
        self.found: set[str] = set()
        self._person = person
        if path is None:
            return
        column = contract.column(person or "")
        if column is None or column.type != "string":
            detail = f"The contract has no text column {person!r} that says who a row is about."
            raise SourceError("source.exclude", detail, "Name the person column.")
        self._people = pa.array(_read_people(path, column.name), pa.string())
        self._active = True

    _active = False

    def leave_out(self, batch: Any) -> Any:
        """The batch without their rows."""
        if not self._active:
            return batch
        persons = batch.column(self._person)
        objects = pc.is_in(persons, value_set=self._people)
        self.found.update(persons.filter(objects).unique().to_pylist())
        return batch.filter(pc.invert(objects))


def _read_people(path: Path, person: str) -> list[str]:
    """The values of the person column in a CSV file; other columns are of no interest."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if person not in (rows.fieldnames or ()):
                detail = f"The list of people who objected has no column {person!r}."
                raise SourceError("source.exclude", detail, "Its first line names the columns.")
            people = []
            for number, row in enumerate(rows, 1):
                if not row[person] or number > PEOPLE:
                    detail = f"Row {number} of the list of people who objected names nobody."
                    raise SourceError("source.exclude", detail, "One person in each row.")
                people.append(row[person])
            return people
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        detail = "The list of people who objected cannot be read."
        raise SourceError("source.exclude", detail, "A CSV file in UTF-8.") from error
