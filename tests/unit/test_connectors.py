"""Files of four formats against a data contract: what leaves, and what is said of what does not."""

import io
import json
import os

import pyarrow as pa
import pytest
import trio
from pyarrow import csv as arrow_csv
from pyarrow import feather, ipc, parquet

from node.connectors import CONTRACT_BYTES, SourceError, formats, tables
from node.connectors.contract import read_contract
from node.connectors.process import Source, reading
from protocol import limits

TEXT = b"""
apiVersion: v3.0.2
kind: DataContract
schema:
  - name: vitals
    properties:
      - { name: person, logicalType: string, required: true }
      - { name: site, logicalType: integer }
      - { name: value, logicalType: number, required: true }
      - { name: smokes, logicalType: boolean }
"""
CONTRACT = read_contract(TEXT)
ROWS = [
    {"person": "p1", "site": 1, "value": 1.5, "smokes": True},
    {"person": "p2", "site": None, "value": -2.0, "smokes": None},
    {"person": "p,3 \u00e9", "site": 2**62, "value": 0.0, "smokes": False},
]
CSV = (
    'person,site,value,smokes\np1,1,1.5,true\np2,,-2,\n"p,3 \u00e9",4611686018427387904,0e3,false\n'
)


def written(path, exclude=None, person="person", contract=CONTRACT):
    out = io.BytesIO()
    out.close = lambda: None
    summary = tables.write_stream(path, contract, out, exclude, person)
    return out.getvalue(), summary


def table_of(data):
    return ipc.open_stream(data).read_all()


def faulty(path, code, *words, **named):
    with pytest.raises(SourceError) as caught:
        written(path, **named)
    assert caught.value.code == code
    assert all(word in caught.value.detail for word in words), caught.value.detail
    assert caught.value.fix
    return caught.value


def csv_file(folder, text, name="rows.csv"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def arrow_table(**changes):
    columns = {name: pa.array([row[name] for row in ROWS]) for name in ROWS[0]} | changes
    return pa.table(columns)


def every_format(folder):
    table = arrow_table()
    csv_file(folder, CSV)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    csv_file(folder, lines, "rows.jsonl")
    parquet.write_table(
        table.select(["value", "smokes", "site", "person"]), folder / "rows.parquet"
    )
    feather.write_feather(table, folder / "rows.feather", compression="uncompressed")
    with ipc.new_stream(folder / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    return [folder / f"rows.{end}" for end in ("csv", "jsonl", "parquet", "feather", "arrow")]


def test_every_format_gives_the_same_bytes(tmp_path):
    streams = {path.suffix: written(path)[0] for path in every_format(tmp_path)}
    assert len(set(streams.values())) == 1, streams.keys()
    table = table_of(streams[".csv"])
    assert table.to_pylist() == ROWS
    assert table.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.bool_()]
    assert table.schema.metadata is None


def test_a_column_order_is_the_contracts(tmp_path):
    path = csv_file(tmp_path, "value,person,smokes,site\n1,p1,true,3\n")
    assert table_of(written(path)[0]).column_names == ["person", "site", "value", "smokes"]


def test_what_lies_under_a_missing_value_never_leaves(tmp_path):
    secret = pa.Array.from_buffers(
        pa.int64(), 3, [pa.py_buffer(b"\x05"), pa.array([1, 0x5EC2E75EC2E7, 3]).buffers()[1]]
    )
    assert secret.to_pylist() == [1, None, 3]
    with ipc.new_stream(tmp_path / "rows.arrow", arrow_table(site=secret).schema) as writer:
        writer.write_table(arrow_table(site=secret))
    data = written(tmp_path / "rows.arrow")[0]
    assert (0x5EC2E75EC2E7).to_bytes(6, "little") in (tmp_path / "rows.arrow").read_bytes()
    assert (0x5EC2E75EC2E7).to_bytes(6, "little") not in data
    assert table_of(data).column("site").to_pylist() == [1, None, 3]


def test_large_files_come_in_bounded_batches(tmp_path):
    count = formats.ROWS * 2 + 5
    site = pa.array([None if n % 7 == 0 else n for n in range(count)])
    table = pa.table(
        {
            "person": [f"p{n}" for n in range(count)],
            "site": site,
            "value": [float(n) for n in range(count)],
            "smokes": [None if n % 3 == 0 else n % 2 == 0 for n in range(count)],
        }
    )
    feather.write_feather(table, tmp_path / "a.arrow", compression="uncompressed", chunksize=count)
    parquet.write_table(table, tmp_path / "a.parquet")
    first, summary = written(tmp_path / "a.arrow")
    assert summary.rows == count
    assert table_of(first).equals(table_of(written(tmp_path / "a.parquet")[0]))
    assert table_of(first).to_pydict() == table.to_pydict()
    sizes = [batch.num_rows for batch in ipc.open_stream(first)]
    assert max(sizes) <= formats.ROWS
    assert written(tmp_path / "a.arrow")[0] == first


def test_people_who_objected_stay_out_and_are_counted(tmp_path):
    path = csv_file(tmp_path, CSV + "p1,2,3,true\n")
    exclude = csv_file(tmp_path, "when,person\nmay,p1\njune,p9\n", "objections.csv")
    data, summary = written(path, exclude)
    assert [row["person"] for row in table_of(data).to_pylist()] == ["p2", "p,3 \u00e9"]
    assert (summary.rows, summary.excluded) == (2, 1)
    assert b"p1" not in data


@pytest.mark.parametrize(
    ("text", "column"), [("name\np1\n", "person"), ("person\n\n", "person"), ("person\n", "who")]
)
def test_a_list_of_objections_that_cannot_be_applied_is_refused(tmp_path, text, column):
    path = csv_file(tmp_path, CSV)
    exclude = csv_file(tmp_path, text, "objections.csv")
    if text == "person\n\n":
        assert written(path, exclude)[1].excluded == 0  # an empty line is nobody
    else:
        faulty(path, "source.exclude", exclude=exclude, person=column)


def test_an_objection_list_that_is_not_there_stops_the_push(tmp_path):
    faulty(csv_file(tmp_path, CSV), "source.exclude", exclude=tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("p4,x,1,true", "source.value", ("Row 4", "'site'", "whole number")),
        ("p4,0x10,1,true", "source.value", ("Row 4", "'site'")),
        ("p4, 7,1,true", "source.value", ("Row 4", "'site'")),
        ("p4,1.0,1,true", "source.value", ("Row 4", "'site'")),
        ("p4,9223372036854775808,1,true", "source.value", ("Row 4", "'site'")),
        ("p4,1,nan,true", "source.value", ("Row 4", "'value'")),
        ("p4,1,inf,true", "source.value", ("Row 4", "'value'")),
        ("p4,1,1e999,true", "source.value", ("Row 4", "'value'")),
        ('p4,1,"1,5",true', "source.value", ("Row 4", "'value'")),
        ("p4,1,1,yes", "source.value", ("Row 4", "'smokes'", "true or false")),
        ("p4,1,,true", "source.required", ("Row 4", "'value'")),
        (",1,1,true", "source.required", ("Row 4", "'person'")),
        ("p4,1,1", "source.format", ("row 4", "3 values, wanted 4")),
        ("p4,1,1,true,more", "source.format", ("row 4", "5 values, wanted 4")),
    ],
)
def test_a_fault_names_row_and_column_and_no_value(tmp_path, line, code, words):
    error = faulty(csv_file(tmp_path, CSV + line + "\n"), code, *words)
    assert "p4" not in str(error)


