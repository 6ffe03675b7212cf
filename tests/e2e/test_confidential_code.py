"""The text of confidential code is nowhere on its host: not on disk, not in a memory file that
others reach, not in the host's memory, not in the frames between the processes, not in a log.

The enclave is a process of its own; between it and this test stands the host, a process that hands
on frames and writes down each. The simulated enclave holds the code in its memory while it works.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_host import server
from tests.e2e.plaintext import in_folder, in_memory
from tests.e2e.test_enclave_process import ready
from tests.enclave_drive import Host, body_of, digest_of
from tests.enclave_rig import PROJECT, SCIENTIFIC, rows_of
from tests.sealed_rig import MARKER, ConfidentialRig

pytestmark = pytest.mark.e2e

NOBODY = 65534
SHM = Path("/dev/shm")  # noqa: S108 that is where to look

HOST = """
import socket, sys, threading
listening, enclave, log = sys.argv[1:]
frames = open(log, "ab", buffering=0)
door = socket.socket(socket.AF_UNIX)
door.bind(listening)
door.listen()
print("ready", flush=True)
def carry(source, sink):
    while data := source.recv(65536):
        frames.write(data)
        sink.sendall(data)
    sink.shutdown(socket.SHUT_WR)
while True:
    ours, _ = door.accept()
    theirs = socket.socket(socket.AF_UNIX)
    theirs.connect(enclave)
    for pair in ((ours, theirs), (theirs, ours)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""

HOLDER = """
import os, sys, time
marker = sys.argv[1].encode()
memory = os.memfd_create("code")
os.write(memory, marker)
print("ready", flush=True)
time.sleep(120)
"""

OTHERS = """
import os, sys
marker, found, count = sys.argv[1].encode(), [], 0
for process in filter(str.isdecimal, os.listdir("/proc")):
    try:
        numbers = os.listdir(f"/proc/{process}/fd")
    except OSError:
        continue
    for number in numbers if int(process) != os.getpid() else []:
        link = f"/proc/{process}/fd/{number}"
        try:
            target = os.readlink(link)
            if target.startswith("/memfd:") or target.endswith(" (deleted)"):
                count += 1
                with open(link, "rb") as file:
                    if marker in file.read():
                        found.append(f"{process}:{target}")
        except OSError:
            continue
print(count, *found)
"""


class Marker:
    """What to look for, as tests/e2e/plaintext.py asks for it."""

    def in_bytes(self, data: bytes) -> Iterator[str]:
        if MARKER in data:
            yield "the marker"


def python(source: str, *arguments: str, **options: object) -> subprocess.Popen:
    return subprocess.Popen(  # noqa: S603 our own program
        [sys.executable, "-c", source, *arguments], stdout=subprocess.PIPE, text=True, **options
    )


def as_others() -> dict[str, object]:
    """A user that is neither the enclave nor the host, where this test may become one."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def others_find() -> list[str]:
    """What another user finds in the memory files of all processes."""
    with python(OTHERS, MARKER.decode(), cwd="/", **as_others()) as process:
        said = process.communicate(timeout=60)[0].split()
    assert said
    return said[1:]


@pytest.fixture
def enclave(tmp_path):
    """The enclave's process, and where it writes what it says."""
    file, log = tmp_path / "enclave.toml", tmp_path / "host" / "enclave.log"
    log.parent.mkdir()
    file.write_text(
        f'[enclave]\nsocket = "e.sock"\nenvironments = ["{SCIENTIFIC}"]\n'
        '[attestation]\ntechnology = "simulated"\n'
        '[limits]\ndata = "64 MiB"\nmemory = "4 GiB"\n'
    )
    with log.open("ab") as errors:
        process = subprocess.Popen(  # noqa: S603 our own program
            [sys.executable, "-m", "enclave_host.main", "run", "--config", str(file)],
            stdout=subprocess.PIPE, stderr=errors, text=True, cwd=PROJECT,
        )  # fmt: skip
    try:
        process.socket = ready(process)["ready"]
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def host(tmp_path, enclave):
    """The host's process; its folder has all that it keeps."""
    folder = tmp_path / "host"
    door = str(tmp_path / "door.sock")
    process = python(HOST, door, enclave.socket, str(folder / "frames"))
    try:
        assert process.stdout.readline() == "ready\n"
        process.folder, process.door = folder, door
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def search(host) -> set[str]:
    """Wherever the text could be on the host."""
    found = in_folder(host.folder, Marker()) | in_folder(SHM, Marker())
    _, remembered = in_memory(host.pid, Marker())
    return found | {f"memory: {one}" for one in remembered} | set(others_find())


def test_the_text_of_confidential_code_is_nowhere_on_its_host(enclave, host):
    rig = ConfidentialRig(digest_of(SCIENTIFIC), logs={"what": "errors", "bytes": 4096})
    client = server.Client(Path(host.door))
    driver = Host(rig, rig.host_1, client).join().take_office()
    for share in (
        rig.code_share(driver.keys),
        rig.share(rig.a, rows_of(*range(5)), driver.keys),
        rig.share(rig.b, rows_of(*range(5, 10)), driver.keys),
    ):
        driver.push(share)
        (host.folder / share.id.hex()).write_bytes(b"".join(share.frames))
    assert search(host) == set()

    summons = driver.summon(1, rig.order("hold", {"seconds": 8}))
    driver.load(1, driver.prepare(1, rig.statements(summons)))
    running = threading.Thread(target=lambda: setattr(driver, "concluded", driver.conclude(1)))
    running.start()
    time.sleep(1)
    looked = 0
    while running.is_alive():
        assert search(host) == set()
        looked += 1
    running.join()
    assert looked >= 1
    assert body_of(driver.concluded.run).outcome == "released"
    driver.commit()
    driver.compute(2, rig.order("crash", {}))  # a traceback would show lines of the code
    driver.commit()
    client.close()
    assert search(host) == set()
    assert (host.folder / "frames").stat().st_size > 10_000

    if os.geteuid() == 0:  # the search would find it: the enclave itself does hold it
        assert in_memory(enclave.pid, Marker())[1] == {"the marker"}


def test_the_search_finds_it_where_it_is(host, tmp_path):
    assert search(host) == set()
    (host.folder / "blob").write_bytes(b"x" * 100_000 + MARKER)
    assert search(host) == {"blob: the marker"}
    (host.folder / "blob").unlink()
    lying = SHM / f"village-marker-{os.getpid()}"
    lying.write_bytes(MARKER)
    try:
        assert search(host) == {f"{lying.name}: the marker"}
    finally:
        lying.unlink()
    with python(HOLDER, MARKER.decode(), cwd="/", **as_others()) as process:
        assert process.stdout.readline() == "ready\n"
        assert any(one.startswith(f"{process.pid}:") for one in others_find())
        process.kill()
    host.kill()
    host.wait(30)
    door = str(tmp_path / "other.sock")
    with python(HOST, door, MARKER.decode(), str(host.folder / "frames")) as process:
        assert process.stdout.readline() == "ready\n"
        assert in_memory(process.pid, Marker())[1] == {"the marker"}
        process.kill()
