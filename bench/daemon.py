"""A node's start and rest: process start to ready, and memory when idle (bars of numbers.md).

Run as `python -m bench.daemon [--quick] [--json FILE]`. Each round starts fresh processes.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import entry, options, report

CONFIG = """
[node]
name = "bench"
state = "state"
[keys]
unlock = "file:passphrase"
[network]
dial = "both"
listen = ["/ip4/127.0.0.1/tcp/0"]
[admin]
socket = "admin.sock"
"""

VILLAGE = [sys.executable, "-m", "node.cli"]
READY_BAR, MEMORY_BAR = 3.0, 110.0
IDLE = 5.0


def one_round(folder: Path) -> tuple[float, float]:
    """(seconds to ready, MiB resident after some idle seconds) of one fresh node."""
    secret = folder / "passphrase"
    secret.write_text("correct horse battery staple\n")
    secret.chmod(0o600)
    config = folder / "node.toml"
    config.write_text(CONFIG)
    subprocess.run([*VILLAGE, "node", "init", "--config", config], check=True, capture_output=True)
    started = time.monotonic()
    daemon = subprocess.Popen(
        [*VILLAGE, "node", "run", "--config", config],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if daemon.stdout is None or '"ready"' not in daemon.stdout.readline():
            raise RuntimeError("the daemon did not get ready")
        ready = time.monotonic() - started
        time.sleep(IDLE)
        return ready, resident(daemon.pid)
    finally:
        daemon.terminate()
        daemon.wait(10)


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the daemon ended")


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    rounds = []
    for _ in range(3 if chosen.quick else 10):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_round(Path(folder)))
    figures = {
        "village": {
            "start to ready": entry([r[0] for r in rounds], "s", READY_BAR),
            "idle memory": entry([r[1] for r in rounds], "MiB", MEMORY_BAR),
        }
    }
    report("One node of an organization", figures, chosen.json)


if __name__ == "__main__":
    main()
