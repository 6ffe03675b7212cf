"""What every tier of the sandbox does with an honest algorithm, and that nothing of a run stays.

What it does with attacks: test_probes.py.
"""

import base64
import ctypes
import errno
import json
import os
import py_compile
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import pytest

from enclave_host import outputs, runners
from enclave_host.cage import (
    Broken,
    Cage,
    Job,
    Limits,
    Outcome,
    diagnose,
    memory,
    seccomp,
    tiers,
)
from enclave_host.cage.doctor import examine
from tests.hostile.target import open_folder

pytestmark = pytest.mark.hostile

ROOT = Path(__file__).parents[2]
HONEST = Path(__file__).parent / "algorithms/honest.py"
CODE = {HONEST.name: HONEST.read_bytes()}
SCIENTIFIC = ROOT / ".cache/environments/scientific"
LIMITS = Limits(
    memory=1 << 30, cpu=10, wall=30.0, processes=32, files=64, tmp=8 << 20, output=1 << 20, log=4096
)
QUICK = Limits(memory=1 << 30, cpu=1, wall=1.0, processes=32, files=64, tmp=1 << 20)

# An Arrow IPC stream: one table, one int64 column "age", the three rows 74, 68, 55.
LUNG = zlib.decompress(
    base64.b64decode(
        "eNp1TjEOg0AM83FXQCgDA0I38A+WDgxM/UWHql/oE/rr4ESpiirVUuLk5PisqvoCMMIwQNDigp4TkQp3cOvZS3Q+"
        "sya/mfjWonPVGB6pMV5Ca8is+/NBrbA69zHhxsbv9R1+BsEcCcRdkQsqqeKDgbN4Gst4jewZXzT4j3qa08+d4Ra8"
        "B6/BltP4AHxfEcA="
    )
)


def job(entry: str, limits: Limits = LIMITS, **parameters) -> Job:
    return Job(code=CODE, entry=entry, parameters=json.dumps(parameters).encode(), limits=limits)


@pytest.fixture(scope="module", autouse=True)
def orphans_come_here():
    """Make this process the reaper of its orphans, so that it sees what a run left behind."""
    libc, pr_set_child_subreaper = ctypes.CDLL(None), 36
    libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    yield
    libc.prctl(pr_set_child_subreaper, 0, 0, 0, 0)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def said(outcome: Outcome) -> dict:
    """The outputs by name."""
    return {name: json.loads(one.content) for name, one in outputs.parse(outcome.output).items()}


def caged_processes() -> list[int]:
    """Living processes of a sandbox that descend from this one: none between runs."""
    parents, caged = {}, []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rpartition(")")[2].split()
            parents[int(process.name)] = int(stat[1])
            if tiers.SHIM[:60].encode() in (process / "cmdline").read_bytes():
                caged.append(int(process.name))
    return [process for process in caged if os.getpid() in ancestors(process, parents)]


def filtered(process: int) -> bool:
    """Whether the shim has built its walls in this process: it will end with its parent, then."""
    with suppress(OSError):
        return "Seccomp:\t2\n" in Path(f"/proc/{process}/status").read_text()
    return False


def ancestors(process: int, parents: dict[int, int]) -> set[int]:
    found = set()
    while process in parents and process not in found:
        found.add(process)
        process = parents[process]
    return found


def none_caged_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while caged_processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not caged_processes()


def test_this_machine_has_a_tier():
    assert Cage.probe().tier in tiers.TIERS


def test_control_honest_algorithm_works(cage):
    outcome = cage.run(job("honest:greet", name="Ada"))
    assert outcome.status == "ok", outcome.log
    assert said(outcome) == {"hello": "Ada", "tables": []}
    assert cage.run(job("honest:use_threads")).status == "ok"


def test_output_is_all_or_nothing(cage):
    limits = Limits(output=36, memory=1 << 30)
    assert len(cage.run(job("honest:print_much", limits)).output) == limits.output
    limits = Limits(output=35, memory=1 << 30)
    outcome = cage.run(job("honest:print_much", limits))
    assert (outcome.status, outcome.output) == ("limit", b"")


