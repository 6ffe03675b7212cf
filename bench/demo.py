"""The whole story: seconds from run order to opened result, fail-over, and all of `make demo`.

Run as `python -m bench.demo [--quick] [--json FILE]`. --quick is one round (over 60 s on 2 cores:
the demo is what it is).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.table import entry, options, report

BARS = {"run order to opened result": 3.0, "whole": 90.0}


def one_round() -> dict[str, float]:
    """The timings of one demo, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "node.cli", "demo", "--out", out]
        subprocess.run(command, check=True, capture_output=True)
        timings = json.loads((out / "timings.json").read_text())
    return {name: value for name, value in timings.items() if isinstance(value, int | float)}


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    rounds = [one_round() for _ in range(1 if chosen.quick else 3)]
    rows = {
        name: entry([r[name] for r in rounds], "s", BARS.get(name)) for name in sorted(rounds[0])
    }
    report("The demo", {"village": rows}, chosen.json)


if __name__ == "__main__":
    main()
