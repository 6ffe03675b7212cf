"""No host's node ever holds a person's row: not on disk, not in a memory file, not in its memory.

The simulated enclave and its sandbox do hold them while they work, and are called SIMULATED.
"""

import os
import subprocess
import sys

import pytest

from node.demo.cast import split, to_csv
from node.demo.stage import LUNG
from tests.e2e.conftest import Told
from tests.e2e.plaintext import Needles, in_folder, in_memory, in_open_files

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not LUNG.is_file(), reason="needs make setup: demo data"),
]

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
    import struct

    rows = split(LUNG.read_text("utf-8")).hospitals["C"]
    column = struct.pack(f"<{len(rows)}q", *(row.time for row in rows))
    assert "times of hospital C" in set(needles.in_bytes(os.urandom(64) + column))