@pytest.mark.parametrize("entry", ["return_nan", "return_list", "leave", "missing"])
def test_what_is_no_document_does_not_leave(cage, entry):
    outcome = cage.run(job(f"honest:{entry}"))
    assert (outcome.status, outcome.output) == ("failed", b"")


def test_private_tmp_works_where_there_is_one(cage):
    outcome = cage.run(job("honest:use_tmp"))
    assert outcome.status == ("failed" if cage.tier == "C" else "ok")


def test_log_keeps_its_end_and_stays_small(cage):
    outcome = cage.run(job("honest:print_much"))
    assert outcome.status == "ok"
    assert len(outcome.log) == LIMITS.log
    assert outcome.log.endswith(b"secret \n")
    assert b"Traceback" in cage.run(job("honest:return_nan")).log


def test_tables_reach_the_algorithm(cage):
    if not (SCIENTIFIC / "pyarrow").is_dir():
        pytest.skip("make setup makes the environment with pyarrow")
    with memory.files({"tables/lung": LUNG}) as inputs:
        job = Job(environment=SCIENTIFIC, code=CODE, inputs=inputs, entry="honest:add")
        outcome = cage.run(job)
    assert outcome.status == "ok", outcome.log.decode()
    assert said(outcome) == {"sum": 197, "solved": [1.0, 2.0]}


