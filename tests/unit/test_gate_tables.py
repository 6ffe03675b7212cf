"""The gate's worker for Arrow tables: what a table can hide, and that none of it leaves.

Called here without its sandbox; tests/hostile has both together.
"""

import json
import os
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_host import outputs
from enclave_host.cage import memory
from enclave_host.runners import gate as worker
from enclave_host.table_model import read_table_model
from protocol.errors import Refused

CONTRACT = """
apiVersion: v3.0.2
kind: DataContract
id: cells-v1
schema:
  - name: cells
    quality: [{ rule: rowCount, mustBeBetween: [0, 200000], severity: error }]
    properties:
      - { name: region, logicalType: string, logicalTypeOptions: { maxLength: 8 }, required: true }
      - { name: mean, logicalType: number, logicalTypeOptions: { minimum: -1000, maximum: 1000 } }
      - { name: old, logicalType: boolean }
      - { name: tag, logicalType: string, logicalTypeOptions: { format: binary, maxLength: 4 } }
      - name: people
        logicalType: integer
        logicalTypeOptions: { minimum: 0, maximum: 1000000 }
        required: true
        customProperties: [{ property: x-village-cell-count, value: true }]
"""
MODEL = read_table_model("cells", CONTRACT.encode())
TYPES = {
    "region": pa.string(),
    "mean": pa.float64(),
    "old": pa.bool_(),
    "tag": pa.binary(),
    "people": pa.int64(),
}
ROW = {"region": "north", "mean": 1.5, "old": True, "tag": b"a", "people": 9}


def table(rows: list[dict[str, Any]], **types: Any) -> pa.Table:
    kinds = {**TYPES, **types}
    return pa.table({n: pa.array([row[n] for row in rows], kinds[n]) for n in kinds})


def stream(found: pa.Table, batch: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, found.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(found, max_chunksize=batch)
    return sink.getvalue().to_pybytes()


def gated(raw: bytes, **rules: Any) -> tuple[dict[str, Any], bytes | None]:
    """The worker's report and table, through a pipe as in the sandbox."""
    plan = {**MODEL.plain(), "precision": 2, "bound": 5, "suppress": False, **rules}
    with memory.files({"plan": json.dumps(plan).encode(), "table": raw, "out": b""}) as files:
        worker.answer({"plan": files["plan"], "table": files["table"]}, files["out"])
        found = outputs.parse(os.pread(files["out"], os.fstat(files["out"]).st_size, 0))
    assert found["report"].format == "json"
    content = found["table"].content if "table" in found else None
    return outputs.read_json(found["report"].content), content


def opened(content: bytes | None) -> pa.Table:
    assert content is not None
    return pa.ipc.open_stream(content).read_all()


def test_a_table_is_built_anew_in_one_order_without_metadata():
    rows = [
        {**ROW, "region": "south", "mean": 0.125},
        {**ROW, "mean": None, "old": None, "tag": None},
        {**ROW, "mean": -0.001, "people": 7},
    ]
    found = table(rows).select(list(reversed(TYPES))).replace_schema_metadata({"x": "row-001"})
    report, content = gated(stream(found))
    assert report == {"fault": None, "rows": 3, "cells": 3, "small": 0, "left": True}
    clean = opened(content)
    assert clean.schema.metadata is None
    assert clean.column_names == list(TYPES)
    assert [clean.schema.field(name).nullable for name in TYPES] == [False, True, True, True, False]
    assert clean.to_pylist() == [
        {**ROW, "mean": 0.0, "people": 7},
        {**ROW, "mean": None, "old": None, "tag": None},
        {**ROW, "region": "south", "mean": 0.12},
    ]
    assert struct.pack("<d", clean["mean"][0].as_py()) == bytes(8)  # and not -0


VALUES = st.fixed_dictionaries(
    {
        "region": st.text("abé", max_size=3),
        "mean": st.none() | st.floats(-1000, 1000),
        "old": st.none() | st.booleans(),
        "tag": st.none() | st.binary(max_size=4),
        "people": st.integers(5, 99),
    }
)


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=20), st.randoms(use_true_random=False), st.integers(1, 7))
def test_the_same_rows_give_the_same_bytes(rows, chance, batch):
    """Order, batches, types, dictionaries, slices, what lies under nulls: none of it is told."""
    _, plain = gated(stream(table(rows)))
    shuffled = chance.sample(rows, len(rows))
    other = table([ROW, *shuffled], people=pa.int32(), region=pa.large_string()).slice(1)
    hidden = pa.array([float(n) for n in range(len(rows))])
    mask = pa.array([row["mean"] is None for row in shuffled], pa.bool_())
    under = pa.Array.from_buffers(
        pa.float64(),
        len(rows),
        [
            pa.array([not one for one in mask.to_pylist()], pa.bool_()).buffers()[1],
            pa.array(
                [h if m else row["mean"] for h, m, row in zip(
                    hidden.to_pylist(), mask.to_pylist(), shuffled, strict=True)],
                pa.float64(),
            ).buffers()[1],
        ],
    )  # fmt: skip
    if rows:
        other = other.set_column(other.column_names.index("mean"), "mean", under)
    _, again = gated(stream(other, batch))
    assert again == plain
    assert opened(plain).num_rows == len(rows)


@settings(deadline=None, max_examples=100)
@given(st.floats(-1000, 1000), st.integers(0, 12))
def test_low_bits_of_a_number_are_gone(value, decimals):
    _, content = gated(stream(table([{**ROW, "mean": value}])), precision=decimals)
    (found,) = opened(content)["mean"].to_pylist()
    assert found == round(found, decimals)
    assert abs(found - value) <= 10**-decimals


