"""`village share push` between real daemons survives kill -9 of sender and host, at any point.

In a network namespace of its own, so that the bytes of its loopback are those of the share.
"""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.parties import Parties, eventually, parties
from node.admin.client import AdminError
from node.demo.stage import ENVIRONMENTS
from protocol import limits

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
KILLS = 3
SLEEP = float(os.environ.get("SLEEP", "3"))
"""Seconds of a closed lid; over 60, and the other side gives the lane up meanwhile."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace"),
]


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, alone on a loopback of its own."""
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        if LIBC.unshare(CLONE_NEWNET):
            pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 (iproute2)
            yield
        finally:
            assert LIBC.setns(before.fileno(), CLONE_NEWNET) == 0


@pytest.fixture
def pair() -> Iterator[Parties]:
    folder = Path(tempfile.mkdtemp(prefix="v-"))
    try:
        with own_network(), parties(folder / "p", 'bulk = "127.0.0.1:0"') as found:
            yield found
    finally:
        shutil.rmtree(folder)


def on_the_wire() -> int:
    """Bytes that the loopback of this thread carried, with all headers."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.strip().startswith("lo:"))


def stored(pair: Parties) -> int:
    """Bytes of the largest share on the host's disk."""
    folder = pair.folder / "host" / "state" / "shares"
    with contextlib.suppress(FileNotFoundError):
        return max((file.stat().st_size for file in folder.iterdir()), default=0)
    return 0


def start_push(pair: Parties) -> None:
    """Begin a push; what becomes of the call when its daemon dies is of no interest."""

    def push() -> None:
        with contextlib.suppress(AdminError, OSError):
            pair.push()

    threading.Thread(target=push, daemon=True).start()


def kill_at(pair: Parties, name: str, size: int) -> None:
    """Kill a node once the host has `size` bytes, and start it again."""
    wait_for(pair, size)
    pair.troupe.kill(pair.label(name))
    pair.start(name)


def wait_for(pair: Parties, size: int) -> None:
    """Until the host has `size` bytes."""
    deadline = time.monotonic() + 600
    while stored(pair) < size:
        assert time.monotonic() < deadline, (stored(pair), size)
        time.sleep(0.001)


def survive(pair: Parties, size: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (a test's weather)
    pair.write(size, f"seed {seed}")
    points = sorted(chance.randrange(1, size * 9 // 10) for _ in range(KILLS))
    victims = ["provider", "host", chance.choice(["provider", "host"])]
    chance.shuffle(victims)
    before = on_the_wire()
    start_push(pair)
    for point, victim in zip(points, victims, strict=True):
        kill_at(pair, victim, point)
    shares = eventually(lambda: receipted(pair), 600)
    spent = on_the_wire() - before
    (share,) = shares
    receipt = pair.call("provider", "share.show", share=share["share"])["receipt"]
    assert receipt["verdict"] == "kept"
    assert receipt["digest"] == pair.stored_chain(share["share"])
    assert spent <= receipt["bytes"] * 1.01 + KILLS * limits.CHUNK, (points, victims)
    assert pair.push()["already"], "the source's digest is that of the share"


def receipted(pair: Parties) -> list[dict[str, object]]:
    """The shares with a receipt, as the provider knows them."""
    shares: list[dict[str, object]] = pair.call("provider", "share.list")
    return [one for one in shares if one["verdict"] is not None]


def test_a_push_survives_three_kills(pair: Parties) -> None:
    survive(pair, 128 << 20, seed=int(os.environ.get("SEED", "7")))


def test_a_push_survives_a_lid_that_closes(pair: Parties) -> None:
    """First the provider's machine sleeps a while, then the host's."""
    pair.write(64 << 20, "lid")
    start_push(pair)
    for name, size in (("provider", 16 << 20), ("host", 40 << 20)):
        wait_for(pair, size)
        process = pair.troupe.running[pair.label(name)].program
        process.send_signal(signal.SIGSTOP)
        time.sleep(SLEEP)
        process.send_signal(signal.SIGCONT)
    (share,) = eventually(lambda: receipted(pair), 600)
    receipt = pair.call("provider", "share.show", share=share["share"])["receipt"]
    assert (receipt["verdict"], receipt["digest"]) == ("kept", pair.stored_chain(share["share"]))


@pytest.mark.soak
def test_a_push_of_ten_gigabytes_survives_three_kills(pair: Parties) -> None:
    survive(pair, 10 << 30, seed=11)
