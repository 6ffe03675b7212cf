"""The demo from outside: exit code, every line, every file, every number; and no host's node ever
holds a person's row: not on disk, not in a memory file, not in its memory.

The simulated enclave and its sandbox do hold them while they work, and are called SIMULATED.
"""

import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.demo.cast import split, to_csv
from node.demo.stage import HOSTS, LUNG, NODES, VAULTS
from tests.e2e.conftest import VILLAGE, Told, children_of, files_in_memory
from tests.e2e.plaintext import Needles, in_folder, in_memory, in_open_files

pytestmark = pytest.mark.e2e

RUN_1 = {"age": 0.009754, "sex": -0.531204, "ph.ecog": 0.449860}
RUN_2 = {"age": 0.011067, "sex": -0.552612, "ph.ecog": 0.463728}


def _json(demo: Told, name: str) -> dict:
    return json.loads((demo.out / name).read_text())


def test_every_line_held(demo: Told):
    assert demo.code == 0, demo.text


@pytest.mark.parametrize(
    "said",
    [
        "SIMULATED ENCLAVE, NOT CONFIDENTIAL",
        "Hospital A   53 patients   hazard ratio 0.54 (0.26-1.10)  p 0.09   cannot tell",
        "registrar vouched for 8 organizations and 16 people · 5 signed the charter · 4 admitted",
        "at least 10 people per result (was 5)",
        "6 of 6 signed the same digest",
        "elected host-1, term 1, standby host-2",
        "16 asked",
        "11 said yes",
        "patient 07 withdrew",
        "A 53  B 50  C 48  D 61  patients 10",
        "n 221 (1 row without ECOG left out)",
        "elected host-2, term 2",
        "228 rows, n 227, events 164 · released once",
        "hazard ratio 0.58 (0.41-0.80), p 0.0010",
        "code digest, agreed by 6 parties",
        "consent check",
        "record signature",
        "term 1 ended, fenced by term",
        "statements of 5 of 6 parties needed",
        "min_change 5, set by Hospital B",
        "min_contributors 10, set by Hospital B",
        "EAFNOSUPPORT, EROFS",
        "exit 3: record",
        "verified offline by all 6 parties · 0 findings",
        "not in run 1 · in run 2, under consent #2",
    ],
)
def test_the_screen_says(demo: Told, said: str):
    assert said in demo.text


def test_the_published_fit(demo: Told):
    result = _json(demo, "result.json")
    assert (result["n"], result["events"]) == (227, 164)
    assert result["concordance"] == pytest.approx(0.637, abs=5e-4)
    for name, value in RUN_2.items():
        assert result["coefficients"][name] == pytest.approx(value, abs=1e-5)
    assert {"coefficients", "standard_errors", "p", "ci95", "concordance"} <= result.keys()


def test_the_first_run(demo: Told):
    result = _json(demo, "result-run1.json")
    assert (result["n"], result["events"]) == (221, 164)
    for name, value in RUN_1.items():
        assert result["coefficients"][name] == pytest.approx(value, abs=1e-5)


def test_at_least_twelve_processes(demo: Told):
    assert demo.most >= len(NODES) + len(HOSTS) + 1 >= 12


def test_nothing_is_left_running(demo: Told):
    assert demo.left == []


def test_each_process_has_a_log(demo: Told):
    logs = {path.stem for path in (demo.out / "logs").iterdir()}
    assert {*NODES, *HOSTS.values(), VAULTS} <= logs


def test_lines_name_their_records(demo: Told):
    lines = [json.loads(line) for line in (demo.out / "events.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == [line["text"] for line in demo.lines]
    named = [line for line in lines if line["record"]]
    assert len(named) > 20
    assert all(len(bytes.fromhex(line["record"])) == 32 for line in named)


def test_timings(demo: Told):
    timings = _json(demo, "timings.json")
    wanted = {"agreement", "election", "run order to opened result", "fail-over", "whole"}
    assert wanted | {f"share of hospital-{letter}" for letter in "abcd"} <= timings.keys()


@pytest.mark.parametrize("file", ["audit.village", "receipt-07.village"])
def test_files_verify_from_outside(demo: Told, file: str):
    for command in ([sys.executable, "-m", "protocol.audit", "verify"], [str(VILLAGE), "verify"]):
        done = subprocess.run(  # noqa: S603 our own program
            [*command, str(demo.out / file)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_flipped_bit_is_found(demo: Told):
    done = subprocess.run(  # noqa: S603 our own program
        [str(VILLAGE), "verify", str(demo.out / "audit-altered.village")],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path):
    command, before = [str(VILLAGE), "demo", "--out", str(tmp_path / "out")], files_in_memory()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 our own program
        while not (children := children_of(process.pid)):
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert files_in_memory() == before


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run(  # noqa: S603 our own program
        [str(VILLAGE), "demo", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_unknown_scene_is_a_wrong_use(tmp_path: Path):
    done = subprocess.run(  # noqa: S603 our own program
        [str(VILLAGE), "demo", "--out", str(tmp_path), "--scenes", "finale"],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2


# --- no host holds a row ---------------------------------------------------------------------

HOLDER = """
import os, sys
rows = sys.stdin.buffer.read()
memory = os.memfd_create("rows")
os.write(memory, rows)
sys.stdout.write("ready\\n")
sys.stdout.flush()
import time
time.sleep(60)
"""


@pytest.fixture(scope="module")
def needles() -> Needles:
    if not LUNG.is_file():
        pytest.skip("needs make setup: demo data")
    return Needles(split(LUNG.read_text("utf-8")))


def test_no_host_holds_a_row(demo: Told):
    assert [search.host for search in demo.searches] == ["host-1", "host-2", "host-2"], demo.text
    for search in demo.searches:
        if search.forbidden:
            pytest.skip(f"the memory of a process may not be read here: {search.forbidden}")
        assert search.memory > 20 * 2**20  # it was looked through
        assert search.found == set(), search.host


def test_nothing_is_left_in_the_memory_file_system(demo: Told):
    """One enclave was killed while it held rows, and could not wipe them."""
    assert demo.left_in_memory == set()


def test_the_search_finds_what_a_hospital_has(demo: Told, needles: Needles):
    found = in_folder(demo.out / "participants" / "hospital-a", needles)
    assert any(one.startswith("lung.csv: person") for one in found)
    assert any(one.startswith("lung.csv: line") for one in found)


def test_the_search_finds_rows_in_memory_and_memory_files(needles: Needles):
    cast = split(LUNG.read_text("utf-8"))
    with subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(to_csv(cast.hospitals["B"]).encode())
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        try:
            _, in_mind = in_memory(process.pid, needles)
            files, filed = in_open_files(process.pid, needles)
        except PermissionError as error:
            pytest.skip(f"the memory of a process may not be read here: {error}")
        finally:
            process.kill()
    assert any(one.startswith("person") for one in in_mind)
    assert files >= 1
    assert any(one.startswith("line") for one in filed)


def test_the_search_finds_arrow_columns(needles: Needles):
    rows = split(LUNG.read_text("utf-8")).hospitals["C"]
    column = struct.pack(f"<{len(rows)}q", *(row.time for row in rows))
    assert "times of hospital C" in set(needles.in_bytes(os.urandom(64) + column))
