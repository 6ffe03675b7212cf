"""What holds on this machine: each tier is tried with a real algorithm that tries to get out."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enclave_host.cage import launcher, tiers
from enclave_host.cage.job import Broken, Job, Limits, NoTier, Outcome
from enclave_host.cage.tiers import TIERS, Tier

PROBE: Final = Path(__file__).parent / "probe"
LIMITS: Final = Limits(wall=20.0, cpu=10, tmp=1 << 20)
CONTROL: Final = "computes 6 * 7"
EXECUTE: Final = "execve"


@dataclass(frozen=True, slots=True)
class TierReport:
    """Whether a tier holds here, why not, and what its probes met."""

    tier: Tier
    holds: bool
    reason: str  # one sentence
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
            reasons.append(f"tier {tier}: {report.reason}")
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
        return TierReport(tier, False, obstacle, ())
    try:
        observed = _observe(tier)
    except Broken as error:
        return TierReport(tier, False, str(error), ())
    wrong = _surprises(tier, observed)
    reason = f"does not hold: {'; '.join(wrong)}" if wrong else "holds"
    return TierReport(tier, not wrong, reason, tuple(observed.items()))


def _observe(tier: Tier) -> dict[str, str]:
    """Start the probe twice: one start reports, the other must be killed at its execve."""
    with launcher.stage() as empty:
        outcome = launcher.run(tier, _job(empty, "observe:observe"))
        if outcome.status != "ok":
            raise Broken(f"the probe ended as {outcome.status}: {_tail(outcome.log)}")
        met = json.loads(outcome.output)["observed"]
        killed = launcher.run(tier, _job(empty, "observe:execute"))
    codes = {name: errno.errorcode.get(code, str(code)) for name, code in met.items() if code}
    return {name: codes.get(name, "allowed") for name in met} | {EXECUTE: killed.status}


def _job(empty: Path, entry: str) -> Job:
    return Job(environment=empty, code=PROBE, inputs=empty, entry=entry, limits=LIMITS)


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
        "write inputs": ("EACCES",) if tier == "C" else ("EROFS",),
        "read /etc/passwd": hidden,
        "list /proc": hidden,
        "fork": ("EPERM",),
        "kill": ("EPERM",),
        EXECUTE: ("policy",),
    }


def _tail(log: bytes) -> str:
    return log[-200:].decode("utf-8", "replace").strip()
