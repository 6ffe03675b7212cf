"""docs/two-machines.md is typed as it stands, in two shells; only address and ports are others."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.demo.stage import ENVIRONMENTS

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "two-machines.md"
STEP = re.compile(r"^Machine ([AB]):\n\n```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
CARRIED = ("*.card", "*.invitation")
LOOPBACK = r"sed -i 's|192.0.2.10/tcp/415.|127.0.0.1/tcp/0|' */node.toml"
ADDRESS = "sed -i s/192.0.2.10/192.0.2.10/ */node.toml   # on the right: the address of machine A"
PATIENCE = 30

ARRIVED = {
    "village invite new": "village space show | grep -qE 'founded +yes'",
    "village inbox\nJOIN": "village inbox | grep -q admitted",
    "village algorithm show": "village algorithm list | grep -q mean-height",
    "village agreement check": "village algorithm list | grep -q hospital-b",
    "village inbox\nvillage agreement": "village inbox | grep -q mean-height",
    "village host show": "village host show | grep -q 'host-1  term 1'",
    "village share push heights\nvillage run": "village host show | grep -q 'host-1  term 1'",
}
"""How a block begins -> what a reader sees on that machine before typing it."""


class Shell:
    """The terminal of one machine."""

    def __init__(self, home):
        self.home = home
        home.mkdir()
        environment = {**os.environ, "HOME": str(home), "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            ["/bin/bash", "--norc"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said = ""

    def type(self, text):
        """Run lines as if typed; fails at the first that fails."""
        script = self.home / "block"
        script.write_text(f"set -e\n{text}\nset +e\n")
        self.process.stdin.write(f". {script} < /dev/null; echo; echo END $?\n")
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line.startswith("END "):
                assert line == "END 0\n", "".join(said)
                break
            said.append(line)
        else:
            pytest.fail("".join([text, *said]))
        self.said += "".join(said)

    def await_(self, condition):
        """Look until `condition` holds."""
        deadline = time.monotonic() + PATIENCE
        self.type(f"for _ in $(seq {PATIENCE}); do {condition} && break || sleep 0.5; done")
        assert time.monotonic() < deadline, condition

    def end(self):
        """End the shell and everything it started."""
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@contextmanager
def two_machines(folder):
    shells = {name: Shell(folder / name) for name in "AB"}
    try:
        yield shells
    finally:
        for shell in shells.values():
            shell.end()


def carry(folder):
    """What people bring to the other machine."""
    places = [folder / "A" / "village-a", folder / "B" / "village-b"]
    for here, there in (places, places[::-1]):
        for pattern in CARRIED:
            for file in here.glob(pattern):
                shutil.copy(file, there / file.name)


@pytest.mark.skipif(not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment")
def test_the_guide_works_as_it_stands(tmp_path_factory):
    folder = tmp_path_factory.mktemp("2")  # short: sockets have at most 107 bytes
    steps = STEP.findall(GUIDE.read_text())
    assert len(steps) > 10
    with two_machines(folder) as shells:
        for machine, text in steps:
            shell = shells[machine]
            for begins, condition in ARRIVED.items():
                if text.startswith(begins):
                    shell.await_(condition)
            shell.type(text.replace(ADDRESS, LOOPBACK))
            if all(any(path.glob("village-?")) for path in (folder / "A", folder / "B")):
                carry(folder)
        assert '"height": 178.5' in shells["B"].said
        assert '"people": 12' in shells["B"].said
        assert "0 findings" in shells["B"].said
