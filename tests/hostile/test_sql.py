"""SQL in every tier of the datacage: it computes, it is bounded, and what escapes the check does
not escape the sandbox.
"""

import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import ipc

from enclave_host import outputs, sql
from enclave_host.cage import Job, Limits, memory
from enclave_host.inputs import Datacage
from enclave_host.private import Room
from protocol.errors import Refused
from tests.unit.test_sql_check import GOOD, bundle

pytestmark = pytest.mark.hostile

ENVIRONMENT = Path(duckdb.__file__).parents[1]
LIMITS = Limits(memory=1 << 30, cpu=10, wall=30.0, processes=16, files=64, tmp=1 << 20)
TABLE = pa.table({"risk": ["high", "low"] * 50, "n": range(100)})
READ_OUTSIDE = "SELECT content FROM read_text('/proc/self/environ')"


def run(cage, query, parameters=None):
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    plan = {"task": "run", "outputs": {"x": "json"}}
    contents = {"tables/fraud-a": sink.getvalue(), "plan": json.dumps(plan).encode()}
    with memory.files(contents) as inputs:
        job = Job(
            environment=ENVIRONMENT,
            code={"q/x.sql": query.encode()},
            inputs=inputs,
            entry="q",
            parameters=json.dumps(parameters or {}).encode(),
            limits=LIMITS,
            kind="sql",
        )
        return cage.run(job)


def test_it_computes(cage):
    query = 'SELECT risk, sum(n) AS s FROM "fraud-a" WHERE n > $x GROUP BY risk ORDER BY risk'
    outcome = run(cage, query, {"x": 9})
    assert outcome.status == "ok", outcome.log.decode()
    found = outputs.parse(outcome.output)["x"]
    assert json.loads(found.content) == [{"risk": "high", "s": 2430}, {"risk": "low", "s": 2475}]


def test_what_the_check_would_stop_meets_the_sandbox(cage):
    assert duckdb.sql(READ_OUTSIDE).fetchall() != []  # the control: outside it does read
    outcome = run(cage, READ_OUTSIDE)
    assert (outcome.status, outcome.output) == ("failed", b"")
    assert b"LocalFileSystem has been disabled" in outcome.log


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("SELECT list(r || repeat('x', 99)) AS l FROM range(99_999_999) AS t(r)", "limit"),
        ("SELECT repeat('x', 30_000_000) AS l", "limit"),
    ],
)
def test_its_bounds_are_the_jobs(cage, query, status):
    outcome = run(cage, query)
    assert (outcome.status, outcome.output) == (status, b"")


def test_the_enclave_checks_inside(cage):
    datacage = Datacage(cage, Room(1 << 20), ENVIRONMENT, LIMITS)
    sql.check(datacage, bundle(GOOD))
    with pytest.raises(Refused, match=r"q1\.sql:1: It has a statement of kind COPY") as refused:
        sql.check(datacage, bundle(GOOD, "COPY (SELECT 1) TO '/tmp/x'"))
    assert refused.value.code == "algorithm.sql"
