"""The measurement of the software: only names and content count, and every byte of them."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from enclave_host import environment, main, measure
from protocol.attestation.policy import REGISTERS, TECHNOLOGIES
from tests.enclave_rig import PROJECT

PACKAGES = ("enclave_host", "protocol")
COPIES = 8
"""Files whose bytes are altered."""


def copy(to: Path) -> list[Path]:
    """The attested packages as somebody else has them: no caches, other times and rights."""
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in to.rglob("*"):
        os.utime(file, (1, 1))
        file.chmod(0o755 if file.is_dir() else 0o400)
    return [to / name for name in PACKAGES]


@pytest.fixture
def copies(tmp_path: Path):
    first, second = (copy(tmp_path / name) for name in ("one", "another/place"))
    yield first, second
    for folder in tmp_path.rglob("*"):
        folder.chmod(0o755)


def test_the_same_in_every_place(copies):
    first, second = copies
    assert measure.software(first) == measure.software(second) == measure.software()
    cache = second[0] / "__pycache__"
    cache.mkdir()
    (cache / "main.cpython-311.pyc").write_bytes(b"compiled")
    assert measure.software(second) == measure.software()


def test_another_with_every_byte_name_and_file(copies):
    chance, (first, _) = random.Random(11), copies  # noqa: S311 a seeded choice
    before = {measure.software(first)}
    for file in chance.sample(sorted(p for p in first[0].rglob("*") if p.is_file()), COPIES):
        raw = file.read_bytes()
        file.chmod(0o600)
        place = chance.randrange(len(raw) or 1)
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1 if raw else 1]) + raw[place + 1 :])
        found = measure.software(first)
        assert found not in before, file
        before.add(found)
    for more in ("one_more.py", "sourceless.pyc", "py.typed.bak"):
        (first[1] / more).touch()
        assert measure.software(first) not in before
        before.add(measure.software(first))
    (first[1] / "one_more.py").rename(first[1] / "renamed.py")
    assert measure.software(first) not in before


def test_a_border_between_files_counts(tmp_path):
    for name, one, two in (("a", b"xy", b"z"), ("b", b"x", b"yz")):
        (tmp_path / name / "code").mkdir(parents=True)
        (tmp_path / name / "code/one.py").write_bytes(one)
        (tmp_path / name / "code/two.py").write_bytes(two)
    found = [measure.software([tmp_path / name / "code"]) for name in ("a", "b")]
    assert found[0] != found[1]


def test_the_command_says_digests_and_what_a_policy_needs(tmp_path, capsys):
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment/module.py").write_bytes(b"x = 1\n")
    file = tmp_path / "enclave.toml"
    file.write_text(
        '[enclave]\nsocket = "e.sock"\nenvironments = ["environment"]\n'
        '[attestation]\ntechnology = "simulated"\n'
    )
    digest = environment.digest(tmp_path / "environment").hex()
    assert main.main(["measure", "--config", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["software"] == measure.software().hex()
    assert list(said["environments"].values()) == [digest]
    assert set(said["registers"]) == set(TECHNOLOGIES)
    for technology, sets in said["registers"].items():
        assert all(set(one) <= REGISTERS[technology].keys() for one in sets)
    assert main.main(["measure", "--environment", str(tmp_path / "environment")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["software", said["software"]]
    assert lines[1].split()[:2] == ["environment", digest]
    assert ["register", "tdx", "mrtd", "+", "rtmr1", "+", "rtmr2"] in [one.split() for one in lines]


def test_it_needs_no_checkout(tmp_path):
    """An installed package measures itself: the version of the copy, not that of this process."""
    for folder in copy(tmp_path / "site"):
        for file in folder.rglob("*"):
            file.chmod(0o755)
    command = [sys.executable, "-B", "-m", "enclave_host.main", "measure", "--json"]
    said = subprocess.run(  # noqa: S603 our own program
        command, cwd=tmp_path / "site", capture_output=True, check=True, timeout=60
    )
    assert json.loads(said.stdout)["software"] == measure.software().hex()
