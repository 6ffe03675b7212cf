"""village-enclave doctor: what it looks at, what is a fault and what a warning, and each fix."""

import os
from dataclasses import replace

import pytest

from enclave_host import config, doctor, main
from enclave_host.cage import Broken, TierReport, tiers
from enclave_host.doctor import Machine

SWAP = "Filename Type Size Used Priority\n"
GIB = 2**20  # in kB


@pytest.fixture(autouse=True)
def held(monkeypatch):
    """Which tiers hold, what an environment can import: without starting anything."""
    found = {
        "tiers": {"A": False, "B": True, "C": True},
        "imports": {"pyarrow": "26", "duckdb": "2"},
    }

    def imports(tier, path, names, limits):
        if isinstance(found["imports"], Broken):
            raise found["imports"]
        return found["imports"]

    monkeypatch.setattr(doctor, "imports", imports)
    monkeypatch.setattr(
        doctor,
        "diagnose",
        lambda: [
            TierReport(tier, holds, "holds" if holds else "no", "" if holds else "a fix", ())
            for tier, holds in found["tiers"].items()
        ],
    )
    return found


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 * GIB} kB\nMemFree: 1 kB\n")
    (tmp_path / "swaps").write_text(SWAP)
    return Machine(tmp_path / "meminfo", tmp_path / "swaps", tmp_path / "memory.max")


@pytest.fixture
def settings(tmp_path):
    place = tmp_path / "environment"
    place.mkdir(mode=0o755)
    (place / "numbers.py").write_text("one = 1\n")
    for step in (place, *place.parents):
        if os.access(step, os.W_OK) and step.name.startswith("pytest"):
            step.chmod(0o755)
    file = tmp_path / "enclave.toml"
    file.write_text(
        '[enclave]\nsocket = "e.sock"\nenvironments = ["environment"]\n'
        '[attestation]\ntechnology = "simulated"\n'
    )
    return config.load(file)


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """The folders of tests are closed to others; what is above an environment is not looked at."""
    monkeypatch.setattr(doctor.readable, "closed_above", lambda path: None)


def about(report, what):
    return next(one for one in report.findings if one.about.startswith(what))


def test_a_machine_that_is_fit(settings, machine):
    report = doctor.examine(settings, machine)
    assert report.fit
    assert about(report, "sandbox").says == "algorithms run in tier B"
    assert "pyarrow 26, duckdb 2" in about(report, "environment").says
    assert about(report, "memory").says == "16 GiB; shares and a run may take 10 GiB"
    lines = list(report.lines())
    assert lines[:2] == ["absent   tier A: no", "         fix: a fix"]
    assert report.plain()["fit"]


def test_without_a_tier_nothing_runs(held, settings, machine):
    held["tiers"] = dict.fromkeys("ABC", False)
    report = doctor.examine(settings, machine)
    assert not report.fit
    assert about(report, "sandbox").level == "fault"
    assert about(report, "environment").level == "warning"


def test_the_tier_that_is_configured_must_hold(held, settings, machine):
    report = doctor.examine(replace(settings, tier="A"), machine)
    assert (report.fit, about(report, "sandbox").level) == (False, "fault")
    report = doctor.examine(replace(settings, tier="C"), machine)
    assert about(report, "sandbox").says == "algorithms run in tier C"


@pytest.mark.parametrize(
    ("technology", "there", "fit"),
    [
        ("tpm", "tpm", True),
        ("nitro", "tpm", False),
        ("auto", "tpm", True),
        ("auto", "", False),
        ("simulated", "", True),
    ],
)
def test_what_attests_must_be_there(monkeypatch, settings, machine, technology, there, fit):
    found = {name: "" if name == there else "not there" for name in ("nitro", "tpm")}
    monkeypatch.setattr(doctor.detect, "diagnose", lambda source: found)
    source = replace(settings.source, technology=technology)
    report = doctor.examine(replace(settings, source=source), machine)
    assert report.fit is fit
    assert about(report, "attestation nitro").level == "absent"
    assert doctor.examine(None, machine).fit  # without a configuration nothing is wanted


def test_an_environment_is_whole_readable_and_works(held, settings, machine):
    (path,) = settings.environments
    held["imports"] = {"pyarrow": "26", "duckdb": ""}
    found = about(doctor.examine(settings, machine), "environment")
    assert found.level == "warning"
    assert "no duckdb, which runs algorithms of kind sql" in found.says
    held["imports"] = {"pyarrow": "", "duckdb": ""}
    found = about(doctor.examine(settings, machine), "environment")
    assert (found.level, "env build" in found.fix) == ("fault", True)
    held["imports"] = Broken("the probe ended as limit")
    assert about(doctor.examine(settings, machine), "environment").level == "fault"
    (path / "out").symlink_to("/etc/passwd")
    found = about(doctor.examine(settings, machine), "environment")
    assert (found.level, "leaves the environment" in found.says) == ("fault", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs algorithms as another user")
@pytest.mark.parametrize("closed", ["numbers.py", "."])
def test_an_environment_that_the_sandbox_cannot_read_is_named_with_a_fix(settings, machine, closed):
    (path,) = settings.environments
    (path / closed).chmod(0o600 if closed != "." else 0o700)
    found = about(doctor.examine(settings, machine), "environment")
    assert found.level == "fault"
    assert str((path / closed).resolve()) in found.says
    assert found.fix.startswith("chmod -R o+rX")
    (path / closed).chmod(0o640 if closed != "." else 0o750)
    os.chown(path / closed, 0, tiers.GROUP)
    assert about(doctor.examine(settings, machine), "environment").level == "good"


def test_memory_that_is_not_there_and_swap_are_warnings(settings, machine):
    machine.cgroup.write_text(f"{8 * 2**30}\n")
    found = about(doctor.examine(settings, machine), "memory")
    assert (found.level, found.says) == ("warning", "8 GiB; shares and a run may take 10 GiB")
    machine.cgroup.write_text("max\n")
    machine.swaps.write_text(f"{SWAP}/dev/vda2 partition 1 0 -2\n/dev/zram0 partition 1 0 1\n")
    report = doctor.examine(settings, machine)
    assert report.fit
    assert about(report, "swap").says == "open rows may be written to /dev/vda2"
    assert "swapoff" in about(report, "swap").fix
    machine.swaps.write_text(f"{SWAP}/dev/zram0 partition 1 0 1\n")
    assert about(doctor.examine(settings, machine), "swap").level == "good"


def test_a_kernel_that_does_not_tell_is_no_fault(settings, tmp_path):
    nowhere = Machine(*(tmp_path / "nowhere" for _ in range(3)))
    report = doctor.examine(settings, nowhere)
    assert report.fit
    assert not [one for one in report.findings if one.about == "memory"]


def test_exit_codes(held, settings, tmp_path, capsys):
    file = str(tmp_path / "enclave.toml")
    assert main.main(["doctor", "--config", file]) == 0
    held["tiers"] = dict.fromkeys("ABC", False)
    assert main.main(["doctor", "--config", file]) == 1
    assert "fix: " in capsys.readouterr().out
    assert main.main(["doctor", "--config", str(tmp_path / "missing.toml")]) == 2