def test_rows_are_counted_across_blocks(tmp_path):
    many = "".join(f"p{n},1,1,true\n" for n in range(150_000))
    path = csv_file(tmp_path, "person,site,value,smokes\n" + many + "q,?,1,true\n")
    faulty(path, "source.value", "Row 150001", "'site'")


@pytest.mark.parametrize(
    ("head", "word"),
    [
        ("person,site,value", "smokes"),
        ("person,site,value,smokes,address", "address"),
        ("person,site,value,smokes,site", "twice"),
        ("person;site;value;smokes", "person;site"),
    ],
)
def test_columns_must_be_those_of_the_contract(tmp_path, head, word):
    row = ",".join("1" for _ in head.split(","))
    faulty(csv_file(tmp_path, f"{head}\n{row}\n"), "source.columns", word)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ('{"person": "p", "site": 1.5, "value": 1}', "source.value", ("Row 1", "'site'")),
        ('{"person": "p", "site": true, "value": 1}', "source.value", ("Row 1", "'site'")),
        ('{"person": "p", "value": "1"}', "source.value", ("Row 1", "'value'")),
        ('{"person": "p", "value": NaN}', "source.format", ("row 1",)),
        ('{"person": "p", "value": 1e999}', "source.value", ("Row 1", "'value'")),
        ('{"person": "\\ud800", "value": 1}', "source.value", ("Row 1", "'person'")),
        ('{"person": "p"}', "source.required", ("Row 1", "'value'")),
        ('{"person": "p", "value": 1, "value": 2}', "source.format", ("row 1",)),
        ('{"person": "p", "value": 1, "age": 2}', "source.columns", ("age",)),
        ("[1]", "source.format", ("row 1",)),
        ("[" * 100_000, "source.format", ("row 1",)),
        ('{"person": "' + "x" * formats.BLOCK + '"}', "source.format", ("row 1",)),
    ],
)
def test_faults_of_json_lines(tmp_path, line, code, words):
    faulty(csv_file(tmp_path, line + "\n", "rows.jsonl"), code, *words)


