"""Checks shares against their data contract, and puts them together, inside the sandbox.

Providers' bytes are hostile: Arrow is parsed here, never in the trusted process, and by code that
is part of the measured runtime, never by the algorithm. The orders are the input `plan`, JSON:
contract, person column, shares in order, and the task.

"check" reads one share from the standard input as it arrives, batch by batch, keeps none of it, and
answers with a head; "check-all" reads small ones that lie in an input, and answers with all heads
in one ("shares"). "combine" reads shares that lie in inputs (`extent`: input, start and size; and
the one person that it may be about), also batch by batch, and writes one Arrow stream of all rows
to the memory file `table`: without the person column, and with `_person`, which stands for the same
person in all tables of this run and in no other. Its answer is a head, and after it 16 bytes each:
for every row who it is about (tag), for every row what it says, and whose rows were left out.

A head is an 8-byte length and JSON that names no person.
"""

# ruff: noqa: ANN401 (pyarrow has no types)
import hashlib
import hmac
import importlib
import io
import json
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from enclave_host.runners.columns import Broken, arrow_type, checked, without_pandas
from enclave_host.runners.common import Job, finish, mapped, write_all

TAG = 16  # bytes that stand for a person, or for what a row says
PERSON = "_person"
WINDOW = 64 << 20  # bytes of the table that are mapped at once
AT_ONCE = 32 << 20  # bytes of a share that are read whole
BATCH = 1 << 16, 16 << 20  # rows or bytes that are written as one: many shares have one row


def run(job: Job, output: int) -> NoReturn:
    """Do what the plan says and end the process."""
    without_pandas()
    finish(job, lambda: answer(job["inputs"], output))


def answer(inputs: dict[str, int], output: int) -> None:
    """Do the plan's task and write the answer."""
    plan = json.loads(bytes(mapped(inputs["plan"])))
    pyarrow = importlib.import_module("pyarrow")
    importlib.import_module("pyarrow.compute")
    if plan["task"] == "check":
        write_head(output, check(pyarrow, plan, plan["shares"][0], sys.stdin.buffer))
        return
    if plan["task"] == "check-all":
        heads = [
            check(pyarrow, plan, share, opened(inputs, *share["extent"]))
            for share in plan["shares"]
        ]
        write_head(output, {"shares": heads})
        return
    made = Table(pyarrow, plan, Windows(inputs["table"]))
    write_head(output, combine(pyarrow, plan, inputs, made))
    for part in (made.tags, made.contents, made.left_out):
        write_all(output, part)


def check(pyarrow: Any, plan: dict[str, Any], share: dict[str, Any], stream: Any) -> dict[str, Any]:
    """The head for one share that arrives on `stream`; all of it is read, whatever is wrong."""
    columns, counted = Columns(pyarrow, plan, share["person"]), Counted(stream)
    people: set[bytes] = set()
    head: dict[str, Any] = {"fault": None}

    def note(arrays: list[Any]) -> None:
        people.update(map(short, arrays[columns.place].unique().to_pylist()))

    try:
        read_stream(pyarrow, counted, columns, note)
    except Broken as broken:
        head["fault"] = str(broken)
    # Who sends must not be able to tell by a closed pipe, and when, what is wrong with the rows.
    while counted.read(1 << 20):
        continue
    return head | {"rows": columns.rows, "people": len(people)}


def combine(
    pyarrow: Any, plan: dict[str, Any], inputs: dict[str, int], made: "Table"
) -> dict[str, Any]:
    """Put the shares together in `made`; the head. After a fault nothing of it counts."""
    try:
        for share in plan["shares"]:
            columns = Columns(pyarrow, plan, share["person"])
            stream = Counted(opened(inputs, *share["extent"]))
            made.begin(share["person"])
            read_stream(pyarrow, stream, columns, made.add)
        made.end()
    except Broken as broken:
        made.clear()
        return {"fault": str(broken)}
    return {"fault": None, "rows": made.rows, "left_out": made.left, "size": made.sink.size}


def opened(inputs: dict[str, int], name: str, start: int, size: int) -> Any:
    """A share as a file: whole, if it is small, or read as it is needed."""
    if size <= AT_ONCE:
        return io.BytesIO(os.pread(inputs[name], size, start))
    os.lseek(inputs[name], start, os.SEEK_SET)
    return open(inputs[name], "rb", closefd=False)


