"""Hostile algorithms against every tier of the datacage that this machine can have.

Each tier first passes a positive control: a sandbox in which nothing runs stops every attack. The
attacks have one too: those that do no harm must get through where there is no cage.
"""

import base64
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from enclave_host import runners
from enclave_host.cage import Broken, Cage, Job, Limits, NoTier, diagnose, stage, tiers
from enclave_host.cage.doctor import examine
from tests.hostile.algorithms import attacks

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its system call numbers are used"),
]

ALGORITHMS = Path(attacks.__file__).parent
ROOT = Path(__file__).parents[2]
SCIENTIFIC = ROOT / ".cache/environments/scientific"
LIMITS = Limits(
    memory=1 << 30, cpu=1, wall=10.0, processes=32, files=64, tmp=8 << 20, output=1 << 20, log=4096
)
MANY = Limits(memory=1 << 30, cpu=20, wall=30.0, processes=32, files=64, tmp=8 << 20)
QUICK = Limits(memory=1 << 30, cpu=1, wall=1.0, processes=32, files=64, tmp=1 << 20)

# An Arrow IPC stream: one table, one int64 column "age", the three rows 74, 68, 55.
LUNG = zlib.decompress(
    base64.b64decode(
        "eNp1TjEOg0AM83FXQCgDA0I38A+WDgxM/UWHql/oE/rr4ESpiirVUuLk5PisqvoCMMIwQNDigp4TkQp3cOvZS3Q+"
        "sya/mfjWonPVGB6pMV5Ca8is+/NBrbA69zHhxsbv9R1+BsEcCcRdkQsqqeKDgbN4Gst4jewZXzT4j3qa08+d4Ra8"
        "B6/BltP4AHxfEcA="
    )
)


