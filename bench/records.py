"""Signed records: from node to node, a start with a million of them, and among twenty nodes.

Run as `python -m bench.records [--quick] [--json FILE]`. Rounds are interleaved: in each, pynacl's
verify is measured on one core, then every system moves the same number of signed records of about
300 bytes, each verified and persisted at the other end. Ratios are to that round's verify. A peer
that is not installed is named and skipped: see bench/peers/README.md.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import peers
from bench.rig import verify_rate
from bench.table import entry, options, report

RATIO_BAR, BOTH_BAR, START_BAR, MEDIAN_BAR = 0.8, 1.2, 5.0, 0.1
MEMORY_BAR = 64.0


def child(*arguments: object, cores: int = 2) -> dict[str, Any]:
    """Run one part in a fresh process, on one core or on both; what it found."""
    command = [sys.executable, "-m", "bench.records_part", *map(str, arguments)]
    limit = (lambda: os.sched_setaffinity(0, {0})) if cores == 1 else None
    done = subprocess.run(command, check=False, capture_output=True, preexec_fn=limit, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def transfer(folder: Path, count: int, cores: int) -> dict[str, Any]:
    """One node pulls all records of another; the sender runs on the other core."""
    return child("transfer", folder, count, cores)


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    count = 20_000 if chosen.quick else 100_000
    rounds = 2 if chosen.quick else 5
    figures: dict[str, Any] = {"village": {}}
    found: dict[str, list[float]] = {}
    others = peers.installed()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            one_round(Path(name), count, others, found)
    for what, values in found.items():
        system, _, row = what.partition(": ")
        bar = {"one core": RATIO_BAR, "both cores": BOTH_BAR, "memory": MEMORY_BAR}.get(row)
        unit = "MiB" if row == "memory" else "x verify"
        figures.setdefault(system, {})[row] = entry(values, unit, bar)
    with tempfile.TemporaryDirectory() as name:
        stored = 100_000 if chosen.quick else 1_000_000
        child("fill", Path(name), stored)
        starts = [child("start", Path(name)) for _ in range(3)]
        seconds = [one["seconds"] for one in starts]
        figures["village"][f"start with {stored}"] = entry(seconds, "s", START_BAR)
    with tempfile.TemporaryDirectory() as name:
        spread = child("propagation", Path(name), 20, 5 if chosen.quick else 20)
        figures["village"]["20 nodes, median"] = entry([spread["median"]], "s", MEDIAN_BAR)
        figures["village"]["20 nodes, slowest"] = entry([spread["slowest"]], "s")
        figures["village"]["20 nodes, lost"] = entry([float(spread["lost"])], "records")
    report("Signed records", figures, chosen.json)
    for name, why in peers.skipped().items():
        print(f"  {name} was skipped: {why}")


def one_round(
    folder: Path, count: int, others: dict[str, peers.Peer], found: dict[str, list[float]]
) -> None:
    """One round of everything, each beside the verify of its own moment."""
    for cores, row in ((1, "one core"), (2, "both cores")):
        verify = verify_rate()
        part = transfer(folder / row.replace(" ", "-"), count, cores)
        verify = (verify + verify_rate()) / 2
        found.setdefault(f"village: {row}", []).append(part["rate"] / verify)
        if cores == 2:
            found.setdefault("village: memory", []).append(part["growth"])
    for name, run in others.items():
        verify = verify_rate()
        rate = run(folder / name, count)
        verify = (verify + verify_rate()) / 2
        found.setdefault(f"{name}: both cores", []).append(rate / verify)


if __name__ == "__main__":
    main()
