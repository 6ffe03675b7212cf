"""Columns of a table against their data contract, inside the sandbox.

Used by the first sandbox, for what providers send, and by the gate's, for what algorithms return.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import sys
from collections.abc import Callable
from typing import Any

BOUNDS, LENGTHS = ("minimum", "maximum"), ("min_length", "max_length")


class Broken(Exception):
    """A rule of the contract does not hold; the text is COLUMN.RULE, never a value."""


class NoPandas:
    """Finds no pandas: pyarrow would load it at the first value that it converts, in a second, and
    no table of ours needs it.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Raises ModuleNotFoundError for pandas; everything else is found by others."""
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)


def without_pandas() -> None:
    """Let nothing in this process import pandas."""
    sys.meta_path.insert(0, NoPandas)


def checked(pyarrow: Any, array: Any, column: dict[str, Any]) -> Any:
    """The column in its contract's type, if every value keeps the contract. Raises Broken."""
    compute, name = pyarrow.compute, column["name"]
    array = cast(pyarrow, array, column)
    if column["required"] and array.null_count:
        raise Broken(f"{name}.required")
    known = array.drop_null()
    if column["unique"] and len(known.unique()) < len(known):
        raise Broken(f"{name}.unique")
    measure = {"string": compute.utf8_length, "binary": compute.binary_length}.get(column["type"])
    measured, (low, high) = (known, BOUNDS) if measure is None else (measure(known), LENGTHS)
    # What is no number compares as nothing: every bound is what must hold, not what must not.
    kept = {
        low: lambda: compute.greater_equal(measured, column[low]),
        high: lambda: compute.less_equal(measured, column[high]),
        "above": lambda: compute.greater(known, column["above"]),
        "below": lambda: compute.less(known, column["below"]),
        "pattern": lambda: matches(compute, known, column["pattern"]),
        "values": lambda: among(pyarrow, known, column["values"]),
        "missing": lambda: compute.invert(among(pyarrow, known, column["missing"])),
    }
    for rule, test in kept.items():
        if column[rule] not in (None, []) and not holds(compute, test):
            raise Broken(f"{name}.{rule}")
    return array


def holds(compute: Any, test: Callable[[], Any]) -> bool:
    """Whether it is true of every value."""
    return bool(compute.all(test(), min_count=0).as_py())


def matches(compute: Any, texts: Any, pattern: str) -> Any:
    """Which texts the pattern matches in full."""
    return compute.match_substring_regex(texts, f"\\A(?:{pattern})\\z")


def among(pyarrow: Any, known: Any, values: list[Any]) -> Any:
    """Which values are among `values`."""
    return pyarrow.compute.is_in(known, value_set=pyarrow.array(values, type=known.type))


def cast(pyarrow: Any, array: Any, column: dict[str, Any]) -> Any:
    """The column in the one Arrow type of its logical type. Raises Broken."""
    types = pyarrow.types
    kinds = {
        "integer": (types.is_integer,),
        "number": (types.is_integer, types.is_floating),
        "string": (types.is_string, types.is_large_string),
        "boolean": (types.is_boolean,),
        "binary": (types.is_binary, types.is_large_binary),
    }[column["type"]]
    # A column of nothing but missing values has no type of its own.
    if not any(is_kind(array.type) for is_kind in (types.is_null, *kinds)):
        raise Broken(f"{column['name']}.type")
    try:
        return array.cast(arrow_type(pyarrow, column))
    except pyarrow.ArrowException as error:
        raise Broken(f"{column['name']}.type") from error


def arrow_type(pyarrow: Any, column: dict[str, Any]) -> Any:
    """The one Arrow type of a column's logical type."""
    return {
        "integer": pyarrow.int64,
        "number": pyarrow.float64,
        "string": pyarrow.string,
        "boolean": pyarrow.bool_,
        "binary": pyarrow.binary,
    }[column["type"]]()
