"""Which environments an advisory withdraws."""

from collections.abc import Iterable

from protocol.attestation.policy import REGISTERS, TECHNOLOGIES
from protocol.kinds.advisory import Advisory, Measured


def lint(advisory: Advisory) -> list[str]:
    """What is wrong with an advisory, in sentences; empty if nothing."""
    if advisory.technology not in TECHNOLOGIES:
        return [f"The technology {advisory.technology!r} is unknown."]
    subjects = (advisory.registers, advisory.platform, advisory.tcb_below)
    faults = []
    if sum(subject is not None for subject in subjects) != 1:
        faults.append("An advisory names registers, a platform or security versions: one of them.")
    if not any(subjects):
        faults.append("The advisory names nothing.")
    known = REGISTERS[advisory.technology]
    unknown = sorted((advisory.registers or {}).keys() - known.keys())
    faults += [f"{advisory.technology} has no register {name!r}." for name in unknown]
    if any(value <= 0 for value in (advisory.tcb_below or {}).values()):
        faults.append("No security version is below zero.")
    if advisory.family is not None and advisory.tcb_below is None:
        faults.append("A family narrows security versions only.")
    if not advisory.reason:
        faults.append("An advisory must say why.")
    return faults


def hits(advisory: Advisory, measured: Measured) -> bool:
    """Whether `advisory` withdraws what was measured."""
    if advisory.technology != measured.technology:
        return False
    if advisory.registers is not None:
        found = measured.registers
        return all(found.get(name) == value for name, value in advisory.registers.items())
    if advisory.platform is not None:
        return advisory.platform == measured.platform
    if advisory.family is not None and advisory.family != measured.family:
        return False
    # A component that the evidence does not state cannot be shown to be high enough.
    lowest = (advisory.tcb_below or {}).items()
    return any(measured.tcb.get(name, 0) < value for name, value in lowest)


def hit(advisories: Iterable[Advisory], measured: Measured) -> Advisory | None:
    """The first advisory that withdraws what was measured, or None."""
    return next((one for one in advisories if hits(one, measured)), None)