def broken(**changes: Any) -> Iterator[tuple[str, bytes]]:
    """What does not pass, by name."""
    one = table([ROW])
    yield "no bytes", b""
    yield "no arrow", b"PAR1" * 10
    yield "cut off", stream(one)[:-40]
    yield "a column more", stream(one.append_column("x", pa.array([1])))
    yield "a column less", stream(one.drop_columns(["tag"]))
    yield "a column twice", stream(one.append_column("tag", pa.array([b"b"])))
    yield "the tags of people", stream(one.rename_columns([*list(TYPES)[:4], "_person"]))
    yield "another type", stream(table([{**ROW, "mean": "1"}], mean=pa.string()))
    yield "a number for an integer", stream(table([{**ROW, "people": 9.0}], people=pa.float64()))
    yield "not a number", stream(table([{**ROW, "mean": float("nan")}]))
    yield "infinite", stream(table([{**ROW, "mean": float("inf")}]))
    yield "too large", stream(table([{**ROW, "mean": 1001.0}]))
    yield "too long", stream(table([{**ROW, "region": "northwest"}]))
    yield "too many bytes", stream(table([{**ROW, "tag": b"12345"}]))
    yield "missing", stream(table([{**ROW, "people": None}]))
    yield "compressed", stream(table([ROW] * 10_000), compression="zstd")
    yield "a list", stream(table([{**ROW, "tag": [b"a"]}], tag=pa.list_(pa.binary())))


@pytest.mark.parametrize(("name", "raw"), list(broken()), ids=[name for name, _ in broken()])
def test_what_the_model_does_not_say_does_not_leave(name, raw):
    report, content = gated(raw)
    assert report["fault"] is not None
    assert content is None


def test_too_many_rows_do_not_leave():
    report, content = gated(stream(table([ROW, ROW])), rows=[0, 1])
    assert (report["fault"], content) == ("table.rowCount", None)


def counts(*people: int, suppress: bool) -> tuple[dict[str, Any], list[int] | None]:
    rows = [{**ROW, "region": str(n), "people": count} for n, count in enumerate(people)]
    report, content = gated(stream(table(rows)), suppress=suppress)
    return report, None if content is None else sorted(opened(content)["people"].to_pylist())


def test_small_cells_keep_the_table_back_or_go_with_another():
    assert counts(9, 4, 6, suppress=False) == (
        {"fault": None, "rows": 3, "cells": 3, "small": 1, "left": False}, None,
    )  # fmt: skip
    report, left = counts(9, 4, 6, suppress=True)
    assert (report["small"], left) == (1, [9])
    assert counts(9, 4, 2, suppress=True)[1] == [9]
    assert counts(1, 2, suppress=True) == (
        {"fault": None, "rows": 0, "cells": 2, "small": 2, "left": False}, None,
    )  # fmt: skip


@given(st.lists(st.integers(0, 12), max_size=12), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_suppression_leaves_no_small_cell_and_hides_what_went(people, bound):
    rows = [{**ROW, "region": str(n), "people": count} for n, count in enumerate(people)]
    report, content = gated(stream(table(rows)), suppress=True, bound=bound)
    if content is not None:
        left = opened(content)["people"].to_pylist()
        assert all(count >= bound for count in left)
        assert len(left) == len(people) or sum(people) - sum(left) >= bound
    assert report["small"] == sum(count < bound for count in people)


def test_a_hundred_thousand_rows_stay_within_bounded_memory():
    rows = 100_000
    found = pa.table(
        {
            "region": pa.array([f"r{n % 977}" for n in range(rows)]),
            "mean": pa.array([n / 7 % 1000 for n in range(rows)]),
            "old": pa.array([n % 3 == 0 for n in range(rows)]),
            "tag": pa.array([b"ab"] * rows),
            "people": pa.array([5 + n % 50 for n in range(rows)]),
        }
    )
    raw = stream(found)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    with peak() as used:
        report, content = gated(raw)
    assert report["rows"] == rows
    assert content is not None
    assert used[0] < 12 * len(raw)
    assert pool.bytes_allocated() - before < len(raw)


@contextmanager
def peak() -> Iterator[list[int]]:
    """The most that Python's objects took."""
    used = [0]
    tracemalloc.start()
    try:
        yield used
        used[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


OPEN = [
    ("no bound on a number", "minimum: -1000, maximum: 1000", "minimum: -1000"),
    ("an infinite bound", "maximum: 1000 ", "maximum: .inf "),
    ("a bound that is none", "maximum: 1000 ", "maximum: yes "),
    ("no bound on a text", "logicalTypeOptions: { maxLength: 8 }, ", ""),
    ("no bound on bytes", "format: binary, maxLength: 4", "format: binary"),
    ("no bound on rows", "mustBeBetween: [0, 200000]", "mustBeGreaterOrEqualTo: 0"),
    ("the tags of people", "name: tag", "name: _person"),
    ("a mark on a text", "name: people\n        logicalType: integer",
     "name: people\n        logicalType: number"),
    ("a mark that is no mark", "value: true", "value: 1"),
    ("no contract", "kind: DataContract", "kind: Other"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new"), OPEN, ids=[one[0] for one in OPEN])
def test_an_open_contract_is_no_model(name, old, new):
    assert old in CONTRACT
    with pytest.raises(Refused) as refused:
        read_table_model("cells", CONTRACT.replace(old, new).encode())
    assert refused.value.code == "gate.schema"
    assert refused.value.detail.startswith("the output model of cells")
