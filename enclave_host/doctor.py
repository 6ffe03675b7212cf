"""What `village-enclave doctor` finds: whether this machine is fit for open data, and what to do.

Each finding says what is so; a fault ends in exit code 1 and has a fix, a warning is for the
operator to judge. Nothing here is needed by a run.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from enclave_host import environment
from enclave_host.attest import detect
from enclave_host.attest.detect import Source
from enclave_host.cage import Broken, Cage, Limits, TierReport, diagnose, readable
from enclave_host.cage.doctor import imports
from enclave_host.config import Config
from protocol import ceilings
from protocol.errors import Refused

Level = Literal["good", "absent", "warning", "fault"]

PACKAGES: Final = {"pyarrow": "reads and checks shares", "duckdb": "runs algorithms of kind sql"}
"""What the runtime's own code, and runners, need of an environment; only the first must be."""

COPIES: Final = 3  # of open shares, while the tables of a run are put together


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    level: Level
    says: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the kernel tells about memory."""

    memory: Path = Path("/proc/meminfo")
    swaps: Path = Path("/proc/swaps")
    cgroup: Path = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and each tier of the sandbox."""

    tiers: list[TierReport]
    findings: list[Finding] = field(default_factory=list)

    @property
    def fit(self) -> bool:
        """Whether nothing is wrong."""
        return not any(one.level == "fault" for one in self.findings)

    def plain(self) -> dict[str, Any]:
        """For --json."""
        found = [asdict(one) for one in self.findings]
        return {"fit": self.fit, "tiers": [asdict(one) for one in self.tiers], "findings": found}

    def lines(self) -> Iterator[str]:
        """For people."""
        for tier in self.tiers:
            yield _line(f"tier {tier.tier}", "good" if tier.holds else "absent", tier.reason)
            yield from _fix(tier.fix)
        for one in self.findings:
            yield _line(one.about, one.level, one.says)
            yield from _fix(one.fix)


def examine(settings: Config | None, machine: Machine = Machine()) -> Report:
    """Look at everything; of a configuration also at what it names."""
    report = Report(diagnose())
    tier = _sandbox(report, settings.tier if settings else None)
    report.findings.extend(_technologies(settings))
    for path in settings.environments if settings else ():
        report.findings.append(_environment(path, tier, settings.limits if settings else Limits()))
    report.findings.extend(_memory(settings, machine))
    report.findings.extend(_swap(machine.swaps))
    return report


def _sandbox(report: Report, wanted: str | None) -> Cage | None:
    """The tier that would be used: the one that the configuration names, or the strongest."""
    for one in report.tiers:
        if one.holds and wanted in (None, one.tier):
            report.findings.append(Finding("sandbox", "good", f"algorithms run in tier {one.tier}"))
            return Cage(one.tier)
    says = f"tier {wanted}, which is configured, does not hold" if wanted else "no tier holds"
    fix = "do what stands beside a tier above, or leave enclave.tier out"
    report.findings.append(Finding("sandbox", "fault", says, fix))
    return None


def _technologies(settings: Config | None) -> Iterator[Finding]:
    """What can attest here; a configuration needs the one that it names, or any (auto)."""
    source = settings.source if settings else Source(technology=detect.AUTO)
    found = detect.diagnose(source)
    for technology, fault in found.items():
        level: Level = "absent" if fault else "good"
        yield Finding(f"attestation {technology}", level, fault or "is there")
    wanted = {detect.AUTO: found}.get(source.technology, {source.technology})
    if settings is not None and all(found.get(one) for one in wanted):
        says = f"{source.technology}, which is configured, is not there"
        yield Finding("attestation", "fault", says, "name one that is there under [attestation]")


def _environment(path: Path, cage: Cage | None, limits: Limits) -> Finding:
    about = f"environment {path}"
    try:
        digest = environment.digest(path).hex()
    except Refused as refused:
        fix = "build it again: village algorithm env build"
        return Finding(about, "fault", refused.detail or str(refused), fix)
    closed = (
        (readable.closed_above(path) or readable.unreadable(path)) if not os.geteuid() else None
    )
    if closed:
        says = f"sha256:{digest}; the datacage's user may not read {closed}"
        return Finding(about, "fault", says, f"{readable.FIX} {path}; chmod o+x each folder above")
    if cage is None:
        return Finding(about, "warning", f"sha256:{digest}; without a tier it was not tried")
    return _tried(about, digest, cage, path, limits)


def _tried(about: str, digest: str, cage: Cage, path: Path, limits: Limits) -> Finding:
    """Import, in the sandbox, what runners import."""
    try:
        found = imports(cage.tier, path, [*PACKAGES], limits)
    except Broken as broken:
        return Finding(about, "fault", f"sha256:{digest}; {broken}", "see the tier above")
    there = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    says = f"sha256:{digest}; {there or 'nothing that runners need'}"
    if not found["pyarrow"]:
        fix = "add pyarrow to its lock file, and build it again: village algorithm env build"
        return Finding(about, "fault", f"{says}; no pyarrow, which {PACKAGES['pyarrow']}", fix)
    lacks = [f"no {name}, which {PACKAGES[name]}" for name, version in found.items() if not version]
    return Finding(about, "warning" if lacks else "good", "; ".join([says, *lacks]))


def _memory(settings: Config | None, machine: Machine) -> Iterator[Finding]:
    """Whether what is configured fits; what goes beyond kills the enclave, and ends its term."""
    there = min(_meminfo(machine.memory), _cgroup(machine.cgroup))
    if there == _UNKNOWN:
        return
    shown = ceilings.words("memory", there // 2**20 * 2**20)
    if settings is None:
        yield Finding("memory", "good", shown)
        return
    needed = COPIES * settings.data + settings.ceilings.memory
    says = f"{shown}; shares and a run may take {ceilings.words('memory', needed)}"
    if needed <= there:
        yield Finding("memory", "good", says)
    else:
        yield Finding("memory", "warning", says, "lower data and memory under [limits]")


_UNKNOWN: Final = 2**62


def _meminfo(file: Path) -> int:
    for line in _read(file):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return _UNKNOWN


def _cgroup(file: Path) -> int:
    return next((int(line) for line in _read(file) if line.isdigit()), _UNKNOWN)


def _swap(file: Path) -> Iterator[Finding]:
    """Memory files and the enclave's own memory may go to swap, and stay there."""
    devices = [line.split()[0] for line in _read(file)[1:]]
    disks = [one for one in devices if "zram" not in one]
    if disks:
        says = f"open rows may be written to {', '.join(disks)}"
        yield Finding("swap", "warning", says, "swapoff -a, and take swap out of /etc/fstab")
    else:
        yield Finding("swap", "good", "nothing in memory is written to a disk")


def _read(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except OSError:  # not every kernel tells, and in a container not everything
        return []


def _line(about: str, level: Level, says: str) -> str:
    return f"{level:<8} {about}: {says}"


def _fix(fix: str) -> Iterator[str]:
    if fix:
        yield f"{'':<8} fix: {fix}"
