"""Checks shares against their data contract, and puts them together, inside the sandbox.

Providers' bytes are hostile: Arrow is parsed here, never in the trusted process, and by code that
is part of the measured runtime, never by the algorithm. The orders are inputs/plan.json: contract,
person column, shares in order (file, and the one person it may be about), and the task. "check"
reads one share from the standard input as it arrives, batch by batch, and keeps none of it;
"combine" reads files. The answer is an 8-byte length, a JSON head, and, to combine, one Arrow
stream of all rows without the person column. This file may use the standard library and, from the
algorithm's environment, pyarrow.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import hashlib
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

FAILED, LIMIT = 1, 3  # exit codes, see runners/__init__.py


class Broken(Exception):
    """A rule of the contract does not hold; the text is COLUMN.RULE, never a value."""


def run(job: dict[str, str], output: int) -> NoReturn:
    """Do what plan.json says and end the process."""
    sys.path[:0] = [job["environment"]]
    try:
        answer(Path(job["inputs"]), output)
        code = 0
    except MemoryError:
        code = LIMIT
    except BaseException:
        traceback.print_exc()
        code = FAILED
    sys.stderr.flush()
    os._exit(code)


def answer(folder: Path, output: int) -> None:
    """Do the plan's task and write the answer."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    pyarrow = importlib.import_module("pyarrow")
    importlib.import_module("pyarrow.compute")
    if plan["task"] == "check":
        write_head(output, check(pyarrow, plan, sys.stdin.buffer))
    else:
        combine(pyarrow, plan, folder, output)


def check(pyarrow: Any, plan: dict[str, Any], stream: Any) -> dict[str, Any]:
    """The head for one share that arrives on `stream`; all of it is read, whatever is wrong."""
    columns, counted = Columns(pyarrow, plan), Counted(stream)
    head: dict[str, Any] = {"fault": None, "rows": [0], "people": 0}
    try:
        read_stream(pyarrow, counted, columns, plan["shares"][0]["person"])
    except Broken as broken:
        head["fault"] = str(broken)
    # Who sends must not be able to tell by a closed pipe, and when, what is wrong with the rows.
    while counted.read(1 << 20):
        continue
    return head | {"rows": [columns.rows], "people": len(columns.people)}


def read_stream(pyarrow: Any, stream: "Counted", columns: "Columns", person: str | None) -> None:
    """Check batch after batch. Raises Broken."""
    taken = 0
    try:
        with pyarrow.ipc.open_stream(pyarrow.PythonFile(stream, "r")) as reader:
            columns.require(reader.schema.names)
            for batch in reader:
                batch.validate(full=True)
                taken += batch.nbytes
                # Compressed or overlapping buffers: few bytes that leave no memory for the rest.
                if taken > stream.count:
                    raise Broken("table.format")
                columns.take(batch, person)
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise Broken("table.format") from error
    if stream.read(1):
        raise Broken("table.format")
    columns.end()


class Counted:
    """A pipe as a file that knows how many bytes were read."""

    closed = False

    def __init__(self, stream: Any) -> None:
        """Read from `stream` alone."""
        self._stream = stream
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        data: bytes = self._stream.read(size)
        self.count += len(data)
        return data

    def close(self) -> None:
        """Arrow closes what it read; the rest is still to be drained."""


class Columns:
    """What must hold of a share that comes in batches, and what was seen so far."""

    def __init__(self, pyarrow: Any, plan: dict[str, Any]) -> None:
        """Nothing was seen yet."""
        self.pyarrow = pyarrow
        self.columns = plan["contract"]["columns"]
        self.bounds = plan["contract"]["rows"]
        self.person = plan["person"]
        self.rows = 0
        self.people: set[bytes] = set()
        self._unique: dict[str, set[bytes]] = {
            column["name"]: set() for column in self.columns if column["unique"]
        }

    def require(self, names: list[str]) -> None:
        """Exactly the contract's columns. Raises Broken."""
        if sorted(names) != sorted(column["name"] for column in self.columns):
            raise Broken("table.columns")

    def take(self, batch: Any, person: str | None) -> None:
        """Check one more batch. Raises Broken."""
        for column in self.columns:
            array = checked(self.pyarrow, batch.column(column["name"]), column)
            if column["unique"]:
                self._take_unique(column["name"], array.drop_null())
            if column["name"] == self.person:
                self._take_people(array, person)
        self.rows += batch.num_rows
        if self.rows > self.bounds[1]:
            raise Broken("table.rowCount")

    def end(self) -> None:
        """All batches were seen. Raises Broken."""
        if self.rows < self.bounds[0]:
            raise Broken("table.rowCount")

    def _take_unique(self, name: str, known: Any) -> None:
        seen, before = self._unique[name], len(self._unique[name])
        seen.update(short(value) for value in known.to_pylist())
        if len(seen) < before + len(known):
            raise Broken(f"{name}.unique")

    def _take_people(self, array: Any, person: str | None) -> None:
        named = array.unique().to_pylist()
        if person is not None and named != [person] and len(array):
            raise Broken(f"{self.person}.other")
        self.people.update(short(value) for value in named)


