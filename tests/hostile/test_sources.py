"""Hostile files as sources: each ends in a stream that keeps its contract, or in one refusal that
names no value; never in a reader that hangs, grows, or takes the node along.
"""

import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import trio
from pyarrow import ipc, parquet

from node.connectors import SourceError, tables
from node.connectors.contract import read_contract
from node.connectors.process import Source, reading

CONTRACT = b"""
apiVersion: v3.0.2
kind: DataContract
schema:
  - name: vitals
    properties:
      - { name: person, logicalType: string, required: true }
      - { name: site, logicalType: integer }
      - { name: value, logicalType: number, required: true }
"""
MARK = "Qz7private"
"""In every text value: no word about a file may repeat it."""

Change = Callable[[bytes, random.Random], bytes]
ALL = ("csv", "jsonl", "parquet", "arrow", "stream.arrow", "sqlite", "duckdb")


def table(count: int = 300) -> pa.Table:
    return pa.table(
        {
            "person": [f"{MARK}{n}" for n in range(count)],
            "site": pa.array([n if n % 7 else None for n in range(count)]),
            "value": [n / 8 for n in range(count)],
        }
    )


def write(path: Path, made: pa.Table) -> Path:
    """The table in the form that the end of the name asks for."""
    rows = made.to_pylist()
    match path.name.split(".", 1)[1]:
        case "csv":
            lines = [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
            path.write_text("\n".join([",".join(made.column_names), *lines]) + "\n")
        case "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "parquet":
            parquet.write_table(made, path)
        case "arrow":
            with ipc.new_file(path, made.schema) as writer:
                writer.write_table(made)
        case "stream.arrow":
            with ipc.new_stream(path, made.schema) as writer:
                writer.write_table(made)
        case "sqlite":
            with sqlite3.connect(path) as lite:
                lite.execute("CREATE TABLE t (person TEXT, site INTEGER, value REAL)")
                lite.executemany("INSERT INTO t VALUES (:person, :site, :value)", rows)
            lite.close()
        case _:
            with duckdb.connect(str(path)) as database:
                database.execute("CREATE TABLE t (person TEXT, site BIGINT, value DOUBLE)")
                database.executemany(
                    "INSERT INTO t VALUES (?, ?, ?)", [list(row.values()) for row in rows[:20]]
                )
    return path


OK, REFUSED, BUG = "ok", "refused", "bug"


def read(path: Path, query: str | None = None) -> tuple[str, str]:
    """How the product's reader ended, and its words. A parser that a file kills dies alone."""
    command = [sys.executable, "-I", "-m", "node.connectors", "--file", str(path)]
    command += ["--person", "person"] + ([f"--query={query}"] if query else [])
    done = subprocess.run(  # noqa: S603 (our own reader)
        command, input=CONTRACT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120,
        check=False,
    )  # fmt: skip
    said = done.stderr.decode().strip().rpartition("\n")[2]
    if done.returncode == 0:
        return OK, said
    if done.returncode < 0 or said.startswith('{"code": "source.'):
        return REFUSED, said
    return BUG, done.stderr.decode()


def all_read_or_refused(paths: Sequence[Path]) -> None:
    for path in paths:
        ended, said = read(path)
        assert ended in (OK, REFUSED), (path.name, said)
        assert MARK not in said, said


def spoilt(folder: Path, form: str, changes: Sequence[Change], count: int) -> list[Path]:
    """Files of one form, each spoilt by one of `changes`."""
    whole = write(folder / f"good.{form}", table()).read_bytes()
    seed = os.environ.get("SEED", "1")
    dice = random.Random(f"{form} {seed}")  # noqa: S311 (chance that can be repeated)
    paths = [folder / f"bad{n}.{form}" for n in range(count)]
    for path in paths:
        path.write_bytes(dice.choice(changes)(whole, dice))
    return paths


def refused(path: Path, code: str, query: str | None = None) -> str:
    ended, said = read(path, query)
    assert ended == REFUSED, said
    assert json.loads(said)["code"].startswith(code), said
    assert MARK not in said, said
    return said


# --- what chance makes of a file ------------------------------------------------------------------


def truncated(data: bytes, dice: random.Random) -> bytes:
    return data[: dice.randrange(len(data))]


def flipped(data: bytes, dice: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(dice.choice((1, 3, 40))):
        found[dice.randrange(len(found))] ^= 1 << dice.randrange(8)
    return bytes(found)


def zeroed(data: bytes, dice: random.Random) -> bytes:
    start, size = dice.randrange(len(data)), dice.choice((1, 16, 4096))
    return data[:start] + bytes(size) + data[start + size :]


def repeated(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data))
    part = data[start : start + dice.randrange(1, 2000)]
    return data[:start] + part * dice.choice((2, 50)) + data[start:]


def huge(data: bytes, dice: random.Random) -> bytes:
    """A length that lies: the largest numbers, anywhere."""
    start = dice.randrange(len(data))
    return data[:start] + b"\xff\xff\xff\x7f" * dice.choice((1, 2)) + data[start + 8 :]


CHANGES = (truncated, flipped, zeroed, repeated, huge)


@pytest.mark.parametrize("form", ALL)
def test_spoilt_files_are_read_or_refused(tmp_path: Path, form: str) -> None:
    all_read_or_refused(spoilt(tmp_path, form, CHANGES, 4))


@pytest.mark.soak
@pytest.mark.parametrize("form", ALL)
def test_many_spoilt_files_are_read_or_refused(tmp_path: Path, form: str) -> None:
    all_read_or_refused(spoilt(tmp_path, form, CHANGES, 400))


# --- what somebody makes of it --------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-32", "cp037"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_another_encoding_is_refused(tmp_path: Path, form: str, encoding: str) -> None:
    path = tmp_path / f"rows.{form}"
    text = write(path, table(3)).read_text().replace(MARK, f"{MARK}\u00e9")
    path.write_bytes(text.encode(encoding))
    ended, said = read(path)
    # JSON may say é in ASCII: then Latin-1 is UTF-8.
    assert ended == REFUSED or (form, encoding) == ("jsonl", "latin-1"), said
    assert MARK not in said


def test_ten_thousand_columns_are_refused_by_name_of_one(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(10_000)]
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    assert len(refused(wide, "source.columns")) < 300
    parquet.write_table(pa.table({name: [1] for name in names}), tmp_path / "wide.parquet")
    assert len(refused(tmp_path / "wide.parquet", "source.columns")) < 300


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_field_without_end_is_refused(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / f"rows.{form}", table(3))
    text = path.read_text().replace(f"{MARK}1", MARK * 3_000_000)
    path.write_text(text)
    refused(path, "source.format")


def test_a_name_of_a_column_that_is_a_book_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x" * 900_000 + "\n1\n")
    assert len(refused(path, "source.columns")) < 300


def test_a_small_file_that_unfolds_to_gigabytes_is_bounded(tmp_path: Path) -> None:
    """Parquet says "the same again" in a few bytes, and Arrow's buffers may be compressed."""
    rows = 20_000
    same = pa.DictionaryArray.from_arrays(
        pa.Array.from_buffers(pa.int8(), rows, [None, pa.py_buffer(bytes(rows))]),
        pa.array([MARK * 1000]),
    )
    folded = {"person": same, "site": pa.nulls(rows, pa.int64()), "value": [1.0] * rows}
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pa.table(folded), path)
    assert path.stat().st_size < 2**20
    ended, said = read(path)
    assert ended in (OK, REFUSED), said
    assert MARK not in said
    zeros = pa.Array.from_buffers(pa.float64(), 2**25, [None, pa.py_buffer(bytes(2**28))])
    bad = tmp_path / "bomb.arrow"
    batch = pa.record_batch({"person": pa.nulls(2**25), "site": pa.nulls(2**25), "value": zeros})
    options = ipc.IpcWriteOptions(compression="zstd")
    with ipc.new_file(bad, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    assert bad.stat().st_size < 2**22
    ended, said = read(bad)
    assert ended == REFUSED, said


def test_a_compressed_file_is_not_unpacked(tmp_path: Path) -> None:
    plain = write(tmp_path / "rows.csv", table(3)).read_bytes()
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(plain))
    refused(tmp_path / "rows.csv.gz", "source.format")
    (tmp_path / "named.csv").write_bytes(gzip.compress(plain))
    refused(tmp_path / "named.csv", "source.")