class Target:
    """What attacks aim at, on this machine: listeners, a secret, an open door, some inputs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.hits: list[str] = []
        self.folder = folder
        self.inputs = folder / "inputs"
        self.empty = folder / "empty"
        self.outside = stack.enter_context(stage())
        self.outside.chmod(0o777)
        for directory in (self.inputs, self.empty):
            directory.mkdir()
        for file in (self.inputs / "spare", self.inputs / "secret", self.outside / "secret"):
            file.write_text("a row of a patient")
        (self.inputs / "link").symlink_to(self.outside / "secret")
        self.abstract = f"datacage-{os.getpid()}"
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(str(self.inputs / "socket"))
        (self.inputs / "socket").chmod(0o777)
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + self.abstract)
        for name, listener in (("tcp", tcp), ("unix", unix), ("abstract", abstract)):
            listener.listen()
            stack.callback(listener.close)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=self.note, args=(name, listener), daemon=True).start()

    def note(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.hits.append(name)
            connection.close()

    def aim(self, seen: tiers.View) -> dict:
        return {
            "port": self.port,
            "abstract": self.abstract,
            "inputs": seen.inputs,
            "code": seen.code,
            "environment": seen.environment,
            "secret": str(self.outside / "secret"),
            "open": str(self.outside),
            "neighbour": os.getpid(),
            "environ": [*tiers.ENVIRON, "PWD"],
        }

    def job(self, entry: str, limits: Limits = LIMITS, **parameters) -> Job:
        return Job(
            environment=self.empty,
            code=ALGORITHMS,
            inputs=self.inputs,
            entry=entry,
            parameters=json.dumps(parameters).encode(),
            limits=limits,
        )


@pytest.fixture(scope="module")
def target():
    with ExitStack() as stack:
        yield Target(stack.enter_context(stage()), stack)


@pytest.fixture(scope="module", params=tiers.TIERS)
def cage(request):
    try:
        return Cage.probe(only=request.param)
    except NoTier as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", autouse=True)
def orphans_come_here():
    """Make this process the reaper of its orphans, so that it sees what a run left behind."""
    pr_set_child_subreaper = 36
    attacks.libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    yield
    attacks.libc.prctl(pr_set_child_subreaper, 0, 0, 0, 0)
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


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


def test_control_attacks_get_through_without_a_cage(target):
    seen = tiers.View(str(ALGORITHMS), str(target.empty), str(target.inputs), None)
    parameters = target.aim(seen) | {"attacks": attacks.HARMLESS_OUTSIDE, "environ": []}
    script = (
        "import json, os, sys; sys.path.insert(0, sys.argv[1]); import attacks; "
        "print(json.dumps(attacks.run_quiet({}, json.loads(sys.argv[2]))))"
    )
    leak = os.open("/dev/null", os.O_RDONLY)
    done = subprocess.run(  # noqa: S603 our own script
        [sys.executable, "-B", "-c", script, str(ALGORITHMS), json.dumps(parameters)],
        pass_fds=[leak],
        capture_output=True,
        check=True,
        timeout=60,
    )
    os.close(leak)
    stopped = {k: v for k, v in json.loads(done.stdout).items() if not v.startswith("ESCAPED")}
    assert stopped == {}
    assert {"tcp", "unix", "abstract"} <= set(target.hits)


def test_control_honest_algorithm_works(cage, target):
    outcome = cage.run(target.job("honest:greet", name="Ada"))
    assert outcome.status == "ok", outcome.log
    assert json.loads(outcome.output) == {"hello": "Ada", "tables": []}
    assert cage.run(target.job("honest:use_threads")).status == "ok"


def test_quiet_attacks_are_all_stopped(cage, target):
    target.hits.clear()
    seen = tiers.view(cage.tier, target.job("attacks:run_quiet"))
    parameters = target.aim(seen) | {"attacks": list(attacks.QUIET)}
    outcome = cage.run(target.job("attacks:run_quiet", MANY, **parameters))
    assert outcome.status == "ok", outcome.log.decode()
    results = json.loads(outcome.output)
    assert results.keys() == attacks.QUIET.keys()
    assert {k: v for k, v in results.items() if not v.startswith("stopped")} == {}
    assert {v for k, v in results.items() if k.startswith("socket")} == {"stopped: EAFNOSUPPORT"}
    assert results["write /"] == ("stopped: EACCES" if cage.tier == "C" else "stopped: EROFS")
    assert target.hits == []
    assert (target.inputs / "secret").read_text() == "a row of a patient"


@pytest.mark.parametrize("name", attacks.FATAL)
def test_fatal_attack_ends_with_its_status(cage, target, name):
    status, _ = attacks.FATAL[name]
    limits = QUICK if name.startswith("sleep") else LIMITS
    outcome = cage.run(target.job("attacks:run_fatal", limits, attack=name))
    assert (outcome.status, outcome.output) == (status, b""), outcome.log.decode()
    assert len(outcome.log) <= limits.log


def test_output_is_all_or_nothing(cage, target):
    limits = Limits(output=17, memory=1 << 30)
    assert cage.run(target.job("honest:print_much", limits)).output == b'{"printed": true}'
    limits = Limits(output=16, memory=1 << 30)
    outcome = cage.run(target.job("honest:print_much", limits))
    assert (outcome.status, outcome.output) == ("limit", b"")


@pytest.mark.parametrize("entry", ["return_nan", "return_list", "leave", "missing"])
def test_what_is_no_document_does_not_leave(cage, target, entry):
    outcome = cage.run(target.job(f"honest:{entry}"))
    assert (outcome.status, outcome.output) == ("failed", b"")


def test_private_tmp_works_where_there_is_one(cage, target):
    outcome = cage.run(target.job("honest:use_tmp"))
    assert outcome.status == ("failed" if cage.tier == "C" else "ok")


def test_log_keeps_its_end_and_stays_small(cage, target):
    outcome = cage.run(target.job("honest:print_much"))
    assert outcome.status == "ok"
    assert len(outcome.log) == LIMITS.log
    assert outcome.log.endswith(b"secret \n")
    assert b"Traceback" in cage.run(target.job("honest:return_nan")).log


def test_tables_reach_the_algorithm_in_under_a_second(cage, target):
    if not (SCIENTIFIC / "pyarrow").is_dir():
        pytest.skip("make setup makes the environment with pyarrow")
    tables = target.folder / "with-tables" / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    (tables / "lung.arrow").write_bytes(LUNG)
    job = Job(environment=SCIENTIFIC, code=ALGORITHMS, inputs=tables.parent, entry="honest:add")
    started = time.monotonic()
    outcome = cage.run(job)
    assert outcome.status == "ok", outcome.log.decode()
    assert json.loads(outcome.output) == {"sum": 197, "solved": [1.0, 2.0]}
    assert time.monotonic() - started < 5  # 0.3 s measured; a busy machine may be slower


def test_runs_side_by_side_do_not_disturb_each_other(cage, target):
    outcomes = []

    def run_one(number: int) -> None:
        outcomes.append(cage.run(target.job("honest:greet", name=str(number))))

    threads = [threading.Thread(target=run_one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = sorted(json.loads(outcome.output)["hello"] for outcome in outcomes)
    assert names == [str(n) for n in range(6)]


def test_nothing_is_left_behind(cage, target):
    descriptors = len(os.listdir("/proc/self/fd"))
    outcome = cage.run(target.job("attacks:run_fatal", QUICK, attack="sleep"))
    assert outcome.status == "limit"
    assert none_caged_within(2)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert sorted(path.name for path in target.inputs.iterdir()) == [
        "link", "secret", "socket", "spare",
    ]  # fmt: skip


def test_algorithm_dies_with_its_enclave(cage, target):
    """An enclave that is killed leaves no algorithm running with its data."""
    script = (
        "import sys; from pathlib import Path; from enclave_host.cage import Cage, Job\n"
        "tier, code, empty = sys.argv[1:]\n"
        "Cage(tier).run(Job(environment=Path(empty), code=Path(code), inputs=Path(empty),"
        " entry='attacks:run_fatal', parameters=b'{\"attack\": \"sleep\"}'))"
    )
    enclave = subprocess.Popen(  # noqa: S603 our own script
        [sys.executable, "-c", script, cage.tier, str(ALGORITHMS), str(target.empty)],
        cwd=ROOT,
    )
    deadline = time.monotonic() + 10
    while not caged_processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert caged_processes()
    time.sleep(0.3)  # let the shim arm its parent-death signal
    enclave.send_signal(signal.SIGKILL)
    enclave.wait()
    assert none_caged_within(5)


def test_a_sandbox_that_cannot_be_built_is_broken_not_passed(cage, target):
    job = Job(
        environment=target.empty, code=ALGORITHMS, inputs=target.empty / "missing", entry="a:b"
    )
    with pytest.raises(Broken):
        cage.run(job)
    with pytest.raises(runners.UnknownKind):
        cage.run(Job(
            environment=target.empty, code=ALGORITHMS, inputs=target.empty, entry="a:b", kind="r"
        ))  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the algorithm as another user")
def test_directories_that_the_user_cannot_enter_are_named(target):
    cage = Cage.probe()
    if cage.tier == "B":
        pytest.skip("tier B binds as root")
    closed = target.folder / "closed"
    (closed / "inputs").mkdir(parents=True, exist_ok=True)
    closed.chmod(0o700)
    job = Job(
        environment=target.empty, code=ALGORITHMS, inputs=closed / "inputs", entry="honest:greet"
    )
    with pytest.raises(Broken, match="closed"):
        cage.run(job)


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
def test_an_unprivileged_enclave_has_a_tier(target):
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
