"""Command lines, verdicts and bounds of the datacage, without starting anything."""

import ast
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_host.cage import Cage, Job, Limits, NoTier, doctor, launcher, tiers
from enclave_host.cage.launcher import Sink, verdict
from enclave_host.cage.tiers import Obstacle

JOB = Job(
    environment=Path("/e"),
    code={"secret.py": b"secret = 1"},
    entry="a:b",
    parameters=b'{"secret": 1}',
    limits=Limits(tmp=12345),
)


def bound(words: list[str]) -> dict[str, tuple[str, str]]:
    """Where in the sandbox -> (flag, what) of each mount."""
    flags = {"--ro-bind", "--ro-bind-try", "--dev-bind", "--bind", "--tmpfs", "--proc", "--dev"}
    found = {}
    for position, word in enumerate(words):
        if word in {"--tmpfs", "--proc", "--dev"}:
            found[words[position + 1]] = (word, "")
        elif word in flags:
            found[words[position + 2]] = (word, words[position + 1])
    return found


@pytest.mark.parametrize("tier", ["A", "B"])
def test_walls_leave_nothing_shared(tier):
    words = tiers.command(tier, JOB)
    for namespace in ("pid", "net", "ipc", "uts", "cgroup-try"):
        assert f"--unshare-{namespace}" in words
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert "--die-with-parent" in words
    assert ("--unshare-user" in words) is (tier == "A")


@pytest.mark.parametrize("tier", ["A", "B"])
def test_only_tmp_is_writable_and_sized(tier):
    words = tiers.command(tier, JOB)
    mounts = bound(words)
    assert mounts["/environment"] == ("--ro-bind", "/e")
    assert mounts.keys() <= {"/environment", "/tmp", *tiers.DEVICES, *tiers.LIBRARIES, tiers.PYTHON}  # noqa: S108
    writable = {where for where, (flag, _) in mounts.items() if not flag.startswith("--ro-bind")}
    assert writable == {"/tmp", *tiers.DEVICES}  # noqa: S108
    assert words[words.index("--tmpfs") - 2 : words.index("--tmpfs")] == ["--size", "12345"]
    assert words.index("--remount-ro") > max(
        words.index(word) for word in ("--tmpfs", "/environment")
    )


def test_tier_c_hides_nothing_so_landlock_names_what_may_be_read():
    seen = tiers.view("C", JOB)
    assert "/e" in seen.readable
    assert seen.writable == ["/dev/null"]
    assert not {"/", "/etc", "/proc", "/usr"} & set(seen.readable)
    assert tiers.command("C", JOB)[0] == tiers.PYTHON


@pytest.mark.parametrize("tier", tiers.TIERS)
def test_python_is_isolated_and_parameters_stay_out_of_the_command_line(tier):
    words = tiers.command(tier, JOB)
    assert {"-I", "-S", "-B"} <= set(words)
    assert not any("secret" in word and word != tiers.SHIM for word in words)


def test_shim_needs_the_standard_library_only():
    tree = ast.parse(tiers.SHIM)
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert names <= sys.stdlib_module_names
    assert len(tiers.SHIM) < 64 << 10  # one argument may have 128 KiB


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (0, "ok"),
        (1, "failed"),
        (3, "limit"),
        (42, "failed"),
        (-signal.SIGSYS, "policy"),
        (128 + signal.SIGSYS, "policy"),
        (-signal.SIGKILL, "limit"),
        (128 + signal.SIGKILL, "limit"),
        (128 + signal.SIGXCPU, "limit"),
        (-signal.SIGXFSZ, "limit"),
        (-signal.SIGSEGV, "failed"),
        (128 + signal.SIGABRT, "failed"),
    ],
)
def test_verdict(code, status):
    assert verdict(code) == status


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 100))
def test_log_keeps_the_last_bytes(chunks, limit):
    sink = Sink(limit, keep_last=True)
    assert all(sink.take(chunk) for chunk in chunks)
    assert sink.kept == b"".join(chunks)[-limit:]


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 100))
def test_output_beyond_its_limit_is_noticed(chunks, limit):
    sink = Sink(limit, keep_last=False)
    fits = all(sink.take(chunk) for chunk in chunks)
    assert fits is (len(b"".join(chunks)) <= limit)


def test_soft_limit_on_processor_time_is_below_the_hard_one():
    limits = launcher._resource_limits(Job(entry="a:b", limits=Limits(cpu=7, processes=5)), 100)
    assert limits["CPU"] == [7, 8]
    assert limits["NPROC"] == [105, 105]
    assert limits["CORE"] == [0, 0]


@pytest.mark.parametrize("missing", ["socket", "fork", "execve", doctor.CONTROL])
@pytest.mark.parametrize("tier", tiers.TIERS)
def test_doctor_notices_every_surprise(tier, missing):
    met = {probe: allowed[0] for probe, allowed in doctor._expected(tier).items()}
    assert doctor._surprises(tier, met) == []
    surprises = doctor._surprises(tier, met | {missing: "something else"})
    assert len(surprises) == 1
    assert missing in surprises[0]
    del met[missing]
    assert "nothing" in doctor._surprises(tier, met)[0]


def test_no_tier_names_all_reasons(monkeypatch):
    monkeypatch.setattr(tiers, "obstacle", lambda tier: Obstacle(f"{tier} lacks a wall", "build"))
    with pytest.raises(NoTier) as caught:
        Cage.probe()
    assert str(caught.value) == "; ".join(
        f"tier {tier}: {tier} lacks a wall (build)" for tier in "ABC"
    )
    assert caught.value.code == "cage.no-tier"
    with pytest.raises(NoTier, match="tier B"):
        Cage.probe(only="B")
    with pytest.raises(NoTier, match="no tier 'Z'"):
        Cage.probe(only="Z")
