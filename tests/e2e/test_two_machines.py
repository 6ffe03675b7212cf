"""docs/two-machines.md is typed as it stands, in two shells; only address and ports are others."""

import re
import shutil
from contextlib import contextmanager

import pytest

from node.demo.stage import ENVIRONMENTS
from tests.e2e.guides import ROOT, Shell

pytestmark = pytest.mark.e2e

GUIDE = ROOT / "docs" / "two-machines.md"
STEP = re.compile(r"^Machine ([AB]):\n\n```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
CARRIED = ("*.card", "*.invitation")
LOOPBACK = r"sed -i 's|192.0.2.10/tcp/415.|127.0.0.1/tcp/0|' */node.toml"
ADDRESS = "sed -i s/192.0.2.10/192.0.2.10/ */node.toml   # on the right: the address of machine A"

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


@contextmanager
def two_machines(folder):
    with Shell(folder / "A") as here, Shell(folder / "B") as there:
        yield {"A": here, "B": there}


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
