"""The SQL runner, outside the sandbox: what it returns, what it refuses, what is locked."""

import json
import re
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc

from enclave_host.cage import memory
from enclave_host.runners import sql
from node.connectors import sql_parser
from protocol import sql_check, sql_report
from tests.unit.test_sql_check import GOOD, bundle

ROOT = Path(__file__).parents[2]
PEOPLE = [bytes([n]) * 16 for n in range(4)]
FRAUD_A = pa.table(
    {
        "risk": ["high", "low", "high", None],
        "amount": [1.5, 2.0, None, 4.0],
        "_person": pa.array(PEOPLE, pa.binary(16)),
    }
)
FRAUD_B = pa.table({"_person": pa.array([*PEOPLE[2:], bytes(16)], pa.binary(16))})


@contextmanager
def job(queries, parameters=None, formats=None, task=None):
    outputs = {name: (formats or {}).get(name, "json") for name in queries}
    plan = task or {"task": "run", "outputs": outputs}
    contents = {"plan": json.dumps(plan).encode()}
    for name, table in (("fraud-a", FRAUD_A), ("fraud-b", FRAUD_B)):
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        contents[f"tables/{name}"] = sink.getvalue().to_pybytes()
    with memory.files(contents) as inputs:
        yield (
            {
                "code": {f"q/{name}.sql": text.encode() for name, text in queries.items()},
                "inputs": inputs,
                "environment": None,
                "entry": "q",
                "parameters": json.dumps(parameters or {}),
            },
            plan,
        )


def compute(queries, **changes):
    with job(queries, **changes) as (one, plan):
        return sql.compute(duckdb, one, plan)


def test_rows_come_as_objects_and_people_join_across_tables():
    found = compute(
        {
            "both": 'SELECT count(*) AS n FROM "fraud-a" JOIN "fraud-b" USING (_person)',
            "risk": 'SELECT risk, count(*) AS n, sum(amount) AS s FROM "fraud-a" '
            "GROUP BY risk ORDER BY risk NULLS LAST",
        }
    )
    assert found == {
        "both": [{"n": 3}],
        "risk": [
            {"risk": "high", "n": 2, "s": 1.5},
            {"risk": "low", "n": 1, "s": 2.0},
            {"risk": None, "n": 1, "s": 4.0},
        ],
    }


def test_a_query_finds_the_number_of_each_row_if_it_asks():
    found = compute({"own": 'SELECT _ROW AS row, amount FROM "fraud-a" WHERE amount > 1.5'})
    assert found == {"own": [{"row": 1, "amount": 2.0}, {"row": 3, "amount": 4.0}]}
    (first, *_) = compute({"all": 'SELECT * EXCLUDE (_person) FROM "fraud-a"'})["all"]
    assert list(first) == ["risk", "amount"]
    theirs = FRAUD_B.append_column("_row", pa.array([7, 8, 9]))
    assert sql.numbered(theirs) is theirs


def test_parameters_are_bound_by_name_and_never_part_of_the_text():
    parameters = {"which": ["low", "'; DROP TABLE x --"], "least": 1, "one": "unused here"}
    query = 'SELECT count(*) AS n, $least AS l FROM "fraud-a" WHERE risk IN (SELECT unnest($which))'
    assert compute({"n": query}, parameters=parameters) == {"n": [{"n": 1, "l": 1}]}


def test_an_arrow_output_is_a_table():
    query = {"t": 'SELECT risk, amount * $x AS a FROM "fraud-a" WHERE amount > 2'}
    found = compute(query, parameters={"x": 2}, formats={"t": "arrow"})
    assert found["t"].to_pylist() == [{"risk": None, "a": 8.0}]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("DATE '2024-02-01'", "2024-02-01"),
        ("TIMESTAMP '2024-02-01 10:00'", "2024-02-01T10:00:00"),
        ("CAST(1.50 AS DECIMAL(9, 2))", 1.5),
        ("CAST(2 AS DECIMAL(9, 2))", 2),
        ("CAST(2 AS HUGEINT)", 2),
        ("[1, NULL]", [1, None]),
        ("{'a': [true]}", {"a": [True]}),
        ("MAP {'k': 1}", {"k": 1}),
    ],
)
def test_a_value_of_sql_is_a_value_of_json(value, plain):
    (row,) = compute({"v": f"SELECT {value} AS v"})["v"]
    assert row == {"v": plain}
    assert type(row["v"]) is type(plain)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT 'NaN'::DOUBLE AS x", "nan is no number that may leave"),
        ("SELECT 1e308::DOUBLE * 10 AS x", "inf|out of range|Out of Range"),
        ('SELECT _person FROM "fraud-a"', "a bytes is no value of JSON"),
        ("SELECT INTERVAL 1 DAY AS x", "a timedelta is no value of JSON"),
        ("SELECT 1 AS x, 2 AS x", "two columns have one name"),
        ("SELECT 1; SELECT 2", "not exactly one SELECT"),
        ("COPY (SELECT 1) TO 'x'", "not exactly one SELECT"),
        ('SELECT nothing FROM "fraud-a"', "nothing"),
    ],
)
def test_what_json_has_not_fails_by_name(query, words):
    with pytest.raises(RuntimeError, match=rf"^q/x\.sql: .*({words})"):
        compute({"x": query})


def test_too_much_memory_is_told_apart(monkeypatch):
    monkeypatch.setattr(sql, "MEMORY_SHARE", 1)
    monkeypatch.setattr(sql.resource, "getrlimit", lambda _: (64 << 20, 64 << 20))
    with pytest.raises(MemoryError):
        compute({"x": "SELECT list(r || repeat('x', 99)) AS l FROM range(9_999_999) AS t(r)"})


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM FRAUD_A",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "EXPORT DATABASE '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "RESET disabled_filesystems",
        "SET temp_directory = '/tmp'",
        "SET threads = 8",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "CREATE SECRET s (TYPE s3)",
        "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM glob(''/*'')'))",
    ],
)
def test_behind_the_check_duckdb_itself_is_locked(statement):
    database = sql.connect(duckdb, {"fraud-a": FRAUD_A})
    with pytest.raises(duckdb.Error):
        database.execute(statement).fetchall()


def test_the_enclave_reads_queries_as_a_node_does():
    made = bundle(GOOD, "SELECT 1; COPY (SELECT 1) TO 'x'", "SELEC")
    asked = json.loads(sql_check.question(made))
    found = sql_report.report(duckdb, sql.connect(duckdb, {}), asked)
    assert found == sql_parser.report(asked)


def test_both_have_one_duckdb():
    locks = ("requirements.lock", "node/locks/scientific.lock")
    found = {re.search(r"^duckdb==(\S+)", (ROOT / lock).read_text(), re.M)[1] for lock in locks}
    assert len(found) == 1
