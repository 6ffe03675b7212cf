"""Columns of a table in exactly the order, types and bytes that a contract asks for.

Runs only in a connector's own process. A fault names row (the first row of data is 1) and column,
never a value.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import math
import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from node.connectors import SourceError
from node.connectors.contract import Column, Contract

ARROW: Final = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
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
    "binary": "bytes",
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ZERO: Final = {"integer": 0, "number": 0.0, "string": "", "boolean": False, "binary": b""}


def require_columns(names: list[str], contract: Contract) -> None:
    """Refuse names that are not exactly the contract's. Raises SourceError (source.columns)."""
    known = [column.name for column in contract.columns]
    for name in names:
        if name not in known:
            raise unknown(name)
        if names.count(name) > 1:
            detail = f"Column {name!r} stands there twice."
            raise SourceError("source.columns", detail, "Each column once.")
    missing = [name for name in known if name not in names]
    if missing:
        detail = f"Columns are missing: {', '.join(missing)[:500]}."
        raise SourceError("source.columns", detail, "The contract names them all.")


def typed(batch: Any, contract: Contract, row: int) -> Any:
    """The batch, or table, in the contract's columns, order and types."""
    arrays = [_convert(batch.column(column.name), column, row) for column in contract.columns]
    return pa.record_batch(arrays, names=[column.name for column in contract.columns])


def _convert(array: Any, column: Column, row: int) -> Any:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if column.required and array.null_count:
        detail = f"Row {row + _first(array.is_null())}, column {column.name!r}: nothing is there."
        raise SourceError("source.required", detail, "The contract needs a value in every row.")
    if _is_text(array.type) and column.type in _TEXT:
        _check_text(array, column, row)
    elif not _may_become(array.type, column.type):
        detail = f"Column {column.name!r} has the type {array.type}."
        raise SourceError("source.value", detail, f"It should be {_WORDS[column.type]}.")
    return _canonical(_cast(array, column, row), column)


def _check_text(array: Any, column: Column, row: int) -> None:
    """Refuse what Arrow would understand and we do not, such as hexadecimal numbers and inf."""
    fits = pc.match_substring_regex(array, _TEXT[column.type])
    if pc.any(pc.invert(fits)).as_py():
        raise no_value(column, row + _first(pc.invert(fits)))


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
        case "binary":
            return bool(types.is_null(kind) or _is_binary(kind))
        case _:
            return bool(types.is_null(kind) or types.is_boolean(kind))


def _is_text(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_binary(kind: Any) -> bool:
    types = pa.types
    shapes = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in shapes)


def _cast(array: Any, column: Column, row: int) -> Any:
    wanted = ARROW[column.type]
    try:
        found = array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise no_value(column, row + _first_that_fails(array, wanted)) from error
    if column.type == "number":
        strange = pc.invert(pc.is_finite(found))
        if pc.any(strange).as_py():
            raise no_value(column, row + _first(strange))
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


def no_value(column: Column, row: int) -> SourceError:
    """The refusal of one value."""
    detail = f"Row {row}, column {column.name!r}: this is not {_WORDS[column.type]}."
    return SourceError("source.value", detail, "Correct the value, or leave it empty.")


def unknown(name: str, where: str = "") -> SourceError:
    """The refusal of a column that the contract does not have."""
    detail = f"{where}The contract has no column {name[:80]!r}."
    return SourceError("source.columns", detail, "Only columns of the contract may leave.")


def broken(why: str) -> SourceError:
    """The refusal of a file that is not what its name says."""
    return SourceError("source.format", f"The file is broken: {why}.", "Export it again.")


def first_line(error: Exception) -> str:
    """The head of a parser's message; what follows can quote the file."""
    return str(error).partition("\n")[0].partition(":")[0][:200]


def fits(column: Column, value: Any) -> bool:
    """Whether a Python value is of the column's type, without any conversion."""
    match column.type:
        case "integer":
            return type(value) is int and -(2**63) <= value < 2**63
        case "number":
            return type(value) is int or (type(value) is float and math.isfinite(value))
        case "string":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case "binary":
            return isinstance(value, bytes)
        case _:
            return isinstance(value, bool)


def from_rows(rows: list[dict[str, Any]], contract: Contract) -> Any:
    """A record batch of rows whose values `fits` let through; what is missing is null."""
    names = [column.name for column in contract.columns]
    arrays = [
        pa.array([row.get(column.name) for row in rows], ARROW[column.type])
        for column in contract.columns
    ]
    return pa.record_batch(arrays, names=names)
