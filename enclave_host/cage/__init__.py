"""The datacage: a sandbox in which an approved algorithm sees the data and reaches nothing else.

Read in this order: job.py (what goes in and out), memory.py (open data
without a path), tiers.py (the outer walls), shim.py and
seccomp.py (the inner walls), launcher.py (one run), doctor.py (what holds on this machine).
"""

from enclave_host.cage.doctor import Cage, TierReport, diagnose
from enclave_host.cage.job import (
    DEFAULTS,
    BadJob,
    Broken,
    Job,
    Limits,
    NoTier,
    Outcome,
    Status,
)
from enclave_host.cage.tiers import Tier

__all__ = [
    "DEFAULTS",
    "BadJob",
    "Broken",
    "Cage",
    "Job",
    "Limits",
    "NoTier",
    "Outcome",
    "Status",
    "Tier",
    "TierReport",
    "diagnose",
]
