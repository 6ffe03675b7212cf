"""Bounds on a process that parses what others wrote; they must stand before a parser is loaded."""

import resource
from typing import Final

MEMORY: Final = 4 * 2**30
"""Bytes of address space; a batch needs some tens of megabytes."""


def bound(cpu: int) -> None:
    """Bound this process: memory, `cpu` seconds of processor time, no files, few descriptors."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
