"""`village share push` of an SQL query, between real daemons: the rows that it selects leave, those
of people who objected do not, and what is wrong with the data is said to the provider alone.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bench.parties import Parties, eventually, parties
from node.demo.stage import ENVIRONMENTS, PROJECT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"),
]

PRIVATE = "a-value-that-nobody-else-may-read"
SOURCES = """
[sources.registry]
contract = "../scans.odcs.yaml"
file = "registry.sqlite"
query = "SELECT pid AS person, image AS scan FROM visits WHERE ward = 'oncology'"
exclude = "objections.csv"

[sources.archive]
contract = "../scans.odcs.yaml"
file = "archive.parquet"
query = "SELECT pid AS person, image AS scan FROM source WHERE year > 2020 ORDER BY pid"
exclude = "objections.csv"

[sources.broken]
contract = "../scans.odcs.yaml"
file = "broken.sqlite"
query = "SELECT pid AS person, image AS scan FROM visits"

[sources.late]
contract = "../scans.odcs.yaml"
file = "late.sqlite"
query = "SELECT pid AS person, image AS scan FROM visits"
"""


def image(n: int) -> bytes:
    return f"image {n} ".encode() * 100


def database(path: Path, rows: list[tuple[str, str, object]]) -> None:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE visits (pid TEXT, ward TEXT, image BLOB)")
        made.executemany("INSERT INTO visits VALUES (?, ?, ?)", rows)
    made.close()


def write_sources(home: Path) -> None:
    """Eight people, one of whom objected and has two rows; two more in another ward."""
    rows: list[tuple[str, str, object]] = [(f"p{n}", "oncology", image(n)) for n in range(8)]
    rows += [("p3", "oncology", image(33)), ("p8", "surgery", image(8))]
    database(home / "registry.sqlite", rows)
    database(home / "broken.sqlite", [*rows[:4], ("p4", "oncology", PRIVATE)])
    large = [(f"p{n}", "oncology", os.urandom(1 << 20)) for n in range(12)]
    database(home / "late.sqlite", [*large, ("p12", "oncology", PRIVATE)])
    columns = {"pid": [r[0] for r in rows], "image": [r[2] for r in rows]}
    years = pa.array([2015 + n for n in range(len(rows))])
    parquet.write_table(pa.table({**columns, "year": years}), home / "archive.parquet")
    (home / "objections.csv").write_text("person,since\np3,2026-01-01\np77,2026-01-01\n")


@pytest.fixture(scope="module")
def here() -> Iterator[Parties]:
    folder = Path(tempfile.mkdtemp(prefix="v-"))
    try:
        with parties(folder / "p") as found:
            home = found.folder / "provider"
            write_sources(home)
            found.troupe.kill(found.label("provider"))
            with (home / "node.toml").open("a") as config:
                config.write(SOURCES)
            found.start("provider")
            yield found
    finally:
        shutil.rmtree(folder)


def village(here: Parties, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node.cli", *arguments]
    environment = {**os.environ, "VILLAGE_SOCKET": str(here.folder / "provider" / "admin.sock")}
    return subprocess.run(  # noqa: S603 (our own command line)
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("source", "rows"), [("registry", 7), ("archive", 3)])
def test_the_rows_of_a_query_leave_without_those_of_who_objected(
    here: Parties, source: str, rows: int
) -> None:
    done = village(here, "share", "push", source, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["people"], said["excluded"]) == (rows, rows, 1)
    receipt = here.call("lab", "share.show", share=said["share"])["receipt"]
    assert (receipt["rows"], receipt["people"], receipt["excluded"]) == (rows, rows, 1)
    again = json.loads(village(here, "share", "push", source, "--json").stdout)
    assert (again["already"], again["share"]) == (True, said["share"])


@pytest.mark.parametrize(("source", "row"), [("broken", 5), ("late", 13)])
def test_a_fault_in_the_data_is_told_to_the_provider_alone(
    here: Parties, source: str, row: int
) -> None:
    done = village(here, "share", "push", source)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith(f"source.value: Row {row}, column 'scan': this is not bytes.\n")
    assert "fix: Correct the value" in done.stderr
    assert PRIVATE not in done.stdout + done.stderr
    assert here.call("provider", "share.status") == []
    for name in ("lab", "host"):
        assert "source.value" not in json.dumps(here.call(name, "refusal.list"))
        eventually(partial(all_confirmed, here, name))
    for file in (here.folder / "logs").iterdir():
        text = file.read_text()
        assert PRIVATE not in text, file.name
        assert "provider" in file.name or "source.value" not in text, file.name


def all_confirmed(here: Parties, name: str) -> bool:
    """Whether a node waits for no share: none stays of a source that was broken."""
    return all(one["verdict"] is not None for one in here.call(name, "share.list"))
