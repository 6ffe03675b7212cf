"""What holds on this machine: each tier is tried with a real algorithm that tries to get out."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from enclave_host.cage import launcher, memory, tiers
from enclave_host.cage.job import Broken, Job, Limits, NoTier, Outcome
from enclave_host.cage.tiers import TIERS, Tier

PROBE: Final = Path(__file__).parent / "probe" / "observe.py"
INPUTS: Final = {"row": b"a row"}
LIMITS: Final = Limits(wall=20.0, cpu=10, tmp=1 << 20)
CONTROL: Final = "computes 6 * 7"
EXECUTE: Final = "execve"


@dataclass(frozen=True, slots=True)
class TierReport:
    """Whether a tier holds here, why not, what would change that, and what its probes met."""

    tier: Tier
    holds: bool
    reason: str  # one sentence
    fix: str  # empty if it holds
    observed: tuple[tuple[str, str], ...]  # probe -> name of its errno, "allowed", or a status


class Cage:
    """The datacage in a tier that was seen to hold on this machine."""

    def __init__(self, tier: Tier) -> None:
        """Use `Cage.probe`, which looks before it trusts."""
        self.tier: Tier = tier

    @classmethod
    def probe(cls, only: str | None = None) -> Cage:
        """Return the strongest tier that holds, or tier `only`. Raises NoTier with all reasons."""
        reasons = []
        for tier in TIERS:
            if only not in (None, tier):
                continue
            report = examine(tier)
            if report.holds:
                return cls(tier)
            reasons.append(f"tier {tier}: {report.reason} ({report.fix})")
        raise NoTier("; ".join(reasons) or f"there is no tier {only!r}")

    def run(self, job: Job) -> Outcome:
        """Run one job; blocking, to be called in a thread. See launcher.run."""
        return launcher.run(self.tier, job)


def diagnose() -> list[TierReport]:
    """Examine every tier."""
    return [examine(tier) for tier in TIERS]


def examine(tier: Tier) -> TierReport:
    """Run the probe algorithm in this tier and compare what it met with what must be met."""
    obstacle = tiers.obstacle(tier)
    if obstacle:
        return TierReport(tier, False, obstacle.reason, obstacle.fix, ())
    try:
        observed = _observe(tier)
    except Broken as error:
        return TierReport(tier, False, str(error), tiers.FIXES[tier], ())
    wrong = _surprises(tier, observed)
    reason = f"does not hold: {'; '.join(wrong)}" if wrong else "holds"
    fix = tiers.FIXES[tier] if wrong else ""
    return TierReport(tier, not wrong, reason, fix, tuple(observed.items()))


def imports(tier: Tier, environment: Path, names: list[str], limits: Limits) -> dict[str, str]:
    """Import packages of an environment in the sandbox: name -> version, "" where it fails.

    Raises Broken.
    """
    said = _probe(tier, "imports", environment, json.dumps({"names": names}), limits)
    return {name: str(said.get(name, "")) for name in names}


def _observe(tier: Tier) -> dict[str, str]:
    """Start the probe twice: one start reports, the other must be killed at its execve."""
    met = _probe(tier, "observe")
    with memory.files(INPUTS) as inputs:
        killed = launcher.run(tier, _job("execute", inputs))
    codes = {name: errno.errorcode.get(code, str(code)) for name, code in met.items() if code}
    return {name: codes.get(name, "allowed") for name in met} | {EXECUTE: killed.status}


def _probe(
    tier: Tier,
    entry: str,
    environment: Path | None = None,
    parameters: str = "{}",
    limits: Limits = LIMITS,
) -> dict[str, Any]:
    """What an entry of the probe returns, its one output. Raises Broken."""
    with memory.files(INPUTS) as inputs:
        job = replace(_job(entry, inputs), environment=environment, parameters=parameters.encode())
        outcome = launcher.run(tier, replace(job, limits=limits))
    if outcome.status != "ok":
        raise Broken(f"the probe ended as {outcome.status}: {_tail(outcome.log)}")
    head = int.from_bytes(outcome.output[:8], "big")
    said: dict[str, Any] = json.loads(outcome.output[8 + head :])
    return said


def _job(entry: str, inputs: dict[str, int]) -> Job:
    code = {PROBE.name: PROBE.read_bytes()}
    return Job(code=code, inputs=inputs, entry=f"{PROBE.stem}:{entry}", limits=LIMITS)


def _surprises(tier: Tier, observed: dict[str, str]) -> list[str]:
    """Name each probe that did not meet what it must."""
    expected = _expected(tier)
    return [
        f"{probe} met {observed.get(probe, 'nothing')}, must be {' or '.join(allowed)}"
        for probe, allowed in expected.items()
        if observed.get(probe) not in allowed
    ]


def _expected(tier: Tier) -> dict[str, tuple[str, ...]]:
    """Say what each probe must meet: namespaces hide files (ENOENT), Landlock denies (EACCES)."""
    hidden = ("EACCES",) if tier == "C" else ("ENOENT", "EACCES")
    return {
        CONTROL: ("allowed",),
        "socket": ("EAFNOSUPPORT",),
        "socket vsock": ("EAFNOSUPPORT",),
        "socketpair": ("EAFNOSUPPORT",),
        "write /": ("EACCES",) if tier == "C" else ("EROFS",),
        "write /tmp": ("EACCES",) if tier == "C" else ("allowed",),
        "fill /tmp with files": ("EACCES",) if tier == "C" else ("ENOSPC",),
        "read an input": ("allowed",),
        "write an input": ("EBADF",),
        "map an input to write": ("EACCES",),
        "open an input again": hidden,
        "read /etc/passwd": hidden,
        "list /proc": hidden,
        "fork": ("EPERM",),
        "kill": ("EPERM",),
        EXECUTE: ("policy",),
    }


def _tail(log: bytes) -> str:
    return log[-200:].decode("utf-8", "replace").strip()
