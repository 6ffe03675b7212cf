"""Whole runs in the enclave: algorithms in SQL, one person in two shares, a thousand people."""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from protocol.errors import Refused
from protocol.kinds import algorithm
from tests.e2e.test_enclave_process import ANN, office, push_hospitals, result
from tests.enclave_drive import digest_of, enclaves
from tests.enclave_rig import SCIENTIFIC, Patient, Rig, rows_of

pytestmark = pytest.mark.e2e

MEAN = 'SELECT count(*) AS n, round(avg(value), 3) AS mean FROM "vitals-v1"'
QUERIES = {
    "model": MEAN,
    "own-risk": "SELECT 0 AS row, 1.0 AS relative_risk WHERE false",
    "table": 'SELECT site, count(DISTINCT _person) AS n FROM "vitals-v1" GROUP BY site',
}
ROWS = {"type": "array", "maxItems": 100}
NUMBER = {"type": "number", "minimum": 0, "maximum": 10_000}


class SqlRig(Rig):
    """The world of the other tests, with an algorithm in SQL; `model` is the text of one query."""

    def __init__(self, digest, model=MEAN, **rules):
        self.model = model
        super().__init__(digest, **rules)

    def _bundle(self, digest):
        item = {
            "type": "object",
            "additionalProperties": False,
            "required": ["n", "mean"],
            "properties": {"n": {**NUMBER, "type": "integer"}, "mean": NUMBER},
        }
        self.schemas["model"] = json.dumps({**ROWS, "items": item}).encode()
        python = super()._bundle(digest)
        entries, files = [], {}
        for entry in python.manifest.entries:
            folder = f"queries/{entry.name}"
            entries.append(replace(entry, function=folder))
            for output in entry.outputs:
                text = self.model if (entry.name, output) == ("fit", "model") else QUERIES[output]
                if (entry.name, output) == ("fit", "own-risk"):
                    text += " OR len($covariates) > 99"
                files[f"{folder}/{output}.sql"] = text.encode()
        manifest = replace(python.manifest, kind="sql", entries=tuple(entries))
        return algorithm.Bundle(manifest=manifest, files=files)


@pytest.fixture(scope="module")
def folder():
    """Only what SQL needs of the environment: all of it is read again for each run."""
    with tempfile.TemporaryDirectory(prefix="datacage-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        for part in SCIENTIFIC.iterdir():
            if part.name.startswith(("duckdb", "_duckdb.", "pyarrow")):
                copy = shutil.copytree if part.is_dir() else shutil.copy
                copy(part, place / part.name)
        yield place


@pytest.fixture(scope="module")
def digest(folder):
    return digest_of(folder)


@pytest.fixture
def start(folder):
    with enclaves(folder, "any") as boot:
        yield boot


def test_an_algorithm_in_sql_runs_as_any_other(digest, start):
    rig = SqlRig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    body = host.compute(1)
    assert (body.outcome, body.rows, body.contributors) == ("released", 10, 10), body
    opened = result(rig, host.commit(), rig.sponsor)
    assert json.loads(opened.content) == [{"mean": 4.5, "n": 10}]


def test_a_query_that_does_more_is_refused_before_anything_opens(digest, start):
    rig = SqlRig(digest, model="SELECT count(*) AS n,\n  random() AS mean FROM other")
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    with pytest.raises(Refused, match=r"queries/fit/model\.sql:2: It calls random") as refused:
        host.compute(1)
    assert refused.value.code == "algorithm.sql"
    assert "model.sql:2: It reads other" in refused.value.detail
    assert host.door.enclave.room.used == 0


def test_a_query_that_fails_ends_the_number_and_says_nothing(digest, start):
    model = 'SELECT 1 AS n, CAST(string_agg(_person::TEXT) AS INTEGER) AS mean FROM "vitals-v1"'
    rig = SqlRig(digest, model=model)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    body = host.compute(1)
    assert (body.outcome, body.refusal_code) == ("failed", "run.failed")
    assert body.refusal_detail == "the algorithm ended as failed"


# --- one person in two shares --------------------------------------------------------------------


def both(digest, start, overlap):
    """Ann's own row says 101, hospital c's about her 7, and about Bob 8."""
    rig = SqlRig(digest, overlap=overlap, min_change=1)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    theirs = [
        {**row, "value": value} for row, value in zip(rows_of(101, 102), (7.0, 8.0), strict=True)
    ]
    host.push(rig.share(rig.c, theirs, host.keys))
    host.push(rig.person_share(ANN, rows_of(101), host.keys))
    return rig, host, host.compute(1)


@pytest.mark.parametrize(
    ("overlap", "rows", "total"), [("keep", 13, 45 + 7 + 8 + 101), ("vault", 12, 45 + 8 + 101)]
)
def test_one_person_in_two_shares(digest, start, overlap, rows, total):
    rig, host, body = both(digest, start, overlap)
    assert (body.outcome, body.rows, body.contributors) == ("released", rows, 12)
    opened = result(rig, host.commit(), rig.sponsor)
    assert json.loads(opened.content) == [{"mean": round(total / rows, 3), "n": rows}]


def test_a_run_is_held_where_one_person_in_two_shares_is_refused(digest, start):
    _, host, body = both(digest, start, "refuse")
    assert (body.outcome, body.refusal_code) == ("held", "run.overlap")
    assert body.refusal_detail == "in dataset vitals-v1"
    assert (body.rows, body.contributors) == (0, 0)
    assert host.commit() == ()
    assert host.door.enclave.room.used == 0


# --- many people ---------------------------------------------------------------------------------


@pytest.mark.parametrize("people", [40, pytest.param(1020, marks=pytest.mark.soak)])
def test_the_shares_of_many_people(digest, start, people):
    rig = SqlRig(digest)
    host = office(rig, rig.host_1, start())
    push_hospitals(rig, host)
    for number in range(people):
        person = Patient(f"row-{100 + number:03}")
        (row,) = rows_of(100 + number)
        host.keep(rig.person_share(person, [{**row, "value": 1.0}], host.keys))
    body = host.compute(1)
    assert (body.outcome, body.rows, body.leaf_count) == ("released", 10 + people, people)
