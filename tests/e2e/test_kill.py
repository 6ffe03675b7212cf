"""An enclave that is killed in the middle of a run leaves no row, no code and no process.

Rows and code have a needle that stands nowhere else on this machine. While the algorithm holds them
the needle is in its memory, which shows that the search works, and in no file; after a kill -9 of
the enclave every process is gone, and still no file has it.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from enclave_host import server
from enclave_host.cage import Cage, NoTier, tiers
from protocol.errors import Refused
from protocol.kinds.agreement import RunLimits
from tests import enclave_rig
from tests.e2e.plaintext import in_memory, in_open_files
from tests.enclave_drive import Host, body_of, digest_of
from tests.enclave_rig import PROJECT, SCIENTIFIC, Rig

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not SCIENTIFIC.is_dir(), reason="needs make setup: algorithm environment"),
]

PLACES = [Path(place) for place in ("/dev/shm", "/tmp", "/var/tmp", "/run")]  # noqa: S108 to look at


class Needle:
    """What to look for, as tests.e2e.plaintext wants it."""

    def __init__(self) -> None:
        self.text = f"needle-{secrets.token_hex(12)}"

    def in_bytes(self, data: bytes) -> Iterator[str]:
        if self.text.encode() in data:
            yield self.text


def files_with(needle: Needle, since: float, own: Path) -> list[Path]:
    """Files written since then, in memory or on a disk, that have the needle; `own` is a folder
    among those of tests, the others of which are left out.
    """
    found = []
    for place in (*PLACES, own):
        for folder, folders, names in os.walk(place):
            folders[:] = [name for name in folders if not name.startswith("pytest-of-")]
            for path in (Path(folder) / name for name in names):
                with suppress(OSError):
                    status = path.lstat()
                    if path.is_file() and status.st_mtime >= since and status.st_size < 2**26:
                        found += [path] * any(needle.in_bytes(path.read_bytes()))
    return found


def below(process: int) -> set[int]:
    """All processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = entry.read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(entry.parent.name))
    found: set[int] = set()
    ahead = [process]
    while ahead:
        ahead += (more := children.get(ahead.pop(), []))
        found.update(more)
    return found


def holds(process: int, needle: Needle) -> bool:
    """Whether the needle is in a process's memory, or in a file without a name that it has open;
    a process that ended holds nothing. Raises PermissionError.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        return bool(in_memory(process, needle)[1] | in_open_files(process, needle)[1])
    return False


def in_filter(process: int) -> bool:
    """Whether the walls around it stand, so that an algorithm runs in it."""
    with suppress(OSError):
        return "Seccomp:\t2\n" in Path(f"/proc/{process}/status").read_text()
    return False


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@pytest.fixture
def tier(request):
    """The tier that a test names, or the strongest."""
    try:
        return Cage.probe(only=getattr(request, "param", None)).tier
    except NoTier as error:
        pytest.skip(str(error))


@pytest.fixture
def needle(monkeypatch):
    found = Needle()
    monkeypatch.setattr(enclave_rig, "CODE", enclave_rig.CODE + f"# {found.text}\n".encode())
    return found


@pytest.fixture
def spawned(tmp_path, tier):
    """A real enclave that uses this tier: its process and its socket."""
    file = tmp_path / "enclave.toml"
    file.write_text(
        f'[enclave]\nsocket = "e.sock"\nenvironments = ["{SCIENTIFIC}"]\ntier = "{tier}"\n'
        '[attestation]\ntechnology = "simulated"\n[limits]\ndata = "64 MiB"\n'
    )
    process = subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, "-m", "enclave_host.main", "run", "--config", str(file)],
        stdout=subprocess.PIPE,
        cwd=PROJECT,
    )
    try:
        assert process.stdout.readline()
        yield process, tmp_path / "e.sock"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def begin(rig, socket, needle):
    """Up to the run that never ends."""
    host = Host(rig, rig.host_1, server.Client(socket)).join().take_office()
    for owner, people in ((rig.a, 900), (rig.b, 50)):
        row = {"site": 1, "value": 1.0}
        rows = [{"person": f"{needle.text}-{owner.name}-{n}", **row} for n in range(people)]
        host.push(rig.share(owner, rows, host.keys))
    summons = host.summon(1, rig.order("stuck"))
    host.load(1, host.prepare(1, rig.statements(summons)))
    return host


def conclude(host):
    """In a thread: the enclave dies before it answers."""
    with suppress(Refused, OSError):
        host.conclude(1)


TIERS = ["A", *(pytest.param(tier, marks=pytest.mark.soak) for tier in tiers.TIERS[1:])]


@pytest.mark.parametrize("tier", TIERS, indirect=True)
def test_a_killed_enclave_leaves_no_row_no_code_and_no_process(spawned, needle, tmp_path):
    process, socket = spawned
    since = time.time() - 1
    rig = Rig(digest_of(SCIENTIFIC), limits=RunLimits(wall=60))
    host = begin(rig, socket, needle)
    thread = threading.Thread(target=conclude, args=(host,))
    thread.start()
    try:
        assert wait_for(lambda: any(in_filter(one) for one in below(process.pid)))
        try:
            # One sandbox puts the rows together and ends; the next one runs the algorithm.
            assert wait_for(lambda: any(holds(one, needle) for one in below(process.pid)))
        except PermissionError as error:
            pytest.skip(f"the memory of a process may not be read here: {error}")
        family = {process.pid} | below(process.pid)
        assert files_with(needle, since, tmp_path) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert wait_for(lambda: not any(alive(one) for one in family), 10), family
        assert files_with(needle, since, tmp_path) == []
        (tmp_path / "control").write_text(needle.text)
        assert files_with(needle, since, tmp_path) == [tmp_path / "control"]
    finally:
        process.kill()
        thread.join()
        host.door.close()


def alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stuck_run_ends_at_its_limit_and_the_next_one_runs(spawned, needle):
    process, socket = spawned
    rig = Rig(digest_of(SCIENTIFIC), limits=RunLimits(wall=2))
    host = begin(rig, socket, needle)
    host.concluded = host.conclude(1)
    run = body_of(host.concluded.run)
    assert (run.outcome, run.refusal_code) == ("failed", "run.failed")
    assert run.refusal_detail == "the algorithm ended as limit"
    host.commit()
    assert host.compute(2).outcome == "released"
    assert not below(process.pid)
    host.door.close()
