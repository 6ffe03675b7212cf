"""The gate's worker: takes an Arrow table that an algorithm returned apart, and builds a new one.

It runs in a sandbox of its own, which holds no code but ours and no data but this table: the bytes
are hostile, and so Arrow parses them here, never in the trusted process. The same rows give the
same bytes, whatever order, batches, types, metadata or hidden bytes they came with.

Inputs: plan (JSON: columns, rows, cells, precision, bound, suppress) and `table`. It writes
["report", json] and, if nothing is wrong, ["table", arrow]. It may use the standard library and,
from the algorithm's environment, pyarrow.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import importlib
import json
from typing import Any, NoReturn

from enclave_host.runners.columns import Broken, checked, without_pandas
from enclave_host.runners.common import Job, finish, mapped, write_outputs


def run(job: Job, output: int) -> NoReturn:
    """Do what the plan says and end the process."""
    without_pandas()
    finish(job, lambda: answer(job["inputs"], output))


def answer(inputs: dict[str, int], output: int) -> None:
    """Write the report, and the table if it may leave."""
    plan = json.loads(bytes(mapped(inputs["plan"])))
    pyarrow = importlib.import_module("pyarrow")
    importlib.import_module("pyarrow.compute")
    report: dict[str, Any] = {"fault": None, "rows": 0, "cells": 0, "small": 0, "left": True}
    outputs: dict[str, Any] = {"report": report}
    try:
        table = read(pyarrow, mapped(inputs["table"]), plan)
        table, counted = without_small(pyarrow, table, plan)
        report |= {"rows": table.num_rows, **counted}
        if report["left"]:
            outputs["table"] = rebuilt(pyarrow, table, plan)
    except Broken as broken:
        report["fault"] = str(broken)
    write_outputs(output, outputs)


def read(pyarrow: Any, content: memoryview, plan: dict[str, Any]) -> Any:
    """Exactly the model's columns, in its order and types, each value within its bounds, numbers
    rounded. Raises Broken.
    """
    try:
        table = pyarrow.ipc.open_stream(pyarrow.py_buffer(content)).read_all()
        table.validate(full=True)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise Broken("table.format") from error
    # Compressed or overlapping buffers: a small stream that leaves no memory for the work.
    if table.nbytes > len(content):
        raise Broken("table.format")
    low, high = plan["rows"]
    if not low <= table.num_rows <= high:
        raise Broken("table.rowCount")
    columns = plan["columns"]
    if sorted(table.column_names) != sorted(column["name"] for column in columns):
        raise Broken("table.columns")
    arrays = [column_of(pyarrow, table, column, plan["precision"]) for column in columns]
    return pyarrow.table(arrays, names=[column["name"] for column in columns])


def column_of(pyarrow: Any, table: Any, column: dict[str, Any], decimals: int) -> Any:
    """One column, checked; its floating-point numbers rounded. Raises Broken."""
    array = table.column(column["name"])
    if column["type"] == "string":
        return normal(pyarrow, checked(pyarrow, array, column), column)
    if column["type"] != "number":
        return checked(pyarrow, array, column)
    # Before anything is compared: no bound holds for what is no number.
    if pyarrow.types.is_floating(array.type) and not finite(pyarrow.compute, array):
        raise Broken(f"{column['name']}.type")
    return rounded(pyarrow, checked(pyarrow, array, column), column, decimals)


def normal(pyarrow: Any, array: Any, column: dict[str, Any]) -> Any:
    """Texts in Unicode's normal form C: which of two spellings came would be a bit.

    Raises Broken.
    """
    if not pyarrow.compute.utf8_normalize(array, form="NFC").equals(array):
        raise Broken(f"{column['name']}.type")
    return array


def finite(compute: Any, array: Any) -> bool:
    """Whether every number is one: not-a-number has many forms, and no order."""
    return bool(compute.all(compute.is_finite(array), min_count=0).as_py())


def rounded(pyarrow: Any, array: Any, column: dict[str, Any], decimals: int) -> Any:
    """Each number as the double nearest to a decimal: low bits say nothing, and -0 is 0."""
    compute, scale = pyarrow.compute, 10.0**decimals
    whole = compute.round(compute.multiply(array, scale))
    found = compute.add(compute.divide(whole, scale), 0.0)
    if not finite(compute, found):
        raise Broken(f"{column['name']}.maximum")
    return found


def without_small(pyarrow: Any, table: Any, plan: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The table without rows that count too few people, and what was found.

    As enclave_host/cells.py: if all that goes would count fewer than the bound together, the next
    smallest row goes too; `left` is false if none stays, or small rows may not go.
    """
    compute, bound = pyarrow.compute, plan["bound"]
    cells = small = 0
    left = True
    for name in plan["cells"]:
        counts = table.column(name)
        few = int(compute.sum(compute.less(counts, bound), min_count=0).as_py())
        cells, small = cells + len(counts), small + few
        if not few:
            continue
        if not plan["suppress"]:
            left = False
            continue
        gone = at_least(compute, counts, few, bound)
        order = compute.sort_indices(counts)
        table = table.take(order.slice(gone))
        left = left and table.num_rows > 0
    return table, {"cells": cells, "small": small, "left": left}


def at_least(compute: Any, counts: Any, few: int, bound: int) -> int:
    """How many of the smallest rows go: those below the bound, and as many as hide them."""
    ascending = compute.take(counts, compute.sort_indices(counts)).to_pylist()
    gone = few
    while gone < len(ascending) and sum(ascending[:gone]) < bound:
        gone += 1
    return gone


def rebuilt(pyarrow: Any, table: Any, plan: dict[str, Any]) -> Any:
    """A new table with these rows in one order: by all columns, each ascending, nothing last."""
    names = [column["name"] for column in plan["columns"]]
    table = table.sort_by([(name, "ascending") for name in names]).combine_chunks()
    fields, arrays = [], []
    for column in plan["columns"]:
        array = fresh(pyarrow, table.column(column["name"]))
        fields.append(pyarrow.field(column["name"], array.type, nullable=not column["required"]))
        arrays.append(array)
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def fresh(pyarrow: Any, column: Any) -> Any:
    """The column as one array of which every byte follows from its values.

    Under missing values, and after the last bit of a bitmap, a buffer can hold anything.
    """
    (array,) = column.chunks or [pyarrow.array([], column.type)]
    plain = pyarrow.types.is_integer(array.type) or pyarrow.types.is_floating(array.type)
    if array.null_count or array.offset or not plain:
        return pyarrow.array(array.to_pylist(), array.type)
    return pyarrow.Array.from_buffers(array.type, len(array), [None, array.buffers()[1]])
