"""Malicious files as shares: what a parser would take, or choke on, the first sandbox refuses.

The control reads each file as an algorithm would that trusts its input: it must be taken there.
"""

import json
import os
import pickle
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pytest
from pyarrow import ipc

from enclave_host.cage import Cage, Limits
from enclave_host.contract import Column, Contract
from enclave_host.inputs import Checked, Datacage, check
from enclave_host.private import Room
from protocol.errors import Refused
from tests.hostile.target import SCIENTIFIC

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(not (SCIENTIFIC / "pyarrow").is_dir(), reason="make setup installs pyarrow"),
]

COLUMNS = (
    Column(name="person", type="string", required=True, unique=True),
    Column(name="value", type="number", required=True, unique=False, minimum=0, maximum=1000),
)
CONTRACT = Contract(columns=COLUMNS, rows=(1, 1000))
PERSONS = pa.array(["p1", "p2"])
VALUES = pa.array([1.0, 2.0])


@dataclass(frozen=True)
class Hostile:
    """A file, what a trusting reader gets of it, and how the check must end."""

    name: str
    content: Callable[[], bytes]
    got: Callable[[bytes], object]
    ends: str


def stream(persons: pa.Array = PERSONS, values: pa.Array = VALUES, **more: object) -> bytes:
    names = ["person", "value"]
    return streamed(pa.record_batch([persons, values], names=names), **more)


def streamed(batch: pa.RecordBatch, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def texts(offsets: list[int], content: bytes) -> pa.Array:
    """Texts with offsets that nobody checked."""
    places = pa.py_buffer(struct.pack(f"<{len(offsets)}i", *offsets))
    buffers = [None, places, pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def beyond(content: bytes) -> bytes:
    """The last offset points a gibibyte further."""
    return content.replace(struct.pack("<3i", 0, 2, 4), struct.pack("<3i", 0, 2, 1 << 30))


def table(content: bytes) -> pa.Table:
    return ipc.open_stream(content).read_all()


def taken(content: bytes) -> bool:
    """A trusting reader has a table with rows."""
    return table(content).num_rows > 0


def larger(content: bytes) -> bool:
    """A few bytes became many."""
    return table(content).nbytes > 100 * len(content)


def executed(content: bytes) -> bool:
    return pickle.loads(content) == 42  # noqa: S301 our own


class Payload:
    """Code that runs when it is read."""

    def __reduce__(self) -> tuple:
        return eval, ("6 * 7",)


def parquet(content: pa.Table) -> bytes:
    from pyarrow import parquet as format_

    sink = pa.BufferOutputStream()
    format_.write_table(content, sink)
    return sink.getvalue().to_pybytes()


def parquet_read(content: bytes) -> bool:
    from pyarrow import parquet as format_

    return format_.read_table(pa.py_buffer(content)).num_rows > 0


def repeated(count: int) -> pa.RecordBatch:
    columns = [PERSONS, VALUES, *[VALUES] * count]
    return pa.record_batch(columns, names=["person", "value", *["value"] * count])


ZEROS = 400_000
GOOD = stream()

FILES = [
    Hostile("nothing wrong", lambda: GOOD, taken, "kept"),
    Hostile(
        "a compressed bomb",
        lambda: stream(
            pa.nulls(ZEROS, pa.string()), pa.array([0.0] * ZEROS), compression=pa.Codec("zstd")
        ),
        larger,
        "table.format",
    ),
    Hostile(
        "texts that are no UTF-8",
        lambda: stream(texts([0, 2, 4], b"\xff\xfe\xfd\xfc")),
        taken,
        "table.format",
    ),
    Hostile(
        "offsets beyond the end",
        lambda: beyond(stream(texts([0, 2, 4], b"p1p2"))),
        taken,
        "table.format",
    ),
    Hostile(
        "offsets that go back", lambda: stream(texts([0, 4, 2], b"p1p2")), taken, "table.format"
    ),
    Hostile(
        "rows of nothing",
        lambda: streamed(pa.record_batch([pa.nulls(1 << 24)], names=["x"])),
        taken,
        "table.columns",
    ),
    Hostile("one column twice", lambda: streamed(repeated(1)), taken, "table.columns"),
    Hostile("a thousand columns", lambda: streamed(repeated(1000)), taken, "table.columns"),
    Hostile("another type", lambda: stream(values=pa.array(["1", "2"])), taken, "value.type"),
    Hostile("a nested type", lambda: stream(values=pa.array([[1.0], [2.0]])), taken, "value.type"),
    Hostile("not a number", lambda: stream(values=pa.array([1.0, float("nan")])), taken, "value"),
    Hostile("no end", lambda: stream(values=pa.array([1.0, float("inf")])), taken, "value.maximum"),
    Hostile(
        "missing values", lambda: stream(values=pa.array([1.0, None])), taken, "value.required"
    ),
    Hostile("one person twice", lambda: stream(pa.array(["p1", "p1"])), taken, "person.unique"),
    Hostile("more after the end", lambda: GOOD + b"more", taken, "table.format"),
    Hostile(
        "a file instead of a stream",
        lambda: b"ARROW1\0\0" + GOOD,
        lambda raw: taken(raw[8:]),
        "table.format",
    ),
    Hostile(
        "Parquet",
        lambda: parquet(pa.table({"person": PERSONS, "value": VALUES})),
        parquet_read,
        "table.format",
    ),
    Hostile("CSV", lambda: b"person,value\np1,1\n", lambda raw: b"p1" in raw, "run.failed"),
    Hostile("JSON", lambda: b'{"person":"p1","value":1}', json.loads, "table.format"),
    Hostile("pickle", lambda: pickle.dumps(Payload()), executed, "table.format"),
]


@pytest.fixture(scope="module")
def verdicts():
    limits = Limits(memory=2 << 30, cpu=30, wall=60.0, processes=16, files=64, tmp=1 << 20)
    datacage = Datacage(Cage.probe(), Room(1 << 30), SCIENTIFIC, limits)
    with ThreadPoolExecutor(3) as pool:
        return dict(pool.map(lambda one: (one.name, verdict(datacage, one.content())), FILES))


def verdict(datacage: Datacage, content: bytes) -> str:
    """What the check of a share says that comes through a pipe."""
    source, sink = os.pipe()
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(_send, sink, content)
        try:
            found = check(datacage, CONTRACT, "person", None, source)
        except Refused as refused:
            return str(refused)
        finally:
            os.close(source)
    sent.result()
    assert isinstance(found, Checked)
    return found.verdict


def _send(sink: int, content: bytes) -> None:
    with open(sink, "wb") as pipe:
        pipe.write(content)


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_a_trusting_reader_takes_it(file):
    assert file.got(file.content())


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_the_first_sandbox_says_what_is_wrong(verdicts, file):
    assert file.ends in verdicts[file.name]
