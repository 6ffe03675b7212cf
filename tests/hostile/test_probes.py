"""Every probe in every tier of the sandbox, and outside as its own control.

A probe that does not get through outside proves nothing: that is a failure, unless the machine has
no such thing or must not be harmed. Those are named with their reason and counted apart.
"""

import errno
import os
import platform
from collections import Counter
from contextlib import ExitStack

import duckdb
import pytest

from enclave_host.cage import tiers
from tests.hostile.probes.probe import NOTHING, STATUSES, THROUGH, Probe
from tests.hostile.target import GROUPS, PROBES, SCIENTIFIC, SECRET, Target, open_folder

pytestmark = [
    pytest.mark.hostile,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its system call numbers are used"),
]

AT_LEAST = 100
NAMED = ("gaierror", *(one for one in vars(duckdb) if one.endswith("Exception")))
"""Errors without an errno."""


@pytest.fixture(scope="module")
def target():
    with ExitStack() as stack:
        yield Target(stack.enter_context(open_folder()), stack)


@pytest.fixture(scope="module")
def spoilt():
    """What the control gets hold of: it is not the same afterwards."""
    with ExitStack() as stack:
        yield Target(stack.enter_context(open_folder()), stack)


@pytest.fixture(scope="module")
def packages():
    if not (SCIENTIFIC / "duckdb").is_dir():
        pytest.skip("make setup installs duckdb")
    return SCIENTIFIC


@pytest.fixture(scope="module")
def control(spoilt, packages):
    return spoilt.control() | spoilt.control(packages)


@pytest.fixture(scope="module")
def ended(target, cage, packages):
    return target.probed(cage) | target.with_packages(cage)


def apart(probe: Probe, met: str) -> str | None:
    """Why the control of a probe counts apart."""
    if probe.harm:
        return probe.harm
    if met in probe.absent.split("|"):
        return f"this machine has no such thing: {met}"
    if os.geteuid() != 0 and met in ("EPERM", "EACCES"):
        return f"only root may: {met}"
    return None


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_control_gets_through_outside(control, probe):
    met = control.get(probe.name, "")
    if reason := apart(probe, met):
        pytest.skip(reason)
    assert met.startswith(THROUGH)


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_the_probe_ends_as_it_must(control, cage, ended, probe):
    allowed = probe.endings(cage.tier)
    met = control.get(probe.name, "")
    if met in probe.absent.split("|"):  # what is not there needs no wall
        allowed = [*allowed, met]
    end = ended[probe.name]
    assert end.partition(": ")[0] in allowed, end


def test_there_are_enough_probes_with_a_control(control):
    assert len({one.name for one in PROBES.values()}) == sum(len(group.PROBES) for group in GROUPS)
    reasons = Counter(apart(one, control.get(name, "")) for name, one in PROBES.items())
    print(f"\n{reasons.pop(None)} probes with a control; apart: {dict(reasons)}")
    assert sum(met.startswith(THROUGH) for met in control.values()) >= AT_LEAST


def test_nobody_was_reached_and_nothing_was_changed(target, ended):
    assert target.hits == set()
    assert os.pread(target.inputs["state/spare"], 1 << 16, 0) == SECRET
    assert {path.read_bytes() for path in target.secrets()} == {SECRET}
    assert target.names() == target.before


def test_the_control_reached_and_changed_them(spoilt, control):
    assert spoilt.hits == {"tcp", "environment", "door", "abstract"}
    assert not all(path.exists() for path in spoilt.secrets())


def test_every_way_to_end_is_one_that_is_known():
    known = {*STATUSES, NOTHING, THROUGH, *NAMED, *errno.errorcode.values()}
    for probe in PROBES.values():
        for tier in tiers.TIERS:
            assert set(probe.endings(tier)) <= known, probe.name
