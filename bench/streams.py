"""One share, from the provider's file to the enclave's receipt, beside other ways to send a file.

Run as `python -m bench.streams [--quick] [--json FILE]`. In each round every way sends 1 GiB
(--quick: 128 MiB) of random data, and its ratio is to raw TCP (sendfile) in the same round. It runs
in a network namespace of its own where it may, so that nobody else's traffic counts.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import rivals
from bench.parties import Parties, parties
from bench.table import entry, options, report
from node.admin.client import AdminClient

INSIDE: Final = "VILLAGE_BENCH_NAMESPACE"
LANE: Final = 'bulk = "127.0.0.1:0"'
RAW: Final = "raw TCP (sendfile)"
VILLAGE: Final = "village, bulk lane"
FALLBACK: Final = "village, inside the stream"
STOCK: Final = "stock libp2p"
TICK: Final = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and report."""
    if INSIDE not in os.environ:
        _enter_namespace()
    chosen = options(__doc__ or "")
    size, rounds = (128 << 20, 2) if chosen.quick else (1 << 30, 3)
    seconds: dict[str, list[float]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="v-") as folder, _both(Path(folder)) as villages:
        for number in range(rounds):
            for name, spent in _round(Path(folder), villages, size, f"round-{number}"):
                seconds[name].append(spent)
                print(f"  {number + 1} of {rounds}: {name}: {spent:.2f} s", file=sys.stderr)
                ratios[name].append(seconds[RAW][-1] / spent)
        for name, found in seconds.items():
            figures[name] = {
                "ratio to raw TCP": entry(ratios[name], "x"),
                "rate": entry([size / spent / 2**20 for spent in found], "MiB/s"),
            }
        figures[VILLAGE] |= _costs(villages[VILLAGE], size)
        figures[FALLBACK] |= _costs(villages[FALLBACK], size)
        if STOCK in seconds:
            pairs = zip(seconds[STOCK], seconds[FALLBACK], strict=True)
            to_stock = [theirs / ours for theirs, ours in pairs]
            figures[FALLBACK]["ratio to stock libp2p"] = entry(to_stock, "x")
    report(f"{size >> 20} MiB, file to receipt, {rounds} rounds", figures, chosen.json)


def _enter_namespace() -> None:
    """Start anew where only our own loopback is; stay here if that is not allowed."""
    os.environ[INSIDE] = "1"
    again = [sys.executable, "-m", "bench.streams", *sys.argv[1:]]
    script = 'ip link set lo up && exec "$@"'
    if subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0:
        os.execvp("unshare", ["unshare", "-n", "sh", "-c", script, "sh", *again])
    print("no network namespace of its own: others' traffic may count", file=sys.stderr)


@contextlib.contextmanager
def _both(folder: Path) -> Iterator[dict[str, Parties]]:
    with parties(folder / "a", LANE) as lane, parties(folder / "b") as stream:
        yield {VILLAGE: lane, FALLBACK: stream}


def _round(
    folder: Path, villages: dict[str, Parties], size: int, mark: str
) -> Iterator[tuple[str, float]]:
    for found in villages.values():
        found.write(size, mark)
    source = villages[VILLAGE].source
    digest = _digest(source)
    for name, way in {RAW: rivals.raw_tcp, **rivals.RIVALS}.items():
        with tempfile.TemporaryDirectory(prefix="v-", dir=folder) as place:
            try:
                spent = way(Path(place), source)
            except (rivals.Missing, subprocess.SubprocessError, OSError) as error:
                print(f"  skipped: {name}: {error}", file=sys.stderr)
                continue
            if _digest(Path(place) / "out") != digest:
                raise RuntimeError(f"{name} brought something else")
            yield name, spent
    for name, found in villages.items():
        yield name, _push(found)


def _push(found: Parties) -> float:
    """Seconds of one push; what lies on the host is what the receipt is about."""
    begun = time.monotonic()
    pushed = found.push()
    spent = time.monotonic() - begun
    receipt = found.call("provider", "share.show", share=pushed["share"])["receipt"]
    if receipt["verdict"] != "kept" or receipt["digest"] != found.stored_chain(pushed["share"]):
        raise RuntimeError("the host keeps something else")
    return spent


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _costs(found: Parties, size: int) -> dict[str, Any]:
    """Processor time, memory and phases of one more push."""
    found.write(size, "costs")
    pids = {name.rpartition("-")[2]: one.pid for name, one in found.troupe.running.items()}
    for pid in pids.values():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here
    before = {name: (*_cpu(pid), _status(pid, "VmRSS")) for name, pid in pids.items()}
    began, carried = time.time(), _on_the_wire()
    pushed = found.push()
    more = (_on_the_wire() - carried) / pushed["bytes"] - 1
    lines: dict[str, Any] = {"on the wire beyond the data": entry([100 * more], "%")}
    for name in ("provider", "host", "enclave"):
        own, children = _cpu(pids[name])
        lines[f"{name}: processor time"] = entry([own - before[name][0]], "s")
        if name == "provider":  # a sandbox is nobody's child whom one could ask
            lines["provider: its connector"] = entry([children - before[name][1]], "s")
        grown = _status(pids[name], "VmHWM") - before[name][2]
        lines[f"{name}: memory growth"] = entry([grown], "MiB")
    return lines | _phases(found, began)


def _phases(found: Parties, began: float) -> dict[str, Any]:
    """When the record was published (the head of the source was read by then), when the last frame
    had left (all but what the kernel holds was verified, stored and checked by then), and the end.
    """
    at: dict[str, float] = {}
    for one in AdminClient(found.folder / "provider" / "admin.sock").events():
        if one.get("at", 0) > began:
            at[one["event"]] = one["at"] - began
            if one["event"] == "share taken":
                break
    last = at["share progress"]
    return {
        "phase 1, start a connector, sign the record": entry([at["share sealed"]], "s"),
        "phase 2, read, seal, send, verify, store, check": entry([last - at["share sealed"]], "s"),
        "phase 3, sync the disk, end the check, receipt": entry([at["share taken"] - last], "s"),
    }


def _on_the_wire() -> int:
    """Bytes that the loopback carried, with all headers."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def _cpu(pid: int) -> tuple[float, float]:
    """Processor seconds of a process, and of its children that ended."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    user, system, child_user, child_system = (int(one) / TICK for one in values)
    return user + system, child_user + child_system


def _status(pid: int, key: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


if __name__ == "__main__":
    main()