def read_stream(
    pyarrow: Any, stream: "Counted", columns: "Columns", use: Callable[[list[Any]], None]
) -> None:
    """Check batch after batch, and use those that keep the contract. Raises Broken."""
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
                use(columns.take(batch))
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
    """What must hold of one share that comes in batches, and what was seen so far."""

    def __init__(self, pyarrow: Any, plan: dict[str, Any], person: str | None) -> None:
        """Nothing was seen yet; `person` is the only one whom it may be about, if any."""
        self.pyarrow = pyarrow
        self.columns = plan["contract"]["columns"]
        self.bounds = plan["contract"]["rows"]
        self.person = person
        self.place = [column["name"] for column in self.columns].index(plan["person"])
        self.rows = 0
        self._first: dict[str, Any] = {}
        self._seen: dict[str, set[bytes]] = {}

    def require(self, names: list[str]) -> None:
        """Exactly the contract's columns. Raises Broken."""
        if sorted(names) != sorted(column["name"] for column in self.columns):
            raise Broken("table.columns")

    def take(self, batch: Any) -> list[Any]:
        """One more batch, in the contract's order and types. Raises Broken."""
        arrays = [checked(self.pyarrow, batch.column(one["name"]), one) for one in self.columns]
        for column, array in zip(self.columns, arrays, strict=True):
            if column["unique"]:
                self._take_unique(column["name"], array.drop_null())
        if self.person is not None and batch.num_rows:
            self._require_person(arrays[self.place].unique().to_pylist())
        self.rows += batch.num_rows
        if self.rows > self.bounds[1]:
            raise Broken("table.rowCount")
        return arrays

    def end(self) -> None:
        """All batches were seen. Raises Broken."""
        if self.rows < self.bounds[0]:
            raise Broken("table.rowCount")
        if self.person is not None and not self.rows:
            self._require_person([])

    def _require_person(self, named: list[str]) -> None:
        if named != [self.person]:
            raise Broken(f"{self.columns[self.place]['name']}.other")

    def _take_unique(self, name: str, known: Any) -> None:
        """Between batches; within one, `checked` has looked. Most shares have one."""
        if name not in self._seen and name not in self._first:
            self._first[name] = known
            return
        seen = self._seen.setdefault(name, set())
        for array in [self._first.pop(name), known] if name in self._first else [known]:
            before = len(seen)
            seen.update(map(short, array.to_pylist()))
            if len(seen) < before + len(array):
                raise Broken(f"{name}.unique")


def short(value: Any) -> bytes:
    """16 bytes that stand for a value: hundreds of thousands of them must fit into memory."""
    return hashlib.sha256(repr(value).encode()).digest()[:TAG]


class Windows:
    """A memory file that is written a window at a time: a table needs no address space at once."""

    closed = False

    def __init__(self, descriptor: int) -> None:
        """Write from its start, at most as far as it is long."""
        self.descriptor = descriptor
        self.capacity = os.fstat(descriptor).st_size
        self.size = 0
        self._window: mmap.mmap | None = None

    def write(self, data: Any) -> int:
        """Add bytes at the end. Raises MemoryError beyond the capacity."""
        rest = memoryview(data).cast("B")
        if self.size + len(rest) > self.capacity:
            raise MemoryError("the tables are larger than the enclave's room for data")
        written = len(rest)
        while rest:
            place = self.size % WINDOW
            if place == 0 or self._window is None:
                start = self.size - place
                length = min(WINDOW, self.capacity - start)
                self._window = mmap.mmap(self.descriptor, length, offset=start)
            part = rest[: WINDOW - place]
            self._window[place : place + len(part)] = part
            self.size += len(part)
            rest = rest[len(part) :]
        return written

    def flush(self) -> None:
        """All is written already."""

    def close(self) -> None:
        """Forget the window."""
        self._window = None


