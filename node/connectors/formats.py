"""Tables of four file formats, batch by batch: the contract's columns, in any order and type.

Runs only in a connector's own process.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import ipc, parquet

from node.connectors.columns import broken, fits, from_rows, no_value, require_columns, unknown
from node.connectors.contract import Contract
from protocol.strict_json import no_repeats

ROWS: Final = 64 * 1024
"""Rows of one batch."""

BLOCK: Final = 1024 * 1024
"""Bytes of CSV read at once, and the most that one line of JSON may have."""


@dataclass(slots=True)
class Gauge:
    """How much of a file was read by now: 0 to 1; 0 where nobody knows."""

    read: float = 0.0


def read_csv(path: Path, contract: Contract, gauge: Gauge) -> Iterator[Any]:
    """Batches of a CSV file in UTF-8 whose first line names the columns; all values as text."""
    faults: list[str] = []

    def note(row: Any) -> str:
        # The first line holds the names, so row n of the data is line n + 1.
        number = "" if row.number is None else f"row {row.number - 1}: "
        faults.append(f"{number}{row.actual_columns} values, wanted {row.expected_columns}")
        return "error"

    try:
        file = pa.OSFile(str(path))
        reader = arrow_csv.open_csv(
            file,
            arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK),
            arrow_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
            arrow_csv.ConvertOptions(
                column_types={column.name: pa.string() for column in contract.columns},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
        require_columns(reader.schema.names, contract)
        for batch in reader:
            gauge.read = file.tell() / max(file.size(), 1)
            yield batch
    except pa.ArrowInvalid as error:
        if faults:
            raise broken(faults[0]) from error
        raise


def read_parquet(path: Path, contract: Contract, gauge: Gauge) -> Iterator[Any]:
    """Batches of a Parquet file."""
    with parquet.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK) as file:
        require_columns(file.schema_arrow.names, contract)
        rows = 0
        for batch in file.iter_batches(batch_size=ROWS, use_threads=False):
            rows += batch.num_rows
            gauge.read = rows / max(file.metadata.num_rows, 1)
            yield batch


def read_arrow(path: Path, contract: Contract, gauge: Gauge) -> Iterator[Any]:
    """An Arrow IPC file or stream."""
    with pa.OSFile(str(path)) as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        options = ipc.IpcReadOptions(use_threads=False)
        open_ = ipc.open_file if is_file else ipc.open_stream
        reader = open_(file, options=options)
        require_columns(reader.schema.names, contract)
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for number, batch in enumerate(batches, 1):
            batch.validate(full=True)
            gauge.read = (
                number / reader.num_record_batches if is_file else file.tell() / max(file.size(), 1)
            )
            for start in range(0, batch.num_rows, ROWS):
                yield batch.slice(start, ROWS)


def read_json(path: Path, contract: Contract, gauge: Gauge) -> Iterator[Any]:
    """JSON Lines: one object in each line."""
    rows: list[dict[str, Any]] = []
    first = 1
    with path.open("rb") as file:
        while line := file.readline(BLOCK + 1):
            rows.append(_json_row(line, first + len(rows), contract))
            if len(rows) == ROWS // 4:
                gauge.read = file.tell() / max(os.fstat(file.fileno()).st_size, 1)
                yield from_rows(rows, contract)
                first += len(rows)
                rows = []
    if rows:
        yield from_rows(rows, contract)


def _json_row(line: bytes, row: int, contract: Contract) -> dict[str, Any]:
    if len(line) > BLOCK:
        raise broken(f"row {row} has more than {BLOCK} bytes")
    try:
        value = json.loads(line, object_pairs_hook=no_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise broken(f"row {row} is no JSON object on one line") from error
    if not isinstance(value, dict):
        raise broken(f"row {row} is no JSON object")
    for name, item in value.items():
        column = contract.column(name)
        if column is None:
            raise unknown(name, f"Row {row}: ")
        if item is not None and not fits(column, item):
            raise no_value(column, row)
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
