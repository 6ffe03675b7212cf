"""What a run may use: agreed by all, within what the host allows, and how long it took stays in."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host import computation, environment
from enclave_host import enclave as enclave_module
from enclave_host.cage import Limits
from node.config import ConfigError
from node.documents import strict_yaml
from node.documents.agreement_limits import read_limits
from node.documents.fields import Problems
from protocol import ceilings, diff, shape
from protocol import enclave_wire as wire
from protocol.consistency import faults
from protocol.dialogue import Done
from protocol.errors import RULES, Refused
from protocol.kinds.agreement import Agreement, Logs, RunLimits
from tests.agreements import DOCUMENT, A
from tests.enclave_drive import Door, Host, enclaves
from tests.enclave_rig import PROJECT, Rig

NAMES = [field.name for field in fields(RunLimits)]


def read(text):
    value, lines = strict_yaml.load(text.encode(), "agreement.yaml")
    problems = Problems("agreement.yaml", lines)
    found = read_limits(problems.table(value))
    problems.check()
    return found


def test_a_file_says_sizes_durations_and_numbers():
    assert read("agreement: x\n".replace("agreement: x", "{}")) == RunLimits()
    found = read(
        "limits: { memory: 8 GiB, cpu: PT5M, wall: PT1H, processes: 8, files: 9, tmp: 1 MiB,"
        " output: 2 KiB, log: 3 KiB, quantum: PT30S }"
    )
    assert found == RunLimits(
        memory=8 << 30, cpu=300, wall=3600, processes=8, files=9, tmp=1 << 20, output=2048,
        log=3072, quantum=30,
    )  # fmt: skip


def test_the_page_for_hosts_shows_the_defaults():
    page = (PROJECT / "docs/deploy/README.md").read_text("utf-8")
    found = re.search(r"```yaml\n(limits:.*?)```", page, re.DOTALL)
    assert read(found[1]) == RunLimits()
    assert len(found[1].splitlines()) == 1 + len(NAMES)


@pytest.mark.parametrize("text", ["memory: 8", "cpu: 300", "files: 0", "files: 4097", "disk: 1"])
def test_what_is_no_limit_is_refused_with_its_line(text):
    with pytest.raises(ConfigError) as caught:
        read(f"limits:\n  {text}\n")
    assert caught.value.problems[0].line == 2


def test_an_agreement_without_limits_has_the_defaults():
    assert ceilings.agreed(DOCUMENT) == RunLimits()
    assert faults(DOCUMENT) == ()
    assert shape.decode(Agreement, shape.encode(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_is_bounded(name):
    most = getattr(ceilings.MOST, name)
    for value, sound in ((1, True), (most, True), (0, False), (most + 1, False)):
        limits = replace(RunLimits(), **{name: value})
        found = faults(replace(DOCUMENT, limits=limits))
        assert [f"limits: {name} must be" in one for one in found] == [True] * (not sound)


def test_a_run_ends_before_its_term_is_given_up():
    runs = replace(DOCUMENT.runs, within=600)
    (found,) = faults(replace(DOCUMENT, runs=runs, limits=RunLimits()))
    assert "within" in found
    assert faults(replace(DOCUMENT, runs=runs, limits=RunLimits(wall=599))) == ()


def test_no_more_of_the_log_is_sent_than_is_kept():
    logs = Logs(to=(A.did,), what="errors", bytes=2000)
    assert faults(replace(DOCUMENT, logs=logs, limits=RunLimits(log=2000))) == ()
    (found,) = faults(replace(DOCUMENT, logs=logs, limits=RunLimits(log=1999)))
    assert "log" in found


@given(st.sampled_from(NAMES), st.integers(1, 2**40), st.integers(1, 2**40))
def test_what_a_host_does_not_allow_is_named(name, wanted, allowed):
    document = replace(DOCUMENT, limits=replace(RunLimits(), **{name: wanted}))
    found = ceilings.beyond(document, replace(RunLimits(), **{name: allowed}))
    assert bool(found) is (wanted > allowed and name != "quantum")
    assert all(one.startswith(f"{name} {ceilings.words(name, wanted)}, ") for one in found)


def test_limits_read_as_people_write_them():
    words = ceilings.words
    assert [words("memory", 4 << 30), words("tmp", 1536), words("log", 65536)] == [
        "4 GiB", "1536 B", "64 KiB",
    ]  # fmt: skip
    assert (words("cpu", 60), words("files", 64), words("output", 0)) == ("60 s", "64", "0 B")
    old = replace(DOCUMENT, limits=RunLimits())
    new = replace(DOCUMENT, limits=RunLimits(memory=8 << 30, wall=60))
    assert [one.words for one in diff.diff(old, new)] == [
        "limits.memory: 4 GiB -> 8 GiB (concerns everyone)",
        "limits.wall: 600 s -> 60 s (concerns everyone)",
    ]


def test_the_sandbox_gets_what_was_agreed():
    limits = RunLimits(memory=1, cpu=2, wall=3, processes=4, files=5, tmp=6, output=7, log=8)
    assert computation._limits(replace(DOCUMENT, limits=limits)) == Limits(
        memory=1, cpu=2, wall=3.0, processes=4, files=5, tmp=6, output=7, log=8
    )
    assert {field.name for field in fields(Limits)} == {*NAMES} - {"quantum"}


# --- the enclave ---------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path):
    (tmp_path / "numbers.py").write_text("one = 1\n")
    with enclaves(tmp_path) as boot:
        boot.folder = Path(tmp_path)
        yield boot


def test_an_enclave_learns_no_agreement_beyond_its_ceilings(start):
    rig = Rig(environment.digest(start.folder), limits=RunLimits(memory=8 << 30, cpu=301))
    enclave = start()
    with pytest.raises(Refused) as caught:
        Host(rig, rig.host_1, Door(enclave)).join()
    assert caught.value.code == "host.limits"
    assert caught.value.code in RULES
    assert caught.value.detail == (
        "memory 8 GiB, the host allows 4 GiB; cpu 301 s, the host allows 300 s"
    )
    assert enclave.sessions == {}
    enclave.ceilings = RunLimits(memory=8 << 30, cpu=301)
    Door(enclave).ask(wire.Join(opening=rig.opening), Done)


@pytest.mark.parametrize(
    ("took", "waits"), [(0.0, 0.0), (0.25, 6.75), (6.0, 1.0), (7.0, 0.0), (7.5, 6.5)]
)
def test_how_long_a_run_took_is_seen_in_quanta_only(monkeypatch, took, waits):
    slept = []
    monkeypatch.setattr(enclave_module.time, "monotonic", lambda: 100.0 + took)
    monkeypatch.setattr(enclave_module.time, "sleep", slept.append)
    enclave_module._until_quantum(100.0, 7)
    assert slept == [waits]
