"""Time tables of runs: cron expressions of five fields, in UTC, by the library cronsim.

Pure: the time is an argument. All who judge an order come to the same due times.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
"""Minute, hour, day of the month, month, day of the week; no seconds."""

LAST: Final = int(datetime(9900, 1, 1, tzinfo=UTC).timestamp())
"""Times beyond this have no calendar."""


def fault(cron: str) -> str | None:
    """What is wrong with an expression, in words; None if it names times."""
    if len(cron.split()) != FIELDS:
        return f"a time table has {FIELDS} fields: minute, hour, day, month, day of the week"
    try:
        if next(_points(cron, 0, backwards=False), None) is None:
            return "no time is like this"
    except CronSimError as error:
        return str(error)
    return None


def fits(cron: str, due: int) -> bool:
    """Whether `due` (unix seconds) is one of the times of a sound expression."""
    return 0 <= due <= LAST and previous(cron, due) == due


def after(cron: str, now: int, count: int = 1) -> list[int]:
    """The next `count` times after `now`; fewer where there are no more."""
    return list(islice(_points(cron, now, backwards=False), count))


def previous(cron: str, now: int) -> int | None:
    """The last time that is not after `now`; None if there was none."""
    return next(_points(cron, now + 1, backwards=True), None)


def _points(cron: str, now: int, *, backwards: bool) -> Iterator[int]:
    at = datetime.fromtimestamp(min(max(now, 0), LAST), UTC)
    for point in CronSim(cron, at, reverse=backwards):
        yield int(point.timestamp())
