"""Thousands of people's small shares in one agreement and in one run: intake, load, run, release.

    python -m bench.small_shares [--quick] [--json FILE]

The enclave is a process of its own with its real sandbox, asked over its socket as a host's node
asks it; the host's store and index of shares are measured in this process. No vault and no network
take part. --quick has 1,000 people, else there are 1,000 and 10,000.
"""

import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.table import entry, options, report
from enclave_host import environment
from enclave_host.server import Client, Server
from node.share_index import Kept, ShareIndex
from node.store.blobs import SealedShares
from node.store.journal import Journal
from protocol import record
from protocol.kinds.consent import PersonShare, SealedEnvelope

SIZES = 1000, 10_000


class Door:
    """An enclave behind a socket, asked by several threads: each has a connection."""

    def __init__(self, path: Path) -> None:
        """Nothing is connected yet."""
        self._path = path
        self._idle: queue.SimpleQueue[Client] = queue.SimpleQueue()

    def ask(self, request: object, document: type[Any]) -> Any:  # noqa: ANN401 (any answer)
        """The answer to one request."""
        try:
            client = self._idle.get_nowait()
        except queue.Empty:
            client = Client(self._path)
        try:
            return client.ask(request, document)
        finally:
            self._idle.put(client)


def serve(path: Path) -> None:
    """Be the enclave until the standard input ends; then say how much memory was used."""
    from tests.enclave_drive import boot
    from tests.enclave_rig import SCIENTIFIC

    enclave = boot(SCIENTIFIC, "any")
    server = Server(path, enclave.answer)
    threading.Thread(target=server.serve, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    server.stop()
    used = {
        "enclave": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "sandbox": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    print(json.dumps(used), flush=True)
    enclave.room.close()


@contextmanager
def running(folder: Path, memory: dict[str, float]) -> Iterator[Door]:
    """An enclave in a process of its own; its peak memory (MiB) is in `memory` afterwards."""
    command = [sys.executable, "-m", "bench.small_shares", "--serve", str(folder / "enclave")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise SystemExit("no pipes")
        process.stdout.readline()
        yield Door(folder / "enclave")
        process.stdin.close()
        memory |= json.loads(process.stdout.readline())


class Watch:
    """Seconds since the last look."""

    def __init__(self) -> None:
        """Begin now."""
        self._since = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.monotonic()
        passed, self._since = now - self._since, now
        return passed


def measure(people: int, folder: Path) -> dict[str, tuple[float, str]]:
    """One agreement with so many people: what -> (figure, unit)."""
    from tests.crowd_rig import PEOPLE_RULES, push_all, share_of, show_all
    from tests.enclave_drive import Host
    from tests.enclave_rig import SCIENTIFIC, Rig

    rig = Rig(environment.digest(SCIENTIFIC), **PEOPLE_RULES)
    memory: dict[str, float] = {}
    found: dict[str, tuple[float, str]] = {}
    with running(folder, memory) as door:
        office = Host(rig, rig.host_1, door).join().take_office()
        shares = [share_of(rig, number, office.keys) for number in range(people)]
        watch = Watch()
        verdicts = push_all(office, shares)
        found["intake"] = people / watch.lap(), "shares/s"
        if verdicts != {"kept": people}:
            raise SystemExit(f"verdicts: {verdicts}")
        show_all(office, shares)
        found["names before a run"] = watch.lap(), "s"
        summons = office.summon(1, rig.order("fit", {"covariates": ["age"]}))
        prepared = office.prepare(1, rig.statements(summons))
        found["checks before a run"] = watch.lap(), "s"
        office.load(1, prepared)
        found["load"] = watch.lap(), "s"
        office.concluded = office.conclude(1)
        found["run"] = watch.lap(), "s"
        certificate = rig.run_certificate(office.concluded.run)
        watch.lap()
        count = len(office.release(certificate))
        found["release"] = watch.lap(), "s"
        body = record.parse(office.concluded.run).body or {}
        if (body["outcome"], count) != ("released", people + 2):
            raise SystemExit(f"{body['outcome']}: {count} outputs")
    found |= {f"memory of {name}": (size, "MiB") for name, size in memory.items()}
    return found


def store(people: int, folder: Path, size: int) -> dict[str, tuple[float, str]]:
    """What a host's disk does with so many shares of `size` bytes each."""
    files = SealedShares(folder / f"shares-{size}")
    watch = Watch()
    for number in range(people):
        with files.begin(number.to_bytes(32, "big")) as writer:
            writer.append(os.urandom(size))
            writer.finish()
    written = people / watch.lap()
    for number in range(people):
        list(files.frames(number.to_bytes(32, "big")))
    kib = f"{size // 1024} KiB"
    read = people / watch.lap()
    return {f"written, {kib}": (written, "shares/s"), f"read, {kib}": (read, "shares/s")}


def index(people: int, folder: Path) -> dict[str, tuple[float, str]]:
    """What a host's index does with so many people's messages for a host and a standby."""
    journal = Journal.open(folder / "journal.db")
    here = ShareIndex(journal, SealedShares(folder / "none"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = Watch()
    for number in range(people):
        id_ = number.to_bytes(32, "big")
        envelopes = tuple(SealedEnvelope(enclave=bytes(32), sealed=os.urandom(4749)) for _ in "ab")
        person = PersonShare(agreement=bytes(32), share=id_, owner=id_, envelopes=envelopes)
        here.put(Kept(agreement=bytes(32), share=id_, owner=id_, person=person))
        here.confirm(id_, bytes(454))
    written = people / watch.lap()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    ShareIndex(journal, here.files)
    started = watch.lap()
    journal.close()
    return {
        "index": (written, "shares/s"),
        "index at a start": (started, "s"),
        "memory of the index": (grown, "MiB"),
    }


def child(what: str, people: int) -> dict[str, tuple[float, str]]:
    """One measurement in a process of its own, so that memory is its own too."""
    command = [sys.executable, "-m", "bench.small_shares", "--child", what, str(people)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, tuple[float, str]] = json.loads(done.stdout)
    return found


def one(what: str, people: int) -> dict[str, tuple[float, str]]:
    """The measurement of this name."""
    with tempfile.TemporaryDirectory() as name:
        if what == "runs":
            return measure(people, Path(name))
        if what == "index":
            return index(people, Path(name))
        return {
            k: v
            for size in (1024, 16_384, 262_144)
            for k, v in store(people, Path(name), size).items()
        }


def main() -> None:
    """Measure and report."""
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
        return
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(one(sys.argv[2], int(sys.argv[3]))))
        return
    chosen = options(__doc__ or "")
    figures: dict[str, Any] = {}
    for people in SIZES[:1] if chosen.quick else SIZES:
        rows = figures.setdefault(f"{people}", {})
        for what in ("runs", "index"):
            rows |= {k: entry([v], unit) for k, (v, unit) in child(what, people).items()}
    rows = figures.setdefault("store", {})
    rows |= {k: entry([v], unit) for k, (v, unit) in child("store", SIZES[0]).items()}
    report("Many small shares", figures, chosen.json)


if __name__ == "__main__":
    main()
