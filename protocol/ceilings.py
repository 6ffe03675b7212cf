"""What one run may use: agreed by the parties, within the ceilings of the host that runs it.

All hosts of an agreement hold a run to the same limits, so that it ends alike wherever it is
computed; a host that allows less says so and is no candidate, instead of failing runs.
"""

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from protocol import limits
from protocol.kinds.agreement import Agreement, RunLimits

DAY: Final = 86_400

MOST: Final = RunLimits(
    memory=2**44,
    cpu=DAY,
    wall=DAY,
    processes=4096,
    files=4096,
    tmp=2**40,
    output=limits.OUTPUT,
    log=limits.LOG,
    quantum=3600,
)
"""The most that can be agreed."""

BYTES: Final = frozenset({"memory", "tmp", "output", "log"})
"""Limits in bytes; `cpu`, `wall` and `quantum` are in seconds, the others are numbers."""

SECONDS: Final = frozenset({"cpu", "wall", "quantum"})

_SIZES: Final = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def agreed(document: Agreement) -> RunLimits:
    """The limits of a run; where the agreement says nothing, the defaults."""
    return document.limits or RunLimits()


def faults(document: Agreement) -> Iterator[str]:
    """What is wrong with the limits, in words."""
    found = agreed(document)
    for name, value in values(found):
        most = getattr(MOST, name)
        if not 0 < value <= most:
            yield f"limits: {name} must be from 1 to {most}"
    within = document.runs.within
    if document.limits and within and found.wall + found.quantum > within:
        yield "limits: a run may last longer than runs.within, after which its term is given up"
    if document.logs and document.logs.bytes > found.log:
        yield "limits: log is less than the bytes of it that are to be sent"


def beyond(document: Agreement, ceilings: RunLimits) -> tuple[str, ...]:
    """Each limit that a host with these ceilings does not allow, in words; empty if it allows all.

    The quantum costs a host nothing, so it has no ceiling.
    """
    return tuple(
        f"{name} {words(name, value)}, the host allows {words(name, getattr(ceilings, name))}"
        for name, value in values(agreed(document))
        if name != "quantum" and value > getattr(ceilings, name)
    )


def values(found: RunLimits) -> Iterator[tuple[str, int]]:
    """Name and value of each limit."""
    return ((field.name, getattr(found, field.name)) for field in fields(RunLimits))


def words(name: str, value: int) -> str:
    """One limit for people, as in 4 GiB, 300 s, 64."""
    if name in SECONDS:
        return f"{value} s"
    if name not in BYTES:
        return str(value)
    for unit, size in _SIZES:
        if value and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} B"