def short(value: Any) -> bytes:
    """16 bytes that stand for a value: hundreds of thousands of them must fit into memory."""
    return hashlib.sha256(repr(value).encode()).digest()[:16]


def combine(pyarrow: Any, plan: dict[str, Any], folder: Path, output: int) -> None:
    """Write the head, and the table if every share keeps its contract."""
    tables: list[Any] = []
    head: dict[str, Any] = {"fault": None, "share": None}
    for place, share in enumerate(plan["shares"]):
        try:
            tables.append(read(pyarrow, folder / share["file"], plan, share["person"]))
        except Broken as broken:
            head = {"fault": str(broken), "share": place}
            break
    whole = pyarrow.concat_tables(tables) if tables else None
    persons = [] if whole is None else whole.column(plan["person"]).to_pylist()
    head |= {"rows": [table.num_rows for table in tables], "people": len(set(persons))}
    if whole is None or head["fault"] is not None:
        write_head(output, head)
    else:
        write_head(output, head | {"persons": persons, "contents": contents(pyarrow, whole, plan)})
        write_all(output, to_stream(pyarrow, whole.drop_columns([plan["person"]])))


def read(pyarrow: Any, path: Path, plan: dict[str, Any], person: str | None) -> Any:
    """One share as a table with exactly the contract's columns and types. Raises Broken."""
    columns = plan["contract"]["columns"]
    try:
        table = pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()
        table.validate(full=True)
        # Compressed or overlapping buffers: a small file that leaves no memory for anybody else's.
        if table.nbytes > path.stat().st_size:
            raise Broken("table.format")
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise Broken("table.format") from error
    low, high = plan["contract"]["rows"]
    if not low <= table.num_rows <= high:
        raise Broken("table.rowCount")
    if sorted(table.column_names) != sorted(column["name"] for column in columns):
        raise Broken("table.columns")
    arrays = [checked(pyarrow, table.column(column["name"]), column) for column in columns]
    table = pyarrow.table(arrays, names=[column["name"] for column in columns])
    if person is not None and table.column(plan["person"]).unique().to_pylist() != [person]:
        raise Broken(f"{plan['person']}.other")
    return table


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
    broken = {
        low: lambda: compute.less(measured, column[low]),
        high: lambda: compute.greater(measured, column[high]),
        "pattern": lambda: differs(compute, known, column["pattern"]),
        "values": lambda: outside(pyarrow, known, column["values"]),
    }
    for rule, test in broken.items():
        if column[rule] not in (None, []) and holds(compute, test):
            raise Broken(f"{name}.{rule}")
    return array


def holds(compute: Any, test: Callable[[], Any]) -> bool:
    """Whether any value is true."""
    return bool(compute.any(test(), min_count=0).as_py())


BOUNDS, LENGTHS = ("minimum", "maximum"), ("min_length", "max_length")


def differs(compute: Any, texts: Any, pattern: str) -> Any:
    """Which texts the pattern does not match in full."""
    return compute.invert(compute.match_substring_regex(texts, f"^(?:{pattern})$"))


def outside(pyarrow: Any, known: Any, values: list[Any]) -> Any:
    """Which values are none of `values`."""
    allowed = pyarrow.array(values, type=known.type)
    return pyarrow.compute.invert(pyarrow.compute.is_in(known, value_set=allowed))


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
    wanted = {
        "integer": pyarrow.int64(),
        "number": pyarrow.float64(),
        "string": pyarrow.string(),
        "boolean": pyarrow.bool_(),
        "binary": pyarrow.binary(),
    }[column["type"]]
    # A column of nothing but missing values has no type of its own.
    if not any(is_kind(array.type) for is_kind in (types.is_null, *kinds)):
        raise Broken(f"{column['name']}.type")
    try:
        return array.cast(wanted)
    except pyarrow.ArrowException as error:
        raise Broken(f"{column['name']}.type") from error


def contents(pyarrow: Any, table: Any, plan: dict[str, Any]) -> list[str]:
    """For each row the first 16 bytes of SHA-256 of what it says, without the person, as hex."""
    compute = pyarrow.compute
    columns = [table.column(name) for name in table.column_names if name != plan["person"]]
    texts = [as_text(pyarrow, column) for column in columns]
    joined = compute.binary_join_element_wise(
        *texts, "\x1f", null_handling="replace", null_replacement="\x00"
    )
    return [hashlib.sha256(text.encode()).hexdigest()[:32] for text in joined.to_pylist()]


def as_text(pyarrow: Any, column: Any) -> Any:
    """Each value as a text that no other value has."""
    if not pyarrow.types.is_binary(column.type):
        return pyarrow.compute.cast(column, pyarrow.string())
    values = column.to_pylist()
    return pyarrow.array([one if one is None else one.hex() for one in values], pyarrow.string())


def to_stream(pyarrow: Any, table: Any) -> Any:
    """The table as one Arrow IPC stream; it carries no metadata of any provider."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def write_head(descriptor: int, head: dict[str, Any]) -> None:
    """Write the head with its length before it."""
    text = json.dumps(head).encode()
    write_all(descriptor, len(text).to_bytes(8, "big") + text)


def write_all(descriptor: int, document: Any) -> None:
    """Write everything to a pipe that may take it in parts."""
    rest = memoryview(document)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