@pytest.mark.parametrize(
    "changes",
    [
        {"site": pa.array(["1", "2", "x"])},
        {"site": pa.array([1.0, 2.0, 3.0])},
        {"value": pa.array([1.0, float("nan"), 2.0])},
        {"person": pa.array([1, 2, 3])},
        {"smokes": pa.array([[1], [2], [3]])},
    ],
)
def test_a_column_of_another_type_is_refused(tmp_path, changes):
    parquet.write_table(arrow_table(**changes), tmp_path / "rows.parquet")
    faulty(tmp_path / "rows.parquet", "source.value", next(iter(changes)))


def test_dictionaries_and_small_integers_are_widened(tmp_path):
    person = pa.array(["a", "b", "a"]).dictionary_encode()
    site = pa.array([1, 2, 3], pa.int8())
    parquet.write_table(arrow_table(person=person, site=site), tmp_path / "rows.parquet")
    table = table_of(written(tmp_path / "rows.parquet")[0])
    assert table.column("person").to_pylist() == ["a", "b", "a"]
    assert table.column("site").type == pa.int64()


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.arrow", "rows.jsonl"])
@pytest.mark.parametrize("data", [b"\xff\xfe\x00junk\n\x00\x01", b"ARROW1\x00\x00" + b"\xff" * 64])
def test_garbage_is_refused_in_words(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError) as caught:
        written(tmp_path / name)
    assert caught.value.code.startswith("source.")


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet", "rows.arrow"])
def test_an_empty_file_is_broken(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    faulty(tmp_path / name, "source.format")


def test_files_cut_off_are_refused(tmp_path):
    for path in every_format(tmp_path):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(SourceError):
            written(path)


def test_an_unknown_format_is_named(tmp_path):
    faulty(csv_file(tmp_path, CSV, "rows.xlsx"), "source.format", ".xlsx")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"kind: Other",
        b"a: &a [1]\nb: *a",
        TEXT.replace(b"v3.0.2", b"v2.2"),
        TEXT.replace(b"integer", b"date"),
        TEXT.replace(b"name: site", b"name: person"),
        b"\xff",
        b"[" * 5000,
        b"a" * (CONTRACT_BYTES + 1),
    ],
)
def test_a_contract_that_is_none_is_refused(text):
    with pytest.raises(SourceError) as caught:
        read_contract(text)
    assert caught.value.code == "source.contract"


# --- bytes ---------------------------------------------------------------------------------------

