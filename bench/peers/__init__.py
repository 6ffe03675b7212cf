"""Other systems, as far as they are installed in .cache/peers; see README.md beside this file."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = Path(os.environ.get("BENCH_PEERS", HERE.parents[1] / ".cache" / "peers"))
NATS = ROOT / "nats" / "bin"

Peer = Callable[[Path, int], float]
"""Moves a number of records in a folder; how many per second arrived, verified."""


def _run(command: list[str | Path], folder: Path, count: int) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*command, str(folder), str(count)],
        check=True,
        capture_output=True,
        timeout=300,
        text=True,
        env={**os.environ, "BENCH_PEERS": str(ROOT)},
    )
    rate: float = json.loads(done.stdout.splitlines()[-1])["rate"]
    return rate


def _nats(folder: Path, count: int) -> float:
    return _run([NATS / "python", HERE / "nats_mirror.py"], folder, count)


def _hypercore(folder: Path, count: int) -> float:
    return _run(["node", HERE / "hypercore.mjs"], folder, count)


def _gossipsub(folder: Path, count: int) -> float:
    return _run(["node", HERE / "gossipsub.mjs"], folder, min(count, 20_000))


_PEERS: dict[str, tuple[Peer, Path]] = {
    "nats": (_nats, NATS / "nats-server"),
    "hypercore": (_hypercore, ROOT / "node_modules" / "hypercore"),
    "gossipsub": (_gossipsub, ROOT / "node_modules" / "@libp2p" / "gossipsub"),
}


def installed() -> dict[str, Peer]:
    """Every peer that is there."""
    return {name: peer for name, (peer, needed) in _PEERS.items() if needed.exists()}


def skipped() -> dict[str, str]:
    """Every peer that is not, and what is missing."""
    return {
        name: f"no {needed.relative_to(ROOT)} in .cache/peers"
        for name, (_, needed) in _PEERS.items()
        if not needed.exists()
    }
