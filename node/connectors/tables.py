"""Tables of four file formats, batch by batch, in exactly the columns and types of a contract.

Runs only in a connector's own process. A fault names row (the first row of data is 1) and column.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv
from pyarrow import ipc, parquet

from node.connectors import SourceError, Summary
from node.connectors.contract import Column, Contract
from protocol.strict_json import no_repeats

ROWS: Final = 64 * 1024
"""Rows of one batch."""

BLOCK: Final = 1024 * 1024
"""Bytes of CSV read at once, and the most that one line of JSON may have."""

PEOPLE: Final = 10_000_000
"""Lines of the list of people who objected; all are held in memory."""

ARROW: Final = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
}
"""Logical type -> the one Arrow type in which it travels."""

_TEXT: Final = {
    "integer": r"^-?[0-9]{1,19}$",
    "number": r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,4})?$",
    "boolean": r"^(true|false)$",
}
_WORDS: Final = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ZERO: Final = {"integer": 0, "number": 0.0, "string": "", "boolean": False}


def write_stream(
    path: Path, contract: Contract, out: BinaryIO, exclude: Path | None, person: str | None
) -> Summary:
    """Write the file's rows to `out` as one Arrow IPC stream, without those of `exclude`.

    The same file gives the same bytes. Raises SourceError; what was written is then void.
    """
    objectors = _Objectors(contract, exclude, person)
    schema = pa.schema([(column.name, ARROW[column.type]) for column in contract.columns])
    rows = 0
    with ipc.new_stream(pa.PythonFile(out, "w"), schema) as writer:
        for batch in read_batches(path, contract):
            kept = objectors.leave_out(batch)
            rows += kept.num_rows
            for start in range(0, kept.num_rows, ROWS):
                writer.write_batch(kept.slice(start, ROWS))
    return Summary(rows=rows, excluded=len(objectors.found))


def read_batches(path: Path, contract: Contract) -> Iterator[Any]:
    """Record batches in the contract's columns, order and types. Raises SourceError."""
    read = _FORMATS.get(path.suffix.lower())
    if read is None:
        known = ", ".join(sorted(_FORMATS))
        raise SourceError("source.format", f"No file of {path.suffix!r}.", f"One of: {known}.")
    row = 1
    try:
        for table in read(path, contract):
            batch = _typed(table, contract, row)
            row += batch.num_rows
            yield batch
    except (pa.ArrowException, UnicodeDecodeError, EOFError) as error:
        raise _broken(f"about row {row}: {_first_line(error)}") from error
    except OSError as error:
        raise SourceError("source.file", f"Cannot read: {error.strerror}.", "See path.") from error


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


# --- formats: each yields tables or batches with the contract's columns, in any order ------------