SCANS = read_contract(
    TEXT.replace(
        b"value, logicalType: number,",
        b"value, logicalType: string, logicalTypeOptions: { format: binary },",
    )
)
BLOBS = [b"\x00\xff", b"", b"\xed\xa0\x80"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_bytes_travel_as_they_are(tmp_path, kind):
    table = arrow_table(value=pa.array(BLOBS, kind))
    parquet.write_table(table, tmp_path / "rows.parquet")
    with ipc.new_stream(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("rows.parquet", "rows.arrow"):
        found = table_of(written(tmp_path / name, contract=SCANS)[0]).column("value")
        assert found.type == pa.binary()
        assert found.to_pylist() == BLOBS


def test_text_is_not_taken_for_bytes(tmp_path):
    faulty(csv_file(tmp_path, CSV), "source.value", "'value'", contract=SCANS)
    lines = "".join(json.dumps(row | {"value": "x"}) + "\n" for row in ROWS)
    faulty(csv_file(tmp_path, lines, "rows.jsonl"), "source.value", "'value'", contract=SCANS)


def test_batches_are_bounded_in_bytes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 1000)
    count = 40
    table = pa.table(
        {
            "person": [f"p{n}" for n in range(count)],
            "site": [1] * count,
            "value": [bytes([n]) * 300 for n in range(count)],
            "smokes": [True] * count,
        }
    )
    with ipc.new_stream(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table)
    data = written(tmp_path / "rows.arrow", contract=SCANS)[0]
    assert {batch.num_rows for batch in ipc.open_stream(data)} <= {3, 2, 1}
    assert table_of(data).column("value").to_pylist() == table.column("value").to_pylist()


# --- the process of its own ----------------------------------------------------------------------


def source(path, contract=TEXT, exclude=None):
    return Source(file=path, contract=contract, person="person", exclude=exclude)


async def read_all(found):
    async with reading(found) as one:
        pieces = await trio.to_thread.run_sync(
            lambda: [(bytes(piece), last) for piece, last in one.pieces()]
        )
    return pieces, one.summary


async def test_the_process_writes_what_the_function_writes(tmp_path):
    path = csv_file(tmp_path, CSV)
    pieces, summary = await read_all(source(path))
    assert b"".join(piece for piece, _ in pieces) == written(path)[0]
    assert [last for _, last in pieces] == [True]
    assert (summary.rows, summary.excluded) == (3, 0)


async def test_a_file_that_changes_while_it_is_read_yields_no_last_piece(tmp_path):
    text = "person,site,value,smokes\n" + "".join(f"p{n},1,1,true\n" for n in range(200_000))
    path = csv_file(tmp_path, text)
    seen = []

    def read(found):
        for piece, last in found.pieces():
            if not seen:
                path.write_text(text)
            seen.append((len(piece), last))

    async def look():
        async with reading(source(path)) as found:
            await trio.to_thread.run_sync(read, found)

    with pytest.raises(SourceError, match=r"source\.changed"):
        await look()
    assert not any(last for _, last in seen)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow", "feather"])
def test_the_size_of_the_whole_is_guessed(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(tables, "TELL_EVERY", 0)
    monkeypatch.setattr(formats, "ROWS", 1000)
    columns = {"person": [f"p{n}" for n in range(20_000)], "site": [1] * 20_000}
    columns |= {"value": [1.0] * 20_000, "smokes": [True] * 20_000}
    path, table = tmp_path / f"rows.{kind}", pa.table(columns)
    match kind:
        case "csv":
            arrow_csv.write_csv(table, path)
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
        case "parquet":
            parquet.write_table(table, path, row_group_size=1000)
        case _:
            new = ipc.new_file if kind == "feather" else ipc.new_stream
            with new(path, table.schema) as writer:
                writer.write_table(table, 1000)
    out, guesses = io.BytesIO(), []
    out.close = lambda: None
    tables.write_stream(path, CONTRACT, out, None, "person", tell=guesses.append)
    assert guesses
    assert abs(guesses[-1] / len(out.getvalue()) - 1) < 0.2


async def test_pieces_are_whole_chunks(tmp_path):
    text = "person,site,value,smokes\n" + "".join(f"p{n},1,1,true\n" for n in range(100_000))
    pieces, _ = await read_all(source(csv_file(tmp_path, text)))
    assert {len(piece) for piece, last in pieces if not last} == {limits.CHUNK}
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize(
    ("text", "contract", "code"),
    [
        (CSV + "p4,x,1,true\n", TEXT, "source.value"),
        (CSV, b"kind: Other", "source.contract"),
    ],
)
async def test_faults_cross_the_process(tmp_path, text, contract, code):
    with pytest.raises(SourceError) as caught:
        await read_all(source(csv_file(tmp_path, text), contract))
    assert caught.value.code == code


async def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError) as caught:
        await read_all(source(tmp_path / "gone.csv"))
    assert caught.value.code == "source.file"


async def test_a_fault_at_the_end_never_yields_the_last_piece(tmp_path):
    many = "".join(f"p{n},1,1,true\n" for n in range(100_000))
    path = csv_file(tmp_path, "person,site,value,smokes\n" + many + "q,?,1,true\n")
    seen = []

    async def look():
        async with reading(source(path)) as found:
            await trio.to_thread.run_sync(lambda: seen.extend(last for _, last in found.pieces()))

    with pytest.raises(SourceError):
        await look()
    assert seen
    assert not any(seen)


async def test_a_bomb_meets_the_bound_on_memory(tmp_path):
    path = tmp_path / "bomb.parquet"
    strings = pa.array(["x" * 2**20]).dictionary_encode()
    bomb = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), strings.dictionary)
    parquet.write_table(pa.table({"person": bomb, "site": [1] * 20_000}), path)
    text = TEXT.replace(
        b"value, logicalType: number, required: true", b"value, logicalType: number"
    )
    table = pa.table(
        {"person": bomb, "site": [1] * 20_000, "value": [1.0] * 20_000, "smokes": [True] * 20_000}
    )
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 2**21
    with pytest.raises(SourceError) as caught, trio.fail_after(60):
        await read_all(source(path, text))
    assert caught.value.code in ("source.limit", "source.format")


async def test_a_process_that_is_left_is_gone(tmp_path):
    text = "person,site,value,smokes\n" + "".join(f"p{n},1,1,true\n" for n in range(200_000))
    path = csv_file(tmp_path, text)
    async with reading(source(path)) as found:
        assert await trio.to_thread.run_sync(next, found.pieces())
    assert found.process.returncode is not None


async def test_a_thread_that_waits_for_a_process_ends_with_it(tmp_path):
    fifo = tmp_path / "objections.csv"
    os.mkfifo(fifo)
    with trio.move_on_after(0.5) as scope:
        async with reading(source(csv_file(tmp_path, CSV), exclude=fifo)) as found:
            await trio.to_thread.run_sync(next, found.pieces())
    assert scope.cancelled_caught
