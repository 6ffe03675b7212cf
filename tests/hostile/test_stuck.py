"""A job that is stuck ends at its limit, whatever it does, and the next one runs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from enclave_host.cage import Cage, Job, Limits, NoTier, tiers
from tests.hostile.algorithms import stuck

pytestmark = pytest.mark.hostile

CODE = {"stuck.py": Path(stuck.__file__).read_bytes(), "well.py": b"def run(t, p): return {'n': 1}"}
LIMITS = Limits(memory=1 << 30, cpu=2, wall=1.0, processes=32, files=64, tmp=1 << 20, log=4096)
WAYS = [
    name for name, one in vars(stuck).items() if getattr(one, "__module__", "") == stuck.__name__
]
AT_ONCE = 11
ENDS = {"exit_that_waits_for_a_thread": "failed"}  # it does not wait: nobody does


@pytest.fixture(params=tiers.TIERS)
def cage(request):
    try:
        return Cage.probe(only=request.param)
    except NoTier as error:
        pytest.skip(str(error))


def test_a_stuck_job_never_blocks_the_next(cage):
    assert len(WAYS) == 11

    def stick(way: str) -> tuple[str, str]:
        outcome = cage.run(Job(code=CODE, entry=f"stuck:{way}", limits=LIMITS))
        after = cage.run(Job(code=CODE, entry="well:run", limits=Limits(memory=1 << 30)))
        assert (outcome.output, after.status) == (b"", "ok"), after.log
        return way, outcome.status

    before = set(threading.enumerate())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = dict(pool.map(stick, WAYS))
    assert ended == {way: ENDS.get(way, "limit") for way in WAYS}
    assert set(threading.enumerate()) <= before  # of other tests some may have ended meanwhile