class Table:
    """The table of all shares, as far as it came: its rows go to `sink`, what they are about stays.

    Overlap: where one person is in two shares, both are kept, or the person's own rows alone
    ("vault"), or it is a fault ("refuse").
    """

    def __init__(self, pyarrow: Any, plan: dict[str, Any], sink: Windows) -> None:
        """No row came yet."""
        self.pyarrow, self.sink = pyarrow, sink
        columns = plan["contract"]["columns"]
        self.place = [column["name"] for column in columns].index(plan["person"])
        self.overlap = plan["overlap"]
        self.keys = [bytes.fromhex(plan[name]) for name in ("tag_key", "person_key")]
        own = [share["person"] for share in plan["shares"] if share["person"] is not None]
        self.vaults = self._values([tag(self.keys[0], person) for person in own])
        others = [one for one in columns if one["name"] != plan["person"]]
        fields = [(one["name"], arrow_type(pyarrow, one)) for one in others]
        self.schema = pyarrow.schema([*fields, (PERSON, pyarrow.binary(TAG))])
        self.writer = pyarrow.ipc.new_stream(pyarrow.PythonFile(sink, "w"), self.schema)
        self.clear()

    def clear(self) -> None:
        """Forget what is known of the rows."""
        self.tags, self.contents, self.left_out = bytearray(), bytearray(), bytearray()
        self.rows: list[int] = []
        self.left: list[int] = []
        self._waiting: list[Any] = []
        self._held = (0, 0)
        self._here: set[bytes] = set()
        self._before: set[bytes] = set()
        self._own = False

    def begin(self, person: str | None) -> None:
        """What comes next is of another share, a person's own or not."""
        self._before |= self._here
        self._here = set()
        self._own = person is not None
        self.rows.append(0)
        self.left.append(0)

    def add(self, arrays: list[Any]) -> None:
        """Rows that keep the contract. Raises Broken if their people may not be in here."""
        about = arrays[self.place]
        others = [one for place, one in enumerate(arrays) if place != self.place]
        tags, people = self._standing_for(about)
        said = self._values(contents(self.pyarrow, others, len(about)))
        if self.overlap == "refuse":
            self._refuse(tags)
        if self.overlap == "vault" and not self._own:
            known = self.pyarrow.compute.is_in(tags, value_set=self.vaults)
            gone = tags.filter(known).unique()
            self.left_out += raw(gone)
            self.left[-1] += len(gone)
            kept = self.pyarrow.compute.invert(known)
            tags, people, said, *others = (
                one.filter(kept) for one in (tags, people, said, *others)
            )
        self.tags += raw(tags)
        self.contents += raw(said)
        self.rows[-1] += len(tags)
        batch = self.pyarrow.record_batch([*others, people], schema=self.schema)
        self._waiting.append(batch)
        self._held = self._held[0] + batch.num_rows, self._held[1] + batch.nbytes
        if self._held[0] >= BATCH[0] or self._held[1] >= BATCH[1]:
            self._write()

    def end(self) -> None:
        """All rows came."""
        self._write()
        self.writer.close()
        self.sink.close()

    def _refuse(self, tags: Any) -> None:
        self._here.update(tags.unique().to_pylist())
        if not self._here.isdisjoint(self._before):
            raise Broken("table.overlap")

    def _standing_for(self, about: Any) -> tuple[Any, Any]:
        """What stands for the person of each row: for the enclave, and for the algorithm."""
        encoded = about.dictionary_encode()
        named = encoded.dictionary.to_pylist()
        tags, people = (self._values([tag(key, one) for one in named]) for key in self.keys)
        return tags.take(encoded.indices), people.take(encoded.indices)

    def _values(self, values: list[bytes]) -> Any:
        return self.pyarrow.array(values, self.pyarrow.binary(TAG))

    def _write(self) -> None:
        """Write the batches that wait, as one."""
        table = self.pyarrow.Table.from_batches(self._waiting, self.schema).combine_chunks()
        self._waiting, self._held = [], (0, 0)
        self.writer.write_table(table)


def tag(key: bytes, person: str) -> bytes:
    """What stands for a person under this key."""
    return hmac.digest(key, person.encode(), "sha256")[:TAG]


def raw(values: Any) -> bytes:
    """The bytes of an array of tags, one after the other."""
    if not len(values):
        return b""
    start = values.offset * TAG
    return bytes(memoryview(values.buffers()[1])[start : start + len(values) * TAG])


def contents(pyarrow: Any, columns: list[Any], rows: int) -> list[bytes]:
    """For each row the first 16 bytes of SHA-256 of what it says, without the person. With the
    lengths of its texts, no two rows look the same whatever they hold.
    """
    if not columns:
        return [hashlib.sha256().digest()[:TAG]] * rows
    compute = pyarrow.compute
    texts = [as_text(pyarrow, column) for column in columns]
    free = [one for one in columns if pyarrow.types.is_string(one.type)]
    lengths = [compute.binary_length(one).cast(pyarrow.string()) for one in free]
    joined = compute.binary_join_element_wise(
        *texts, *lengths, "\x1f", null_handling="replace", null_replacement="\x00"
    )
    found = joined.cast(pyarrow.binary()).to_pylist()
    return [hashlib.sha256(text).digest()[:TAG] for text in found]


def as_text(pyarrow: Any, column: Any) -> Any:
    """Each value as a text that no other value has."""
    if not pyarrow.types.is_binary(column.type):
        return pyarrow.compute.cast(column, pyarrow.string())
    values = column.to_pylist()
    return pyarrow.array([one if one is None else one.hex() for one in values], pyarrow.string())


def write_head(descriptor: int, head: dict[str, Any]) -> None:
    """Write the head with its length before it."""
    text = json.dumps(head).encode()
    write_all(descriptor, len(text).to_bytes(8, "big") + text)