# --- what is no file ------------------------------------------------------------------------------


async def ends(path: Path) -> SourceError:
    """What the product's own reader says of a path, soon."""
    source = Source(file=path, contract=CONTRACT, person="person")

    def draw(found: object) -> None:
        for _ in found.pieces():  # type: ignore[attr-defined]
            pass

    with pytest.raises(SourceError) as caught, trio.fail_after(30):
        async with reading(source) as found:
            await trio.to_thread.run_sync(draw, found)
    assert MARK not in str(caught.value)
    return caught.value


@pytest.fixture
def strange(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "nowhere.csv").symlink_to(tmp_path / "not there.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    (tmp_path / "process.csv").symlink_to("/proc/self/status")
    return {path.stem: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["folder", "pipe", "loop", "nowhere", "device", "process"])
async def test_what_is_no_plain_file_is_refused_at_once(
    strange: dict[str, Path], name: str
) -> None:
    found = await ends(strange[name])
    assert found.code == "source.file" or name == "process", str(found)


async def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "rows.csv", table(3))
    (tmp_path / "link.csv").symlink_to("rows.csv")
    assert read(tmp_path / "link.csv")[0] == OK


def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.csv", table(60_000))
    honest = tables.read_batches

    def meanwhile(*arguments: object) -> Iterator[object]:
        for batch in honest(*arguments):  # type: ignore[arg-type]
            with path.open("a") as file:
                file.write(f"{MARK},1,1\n")
            yield batch

    monkeypatch.setattr(tables, "read_batches", meanwhile)
    with pytest.raises(SourceError) as caught, Path(os.devnull).open("wb") as out:
        tables.write_stream(path, read_contract(CONTRACT), out, None, "person")
    assert caught.value.code == "source.changed"
