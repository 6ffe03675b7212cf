"""Runs an SQL algorithm inside the sandbox: DuckDB, which sees its tables and nothing else.

An entry point is a folder of the bundle; OUTPUT.sql in it is the one SELECT that makes an output.
Parameters are bound as $name; a query that says `_row` finds the number of the row. The input
`plan` says in JSON how each output leaves: as a list of rows (json), or as a table (arrow). With
the task "check" nothing is run: DuckDB parses the queries, and protocol/sql_check.py judges what it
read, before anything opens.

DuckDB's own bounds are no wall, the sandbox is; they make a query fail early and in words. One
thread: sums of floats, and rows without an order, come out the same when a run is repeated.
"""

# ruff: noqa: ANN401 (neither duckdb nor pyarrow is installed where this is checked)
import datetime
import decimal
import importlib
import json
import math
import resource
from collections.abc import Mapping
from typing import Any, NoReturn

from enclave_host.runners.common import Job, finish, mapped, tables, write_all, write_outputs
from protocol.sql_report import report

ROW = "_row"
MEMORY_SHARE = 0.6  # of the address space: what is around DuckDB needs the rest
AT_CONNECT = {
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",
    "threads": "1",
}
LOCK = (
    "enable_external_access = false",
    "disabled_filesystems = 'LocalFileSystem'",
    "python_enable_replacements = false",
    "python_scan_all_frames = false",
    "lock_configuration = true",  # last: from here on nothing can be loosened
)


def run(job: Job, output: int) -> NoReturn:
    """Do the plan's task and end the process."""
    finish(job, lambda: answer(job, output))


def answer(job: Job, output: int) -> None:
    """Write the report of a check, or the outputs of a run."""
    duckdb = importlib.import_module("duckdb")
    plan = json.loads(bytes(mapped(job["inputs"]["plan"])))
    if plan["task"] == "check":
        found = report(duckdb, connect(duckdb, {}), plan)
        write_all(output, json.dumps(found).encode())
    else:
        write_outputs(output, compute(duckdb, job, plan))


def connect(duckdb: Any, inputs: Mapping[str, Any]) -> Any:
    """A database in memory that holds these tables, and can reach nothing else."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = {} if most < 0 else {"memory_limit": f"{int(most * MEMORY_SHARE)}B"}
    database = duckdb.connect(":memory:", config=AT_CONNECT | memory)
    for name, table in inputs.items():
        database.register(name, table)  # a view of the mapped bytes, no copy
    for setting in LOCK:
        database.execute(f"SET {setting}")
    return database


def compute(duckdb: Any, job: Job, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Run the query of each output."""
    paths = {output: f"{job['entry']}/{output}.sql" for output in plan["outputs"]}
    texts = {output: job["code"][path].decode() for output, path in paths.items()}
    inputs = tables(job)
    if any(ROW in text.lower() for text in texts.values()):
        inputs = {name: numbered(table) for name, table in inputs.items()}
    database = connect(duckdb, inputs)
    parameters = json.loads(job["parameters"])
    found = {}
    for output, format_ in plan["outputs"].items():
        path = paths[output]
        try:
            found[output] = query(database, texts[output], parameters, format_)
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(path) from error
        except (duckdb.Error, TypeError, ValueError) as error:
            raise RuntimeError(f"{path}: {error}") from error
    return found


def numbered(table: Any) -> Any:
    """The table with the numbers of its rows, by which an output for people says whose an item is;
    as it is if it has a column of that name.
    """
    if ROW in map(str.lower, table.column_names):
        return table
    pyarrow = importlib.import_module("pyarrow")
    return table.append_column(ROW, pyarrow.array(range(table.num_rows), pyarrow.int64()))


def query(database: Any, text: str, parameters: Mapping[str, Any], format_: str) -> Any:
    """The rows of one query, or its table. Raises ValueError, TypeError, duckdb.Error."""
    statements = database.extract_statements(text)
    if [one.type.name for one in statements] != ["SELECT"]:
        raise ValueError("it is not exactly one SELECT")
    (statement,) = statements
    bound = {name: parameters[name] for name in sorted(statement.named_parameters)}
    if format_ == "arrow":
        return database.sql(text, params=bound).to_arrow_table()
    cursor = database.execute(statement, bound)
    names = [column[0] for column in cursor.description]
    if len(set(names)) < len(names):
        raise ValueError("two columns have one name: write AS")
    return [dict(zip(names, map(plain, row), strict=True)) for row in cursor.fetchall()]


def plain(value: Any) -> Any:
    """The value as JSON has it. Raises TypeError, ValueError for what it has not."""
    match value:
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [plain(one) for one in value]
        case dict():
            return {str(name): plain(one) for name, one in value.items()}
        case float() | decimal.Decimal():
            return number(value)
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            kind = type(value).__name__
            raise TypeError(f"a {kind} is no value of JSON: write CAST(... AS TEXT)")


def number(value: Any) -> Any:
    """A number of JSON. Raises ValueError."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number that may leave: filter it, or write NULL")
    whole = isinstance(value, decimal.Decimal) and value == value.to_integral_value()
    return int(value) if whole else float(value)
