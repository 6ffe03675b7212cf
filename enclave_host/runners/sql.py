"""Runs an SQL algorithm inside the sandbox: DuckDB, which sees its tables and nothing else.

An entry point is a folder of the bundle; OUTPUT.sql in it is the one SELECT that makes an output.
Parameters are bound as $name. The input `plan` says in JSON how each output leaves: as a list of
rows (json), or as a table (arrow). With the task "check" nothing is run: DuckDB parses the queries,
and protocol/sql_check.py judges what it read, before anything opens.

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
        write_all(output, json.dumps(report(duckdb, plan)).encode())
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
    database = connect(duckdb, tables(job))
    parameters = json.loads(job["parameters"])
    found = {}
    for output, format_ in plan["outputs"].items():
        path = f"{job['entry']}/{output}.sql"
        try:
            found[output] = query(database, job["code"][path].decode(), parameters, format_)
        except duckdb.OutOfMemoryException as error:
            raise MemoryError(path) from error
        except (duckdb.Error, TypeError, ValueError) as error:
            raise RuntimeError(f"{path}: {error}") from error
    return found


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


def report(duckdb: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What DuckDB makes of each query, and the functions that it vouches for."""
    database = connect(duckdb, {})
    functions = [row[0] for row in database.execute(asked["catalogue"]).fetchall()]
    queries: dict[str, Any] = {}
    room = asked["bytes"]
    for path, text in asked["queries"].items():
        (tree,) = database.execute(asked["parse"], {"query": text}).fetchall()[0]
        room -= len(tree)
        if room < 0:  # the queries that are left out are faults
            break
        queries[path] = {"statements": statements(duckdb, text), "tree": json.loads(tree)}
    return {"functions": functions, "queries": queries}


def statements(duckdb: Any, text: str) -> list[str]:
    """The kind of each statement; none where DuckDB cannot read it: then the tree says why."""
    try:
        return [one.type.name for one in duckdb.extract_statements(text)]
    except duckdb.Error:
        return []
