"""docs/two-machines.md, and then keys change while its agreement runs: a rotation, a restore."""

import re
from contextlib import contextmanager

import pytest

from node.demo.stage import ENVIRONMENTS
from tests.e2e.test_two_machines import ADDRESS as GUIDE_ADDRESS
from tests.e2e.test_two_machines import ARRIVED, GUIDE, LOOPBACK, STEP, carry, two_machines

pytestmark = pytest.mark.e2e

BACKUP = """\
(umask 077; echo a root in a safe place > root.pass)
village key export-root root.key --unlock file:root.pass --config hospital-a/node.toml
village node backup a.backup --unlock file:hospital-a/passphrase --config hospital-a/node.toml
"""

ROTATE = """\
village key rotate --config hospital-b/node.toml
village key show
"""

RUN = """\
village run start --wait --seconds 90
village result show
"""

LOSE = """\
kill -9 %3
wait %3 || true
rm -rf hospital-a/state
PORT=$(grep -oE 'tcp/[0-9]+' hospital-a/log | head -1)   # the other dials the one that it knows
sed -i "s|127.0.0.1/tcp/0|127.0.0.1/$PORT|" hospital-a/node.toml
village node restore a.backup --unlock file:hospital-a/passphrase --root root.key \\
    --root-unlock file:root.pass --config hospital-a/node.toml
village node run --config hospital-a/node.toml >> hospital-a/log 2>&1 &
until village status; do sleep 0.5; done
"""

SPEAKS = "village key show --json | grep -q '\"silent\": 0'"

AUDIT = """\
rm -f heights.village
village audit export --out heights.village
village verify heights.village
village refusal list
"""


needs_environment = pytest.mark.skipif(
    not ENVIRONMENTS.is_dir(), reason="needs make setup: the environment"
)


@contextmanager
def in_force(folder):
    """The two machines of the guide, after their first run."""
    with two_machines(folder) as shells:
        for machine, text in STEP.findall(GUIDE.read_text()):
            for begins, condition in ARRIVED.items():
                if text.startswith(begins):
                    shells[machine].await_(condition)
            shells[machine].type(text.replace(GUIDE_ADDRESS, LOOPBACK))
            if all(any(path.glob("village-?")) for path in (folder / "A", folder / "B")):
                carry(folder)
        a, b = shells["A"], shells["B"]
        assert b.said.count('"people": 12') == 1
        yield a, b
        for shell in (a, b):
            shell.type(AUDIT)
            assert "0 findings" in shell.said
            assert "record.equivocation" not in shell.said


@needs_environment
@pytest.mark.soak
def test_a_record_key_is_rotated_between_two_runs(tmp_path_factory):
    with in_force(tmp_path_factory.mktemp("k")) as (_, b):  # short: sockets have 107 bytes
        b.type(ROTATE)
        assert re.search(r"revision +1", b.said)
        b.type(RUN)
        assert b.said.count('"people": 12') == 2


@needs_environment
@pytest.mark.soak
def test_a_restored_node_goes_on_and_contradicts_nothing(tmp_path_factory):
    """Longer than the others: it speaks from the next term on, so the open one has to lapse."""
    with in_force(tmp_path_factory.mktemp("r")) as (a, b):
        a.type(BACKUP)
        b.type(RUN)  # what the node says from here on, its backup does not know
        a.type(LOSE)
        a.await_(SPEAKS)
        b.type(RUN)
        assert b.said.count('"people": 12') == 3
