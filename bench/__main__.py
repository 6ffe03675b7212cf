"""Run every benchmark with its --quick rounds: `python -m bench`."""

import subprocess
import sys

SCRIPTS = (
    "bench.attestation", "bench.datacage", "bench.daemon", "bench.records", "bench.streams",
    "bench.stream_ways", "bench.small_shares", "bench.demo",
)  # fmt: skip


def main() -> int:
    """Run them one after the other; the first failure ends it."""
    for script in SCRIPTS:
        done = subprocess.run([sys.executable, "-m", script, "--quick", *sys.argv[1:]], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
