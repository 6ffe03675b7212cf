"""Real processes: kill -9 of the enclave, and of the host's node, at random points of any run. Each
order ends in one record, and the recipient has its result: also after the only enclave that had the
lineage died, for the next one computes what was released again.
"""

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyarrow import ipc

import bench.parties as bench_parties
from bench.parties import Parties, eventually, parties
from node.admin.client import AdminError
from node.demo.stage import ENVIRONMENTS

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"),
]

PEOPLE = 20
LONGEST = 1.5
"""Seconds after an order within which something dies: a run of so few people takes about one."""

CONTRACT = """\
apiVersion: v3.0.2
kind: DataContract
id: scans-v1
version: 1.0.0
status: active
customProperties:
  - { property: personColumn, value: person }
schema:
  - name: scans
    properties:
      - { name: person, logicalType: string, required: true }
      - name: height
        logicalType: integer
        logicalTypeOptions: { minimum: 40, maximum: 260 }
        required: true
"""


@pytest.fixture
def cast(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parties]:
    """A provider, a lab, a host and its enclave, with an agreement on the mean of heights."""
    agreement = bench_parties._AGREEMENT.replace("PT10S", "PT2S").replace(
        "at_most: 3", "at_most: 60"
    )
    monkeypatch.setattr(bench_parties, "_AGREEMENT", agreement)
    monkeypatch.setattr(bench_parties, "_CONTRACT", CONTRACT)
    monkeypatch.setattr(bench_parties, "shutil", SimpleNamespace(copytree=copy_code))
    folder = Path(tempfile.mkdtemp(prefix="v-"))
    try:
        with parties(folder / "p") as found:
            write(found.source)
            found.push()
            yield found
    finally:
        shutil.rmtree(folder)


def copy_code(source: Path, target: Path) -> None:
    """The algorithm of the two machines' guide, over this dataset."""
    shutil.copytree(source, target)
    code = target / "mean-height" / "mean.py"
    code.write_text(code.read_text().replace("heights-v1", "scans-v1"))


def write(file: Path) -> None:
    people = pa.array([f"person-{n}" for n in range(PEOPLE)])
    table = pa.table({"person": people, "height": pa.array([150 + n for n in range(PEOPLE)])})
    with ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def kill(cast: Parties, victim: str) -> None:
    """Kill -9, and start again at once."""
    cast.troupe.kill(cast.label(victim))
    if victim == "enclave":
        (cast.folder / "host" / "enclave.sock").unlink(missing_ok=True)
        cast.start_enclave()
    else:
        cast.start(victim)


def run(cast: Parties, victim: str, after: float) -> dict[str, object]:
    """One order, and one death `after` seconds later; the run as the lab reads it."""
    order = cast.call("lab", "run.start")["order"]
    time.sleep(after)
    kill(cast, victim)
    return eventually(lambda: ended(cast, order), 120)


def ended(cast: Parties, order: str) -> dict[str, object] | None:
    found = [one for one in cast.call("lab", "run.list") if one["order"] == order]
    return found[0] if found and found[0]["run"] is not None else None


def result(cast: Parties, number: object) -> dict[str, object] | None:
    try:
        text: dict[str, object] = cast.call("lab", "result.show", run=str(number))["result"]
    except AdminError:
        return None
    return text


def survive(cast: Parties, chance: random.Random, victims: list[str]) -> None:
    for number, victim in enumerate(victims, 1):
        after = chance.random() * LONGEST
        found = run(cast, victim, after)
        told = (number, victim, after, found)
        assert found["number"] == number, told
        assert found["outcome"] == "released", told
        mean = eventually(lambda n=number: result(cast, n), 120)
        assert mean == {"people": PEOPLE, "height": 150 + (PEOPLE - 1) / 2}, told
    rows = cast.call("lab", "run.list")
    assert [one["number"] for one in rows] == list(range(1, len(victims) + 1)), json.dumps(rows)
    letters = cast.call("lab", "run.queue")["dead_letters"]
    assert letters == []


def test_every_run_ends_once_whatever_dies(cast: Parties) -> None:
    chance = random.Random(int(os.environ.get("SEED", "3")))  # noqa: S311 (a test's weather)
    survive(cast, chance, ["host", "enclave"])


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 28))
def test_every_run_ends_once_in_many_deaths(cast: Parties, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311
    victims = [chance.choice(("enclave", "host")) for _ in range(5)]
    survive(cast, chance, victims)