def _read_csv(path: Path, contract: Contract) -> Iterator[Any]:
    faults: list[str] = []

    def note(row: Any) -> str:
        # The first line holds the names, so row n of the data is line n + 1.
        number = "" if row.number is None else f"row {row.number - 1}: "
        faults.append(f"{number}{row.actual_columns} values, wanted {row.expected_columns}")
        return "error"

    try:
        reader = arrow_csv.open_csv(
            path,
            arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
            arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            arrow_csv.ConvertOptions(
                column_types={column.name: pa.string() for column in contract.columns},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        _require_columns(reader.schema.names, contract)
        yield from reader
    except pa.ArrowInvalid as error:
        if faults:
            raise _broken(faults[0]) from error
        raise


def _read_parquet(path: Path, contract: Contract) -> Iterator[Any]:
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        _require_columns(file.schema_arrow.names, contract)
        yield from file.iter_batches(batch_size=ROWS, use_threads=False)


def _read_arrow(path: Path, contract: Contract) -> Iterator[Any]:
    """An Arrow IPC file or stream."""
    with pa.OSFile(str(path)) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        options = ipc.IpcReadOptions(use_threads=False)
        open_ = ipc.open_file if is_file else ipc.open_stream
        reader = open_(file, options=options)
        _require_columns(reader.schema.names, contract)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            batch.validate(full=True)
            for start in range(0, batch.num_rows, ROWS):
                yield batch.slice(start, ROWS)


def _read_json(path: Path, contract: Contract) -> Iterator[Any]:
    """JSON Lines: one object in each line."""
    rows: list[dict[str, Any]] = []
    first = 1
    with path.open("rb") as file:
        while line := file.readline(BLOCK + 1):
            rows.append(_json_row(line, first + len(rows), contract))
            if len(rows) == ROWS // 4:
                yield _from_rows(rows, contract)
                first += len(rows)
                rows = []
    if rows:
        yield _from_rows(rows, contract)


def _json_row(line: bytes, row: int, contract: Contract) -> dict[str, Any]:
    if len(line) > BLOCK:
        raise _broken(f"row {row} has more than {BLOCK} bytes")
    try:
        value = json.loads(line, object_pairs_hook=no_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _broken(f"row {row} is no JSON object on one line") from error
    if not isinstance(value, dict):
        raise _broken(f"row {row} is no JSON object")
    for name, item in value.items():
        column = contract.column(name)
        if column is None:
            raise _unknown(name, f"Row {row}: ")
        if item is not None and not _fits(column, item):
            raise _no_value(column, row)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _fits(column: Column, value: Any) -> bool:
    match column.type:
        case "integer":
            return type(value) is int and -(2**63) <= value < 2**63
        case "number":
            return type(value) is int or (type(value) is float and math.isfinite(value))
        case "string":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case _:
            return isinstance(value, bool)


def _from_rows(rows: list[dict[str, Any]], contract: Contract) -> Any:
    names = [column.name for column in contract.columns]
    arrays = [
        pa.array([row.get(column.name) for row in rows], ARROW[column.type])
        for column in contract.columns
    ]
    return pa.record_batch(arrays, names=names)


_FORMATS: Final[dict[str, Callable[[Path, Contract], Iterator[Any]]]] = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".feather": _read_arrow,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
}


# --- columns -------------------------------------------------------------------------------------


def _require_columns(names: list[str], contract: Contract) -> None:
    known = [column.name for column in contract.columns]
    for name in names:
        if name not in known:
            raise _unknown(name)
        if names.count(name) > 1:
            detail = f"Column {name!r} stands there twice."
            raise SourceError("source.columns", detail, "Each column once.")
    missing = [name for name in known if name not in names]
    if missing:
        detail = f"Columns are missing: {', '.join(missing)[:500]}."
        raise SourceError("source.columns", detail, "The contract names them all.")


def _typed(batch: Any, contract: Contract, row: int) -> Any:
    """The batch, or table, in the contract's columns, order and types."""
    arrays = [_convert(batch.column(column.name), column, row) for column in contract.columns]
    return pa.record_batch(arrays, names=[column.name for column in contract.columns])


def _convert(array: Any, column: Column, row: int) -> Any:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if column.required and array.null_count:
        detail = f"Row {row + _first(array.is_null())}, column {column.name!r}: nothing is there."
        raise SourceError("source.required", detail, "The contract needs a value in every row.")
    if _is_text(array.type) and column.type != "string":
        _check_text(array, column, row)
    elif not _may_become(array.type, column.type):
        detail = f"Column {column.name!r} has the type {array.type}."
        raise SourceError("source.value", detail, f"It should be {_WORDS[column.type]}.")
    return _canonical(_cast(array, column, row), column)


def _check_text(array: Any, column: Column, row: int) -> None:
    """Refuse what Arrow would understand and we do not, such as hexadecimal numbers and inf."""
    fits = pc.match_substring_regex(array, _TEXT[column.type])
    if pc.any(pc.invert(fits)).as_py():
        raise _no_value(column, row + _first(pc.invert(fits)))


def _may_become(kind: Any, wanted: str) -> bool:
    types = pa.types
    match wanted:
        case "integer":
            return bool(types.is_null(kind) or types.is_integer(kind))
        case "number":
            numbers = (types.is_null, types.is_integer, types.is_floating, types.is_decimal)
            return any(is_kind(kind) for is_kind in numbers)
        case "string":
            return bool(types.is_null(kind) or _is_text(kind))
        case _:
            return bool(types.is_null(kind) or types.is_boolean(kind))


def _is_text(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _cast(array: Any, column: Column, row: int) -> Any:
    wanted = ARROW[column.type]
    try:
        found = array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _no_value(column, row + _first_that_fails(array, wanted)) from error
    if column.type == "number":
        strange = pc.invert(pc.is_finite(found))
        if pc.any(strange).as_py():
            raise _no_value(column, row + _first(strange))
    return found


def _first(mask: Any) -> int:
    """The index of the first true value."""
    return int(pc.index(mask, pa.scalar(value=True)).as_py())


def _first_that_fails(array: Any, wanted: Any) -> int:
    for index in range(len(array)):
        try:
            array.slice(index, 1).cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return index
    return 0


def _canonical(array: Any, column: Column) -> Any:
    """The same values, with zeros where nothing is: unset memory would leak, and change digests."""
    if not array.null_count:
        return array
    filled = pc.fill_null(array, pa.scalar(_ZERO[column.type], array.type))
    known = array.is_valid()
    return pa.Array.from_buffers(
        array.type, len(array), [known.buffers()[1], *filled.buffers()[1:]], offset=0
    )


def _no_value(column: Column, row: int) -> SourceError:
    detail = f"Row {row}, column {column.name!r}: this is not {_WORDS[column.type]}."
    return SourceError("source.value", detail, "Correct the value, or leave it empty.")


def _unknown(name: str, where: str = "") -> SourceError:
    detail = f"{where}The contract has no column {name[:80]!r}."
    return SourceError("source.columns", detail, "Only columns of the contract may leave.")


def _broken(why: str) -> SourceError:
    return SourceError("source.format", f"The file is broken: {why}.", "Export it again.")


def _first_line(error: Exception) -> str:
    """The head of a parser's message; what follows can quote the file."""
    return str(error).partition("\n")[0].partition(":")[0][:200]
