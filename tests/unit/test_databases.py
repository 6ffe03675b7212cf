"""Rows out of databases and by queries; a query sees nothing but the one file of its source."""

import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import trio

from node.connectors import SourceError, formats, tables
from node.connectors.process import Source, reading
from tests.unit.test_connectors import CONTRACT, ROWS, TEXT, faulty, table_of, written

COLUMNS = "person TEXT, site INTEGER, value REAL, smokes INTEGER"
SELECT = "SELECT person, site, value, smokes FROM vitals"


def sqlite_file(folder: Path, rows=ROWS, columns: str = COLUMNS) -> Path:
    path = folder / "rows.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE vitals ({columns})")
        database.executemany("INSERT INTO vitals VALUES (:person, :site, :value, :smokes)", rows)
    database.close()
    return path


def duckdb_file(folder: Path) -> Path:
    path = folder / "rows.duckdb"
    with duckdb.connect(str(path)) as database:
        database.execute(
            "CREATE TABLE vitals (person TEXT, site BIGINT, value DECIMAL(9, 2), smokes BOOLEAN)"
        )
        for row in ROWS:
            database.execute("INSERT INTO vitals VALUES (?, ?, ?, ?)", list(row.values()))
    return path


def failing(path: Path, query: str, code: str = "source.query") -> SourceError:
    with pytest.raises(SourceError) as caught:
        written_by(path, query)
    assert caught.value.code == code, caught.value
    return caught.value


def written_by(path: Path, query: str):
    batches = tables.read_batches(path, CONTRACT, query)
    return pa.Table.from_batches(batches).to_pylist()


@pytest.mark.parametrize("make", [sqlite_file, duckdb_file])
def test_the_one_table_of_a_database_is_its_rows(tmp_path, make):
    data, summary = written(make(tmp_path))
    assert table_of(data).to_pylist() == ROWS
    assert summary.rows == len(ROWS)


@pytest.mark.parametrize("make", [sqlite_file, duckdb_file])
def test_a_query_selects_and_renames(tmp_path, make):
    query = "SELECT value, person, smokes, site FROM vitals WHERE site IS NULL"
    assert written_by(make(tmp_path), query) == [ROWS[1]]


def test_a_query_over_a_plain_file_sees_it_as_source(tmp_path):
    path = tmp_path / "it's rows.csv"
    path.write_text("who,v\np1,1.5\np2,2.5\n")
    query = "SELECT who AS person, 7 AS site, v AS value, v > 2 AS smokes FROM source ORDER BY 1"
    assert written_by(path, query)[1] == {
        "person": "p2", "site": 7, "value": 2.5, "smokes": True,
    }  # fmt: skip


def test_more_rows_than_one_batch(tmp_path):
    count = formats.ROWS + 3
    rows = [{**ROWS[0], "person": f"p{n}"} for n in range(count)]
    found = written_by(sqlite_file(tmp_path, rows), SELECT)
    assert [row["person"] for row in found] == [row["person"] for row in rows]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT person FROM source; SELECT 1", "one SELECT"),
        ("COPY source TO 'out.csv'", "one SELECT"),
        ("INSTALL httpfs", "one SELECT"),
        ("SET enable_external_access = true", "one SELECT"),
        ("SELECT * FROM read_text('/etc/passwd')", "disabled"),
        ("SELECT * FROM read_csv('{folder}/other.csv')", "disabled"),
        ("SELECT * FROM 'https://example.org/x.parquet'", ""),
        ("SELECT * FROM glob('/*')", ""),
        ("SELEC", "syntax error"),
        ("SELECT nothing FROM source", "nothing"),
    ],
)
def test_a_duckdb_query_reaches_only_its_source(tmp_path, query, words):
    (tmp_path / "other.csv").write_text("person\nsecret\n")
    path = tmp_path / "rows.csv"
    path.write_text("person,site,value,smokes\np1,1,1.5,true\n")
    error = failing(path, query.format(folder=tmp_path))
    assert words in error.detail
    assert not (tmp_path / "out.csv").exists()
    assert not Path("out.csv").exists()


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM vitals",
        "PRAGMA trusted_schema = ON",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "ATTACH '{folder}/other.sqlite' AS other",
        "SELEC",
    ],
)
def test_an_sqlite_query_only_reads_its_source(tmp_path, query):
    path = sqlite_file(tmp_path)
    before = path.read_bytes()
    failing(path, query.format(folder=tmp_path))
    assert path.read_bytes() == before
    assert not (tmp_path / "other.sqlite").exists()


def test_a_value_of_another_type_names_row_and_column_but_not_itself(tmp_path):
    rows = [*ROWS, {**ROWS[0], "value": "a secret"}]
    error = faulty(sqlite_file(tmp_path, rows), "source.value", "Row 4", "'value'")
    assert "secret" not in str(error)


def test_what_a_query_stumbles_over_is_not_quoted(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("person,site\nsecret,1\n")
    query = "SELECT person::INTEGER AS site FROM source"
    assert "secret" not in str(failing(path, query))


def test_text_that_is_not_utf_8_is_not_quoted(tmp_path):
    path = sqlite_file(tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE vitals SET person = CAST(x'51377afe38' AS TEXT)")
    database.close()
    fault = failing(path, SELECT)
    assert "column 'person'" in fault.detail
    assert "Q7z" not in str(fault)


def test_a_query_needs_exactly_the_columns_of_the_contract(tmp_path):
    failing(sqlite_file(tmp_path), "SELECT person FROM vitals", "source.columns")


@pytest.mark.parametrize("name", ["rows.sqlite", "rows.duckdb"])
def test_a_file_that_is_no_database_is_broken(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no database at all, " * 500)
    faulty(path, "source.format", "broken")


def test_of_several_tables_a_query_must_choose(tmp_path):
    path = sqlite_file(tmp_path)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE more (x)")
    database.close()
    faulty(path, "source.query", "2 tables")


async def read_all(source):
    async with reading(source) as found:
        pieces = await trio.to_thread.run_sync(
            lambda: [(bytes(piece), last) for piece, last in found.pieces()]
        )
    return pieces, found.summary


async def test_a_query_runs_in_the_connectors_process(tmp_path):
    source = Source(
        file=sqlite_file(tmp_path), contract=TEXT, person="person", query=SELECT + " LIMIT 2"
    )
    first, again = [await read_all(source) for _ in range(2)]
    assert first[1].rows == 2
    assert first == again


LARGE = "SELECT hex(zeroblob(900000000)) AS person, 1 AS site, 1.0 AS value, 1 AS smokes"
ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT max(i) AS person, 1 AS site, 1.0 AS value, 1 AS smokes FROM n"
)


@pytest.mark.parametrize("query", [LARGE, pytest.param(ENDLESS, marks=pytest.mark.soak)])
async def test_a_query_without_measure_ends_with_a_refusal(tmp_path, query):
    source = Source(file=sqlite_file(tmp_path), contract=TEXT, person="person", query=query)
    with pytest.raises(SourceError):
        await read_all(source)