def test_runs_side_by_side_do_not_disturb_each_other(cage):
    outcomes = []

    def run_one(number: int) -> None:
        outcomes.append(cage.run(job("honest:greet", name=str(number))))

    threads = [threading.Thread(target=run_one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(said(outcome)["hello"] for outcome in outcomes)
    assert names == [str(n) for n in range(6)]


def test_nothing_is_left_behind(cage):
    descriptors = len(os.listdir("/proc/self/fd"))
    outcome = cage.run(job("honest:sleep", QUICK))
    assert outcome.status == "limit"
    assert none_caged_within(2)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_algorithm_dies_with_its_enclave(cage):
    """An enclave that is killed leaves no algorithm running with its data."""
    script = (
        "import sys; from pathlib import Path; from enclave_host.cage import Cage, Job\n"
        "tier, code = sys.argv[1:]\n"
        "Cage(tier).run(Job(code={'honest.py': Path(code).read_bytes()}, entry='honest:sleep'))"
    )
    enclave = subprocess.Popen(  # noqa: S603 our own script
        [sys.executable, "-c", script, cage.tier, str(HONEST)],
        cwd=ROOT,
    )
    deadline = time.monotonic() + 30
    while not any(map(filtered, caged_processes())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert caged_processes()
    enclave.send_signal(signal.SIGKILL)
    enclave.wait()
    assert none_caged_within(20)


def test_a_sandbox_that_cannot_be_built_is_broken_not_passed(cage):
    with pytest.raises(Broken):
        cage.run(Job(environment=HONEST.parent / "missing", code=CODE, entry="a:b"))
    with pytest.raises(Broken):
        cage.run(Job(code=CODE, inputs={"tables/closed": 999}, entry="a:b"))
    with pytest.raises(runners.UnknownKind):
        cage.run(Job(code=CODE, entry="a:b", kind="r"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the algorithm as another user")
def test_directories_that_the_user_cannot_enter_are_named():
    cage = Cage.probe()
    if cage.tier == "B":
        pytest.skip("tier B binds as root")
    with open_folder() as folder:
        closed = folder / "closed"
        (closed / "environment").mkdir(parents=True)
        closed.chmod(0o700)
        with pytest.raises(Broken, match="closed"):
            cage.run(Job(environment=closed / "environment", code=CODE, entry="honest:greet"))


def test_behind_the_filter_there_is_no_capability_either(cage, monkeypatch):
    """What bwrap leaves to the shim, to bound /tmp, is gone before the algorithm comes."""
    allow_all = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)
    monkeypatch.setattr(seccomp, "program", lambda: allow_all)
    code = b"""
import ctypes

def look(tables, parameters):
    libc = ctypes.CDLL(None, use_errno=True)
    held = (ctypes.c_uint32 * 6)(*[7] * 6)
    read = libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), held)
    again = libc.mount(None, b"/tmp", None, 2 | 4 | 32, b"nr_inodes=100000")
    return {"read": read, "held": list(held), "mount": [again, ctypes.get_errno()]}
"""
    found = said(cage.run(Job(code={"look.py": code}, entry="look:look", limits=LIMITS)))
    assert found == {"read": 0, "held": [0] * 6, "mount": [-1, errno.EPERM]}


def test_byte_code_beside_a_source_is_never_loaded(cage):
    """It is no part of an environment's digest, so whoever keeps the files could put any there."""
    caller = b"import single, pack.part\n\ndef ask(tables, parameters):\n" + (
        b"    return {'single': single.here, 'part': pack.part.here}\n"
    )
    with open_folder() as environment:
        (environment / "pack").mkdir()
        for source in (environment / "single.py", environment / "pack" / "part.py"):
            source.write_text("here = 'forged'\n")
            py_compile.compile(
                str(source), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
            source.write_text("here = 'source'\n")
        asked = Job(environment=environment, code={"caller.py": caller}, entry="caller:ask")
        assert said(cage.run(asked)) == {"single": "source", "part": "source"}
        control = "import single, pack.part; print(single.here, pack.part.here)"
        plain = [tiers.PYTHON, "-B", "-c", control]
        found = subprocess.run(  # noqa: S603 our own command line
            plain, cwd=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.split() == ["forged", "forged"]


def test_doctor_reports_what_was_seen():
    reports = diagnose()
    assert [report.tier for report in reports] == list(tiers.TIERS)
    for report in (report for report in reports if report.holds):
        observed = dict(report.observed)
        assert observed["socket"] == "EAFNOSUPPORT"
        assert observed["write /"] == ("EACCES" if report.tier == "C" else "EROFS")
        assert observed["execve"] == "policy"
    assert all(report.reason for report in reports)


def test_a_wall_that_is_missing_is_noticed(monkeypatch, cage):
    """The doctor itself has a control: with a filter that allows all, no tier may hold."""
    allow_all = b"\x06\x00\x00\x00\x00\x00\xff\x7f"  # BPF_RET, SECCOMP_RET_ALLOW
    monkeypatch.setattr("enclave_host.cage.seccomp.program", lambda: allow_all)
    report = examine(cage.tier)
    assert not report.holds
    assert "socket met allowed" in report.reason


def test_the_trusted_process_stays_free_of_what_algorithms_use():
    script = "import sys, enclave_host.cage; print(*sys.modules)"
    done = subprocess.run(  # noqa: S603 our own script
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"numpy", "pyarrow", "duckdb", "pandas"} & set(done.stdout.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="this process is unprivileged itself")
def test_an_unprivileged_enclave_has_a_tier():
    script = (
        "import os; from enclave_host.cage import diagnose\n"
        "print(os.geteuid(), *(r.tier for r in diagnose() if r.holds))"
    )
    try:
        done = subprocess.run(  # noqa: S603 our own script
            [sys.executable, "-B", "-c", script],
            cwd=ROOT, user=65534, group=65534, extra_groups=[], capture_output=True, text=True,
            check=False, timeout=60,
        )  # fmt: skip
    except PermissionError:
        pytest.skip("the checkout is closed to other users")
    user, *held = done.stdout.split()
    assert user == "65534", done.stderr
    assert held, done.stderr
    assert set(held) <= {"A", "C"}


@pytest.mark.skipif(not SCIENTIFIC.is_dir(), reason="needs make setup: the environment")
def test_our_own_readers_of_tables_go_without_pandas():
    """pyarrow imports it at the first value that it converts; an algorithm may have it."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from enclave_host.runners.columns import without_pandas\n"
        "import pyarrow, pyarrow.compute\n"
        "if {closed}: without_pandas()\n"
        "pyarrow.compute.greater(pyarrow.array([1]), 0)\n"
        "print('pandas' in sys.modules)"
    )
    loaded = [
        subprocess.check_output(  # noqa: S603 our own script
            [
                tiers.PYTHON,
                "-I",
                "-S",
                "-c",
                script.format(closed=closed),
                str(SCIENTIFIC),
                str(ROOT),
            ],
            text=True,
        ).strip()
        for closed in (True, False)
    ]
    assert loaded == ["False", "True"]
