"""The whole story: seconds from run order to opened result, fail-over, and all of `make demo`.

Run as `python -m bench.demo [--quick] [--json FILE]`. --quick is one round up to run 1: it knows
nothing of fail-over and of the whole.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import entry, options, report

STOPPED = 6
"""Exit code of a demo that stops after the scene asked for."""

BARS = {"run order to opened result": 3.0, "whole": 90.0}


def one_round(quick: bool) -> dict[str, float]:
    """The timings of one demo, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "node.cli", "demo", "--out", out]
        command += ["--scenes", "run-1"] if quick else []
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode != (STOPPED if quick else 0):
            raise RuntimeError(done.stderr.decode()[-2000:])
        timings = json.loads((out / "timings.json").read_text())
    return {name: value for name, value in timings.items() if isinstance(value, int | float)}


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    rounds = [one_round(chosen.quick) for _ in range(1 if chosen.quick else 3)]
    rows = {
        name: entry([r[name] for r in rounds], "s", BARS.get(name)) for name in sorted(rounds[0])
    }
    report("The demo", {"village": rows}, chosen.json)


if __name__ == "__main__":
    main()
