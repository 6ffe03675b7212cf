"""What of a person ends: the credential, and each consent, by date and by runs. Said ahead, once.

A vault is not always awake: it looks at each act, and writes what is near into its diary.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from node.vault.contents import Contents, Participation
from protocol import token
from protocol.kinds.consent import Consent
from protocol.kinds.identity import PersonCredential

DAY: Final = 86_400

STEPS: Final = (30, 7, 1, 0)
"""Days ahead of an end at which it is said; 0 is the end itself."""

RUNS: Final = (2, 1, 0)
"""Runs that are left of a consent's window when it is said."""


@dataclass(frozen=True, slots=True)
class Near:
    """An end that is near: what tells it from others, its agreement, words, the renewing command.

    `step` counts down; `until` is the date, None for a window of runs.
    """

    name: str
    agreement: bytes | None
    words: str
    command: str
    step: int
    until: int | None


def near(found: Contents, now: int) -> list[Near]:
    """Everything that has reached a step."""
    return [*_credential(found, now), *(end for p in found.participations for end in _of(p, now))]


def announced(found: Contents, now: int) -> tuple[Contents, list[Near]]:
    """The contents with what is near noted as said, and what was not said before."""
    told = {name: int(step) for name, _, step in (t.rpartition("/") for t in found.announced or ())}
    all_ = near(found, now)
    new = [one for one in all_ if one.step < told.get(one.name, max(STEPS) + 1)]
    kept = tuple(f"{one.name}/{one.step}" for one in all_)
    return (replace(found, announced=kept) if new else found), new


def _credential(found: Contents, now: int) -> Iterator[Near]:
    if found.enrolment is None:
        return
    until = token.open_(found.enrolment.credential, "person", PersonCredential).body.until
    command = "ask the registrar for a new letter: village vault enrol CODE"
    yield from _dated("credential", None, "your credential", command, until, now)


def _of(part: Participation, now: int) -> Iterator[Near]:
    """The consent that is in force under one agreement."""
    if not part.given or part.given[-1].stop is not None:
        return
    given, command = part.given[-1], f"village consent renew {part.agreement.hex()[:8]}"
    body = token.open_(given.consent, "consent", Consent).body
    name = f"consent/{part.agreement.hex()[:16]}/{given.ordinal}"
    what = f"your consent to {part.name}"
    yield from _dated(name, part.agreement, what, command, body.until, now)
    newest = max((use.number for use in part.uses), default=0)
    left = body.last - max(newest, body.first - 1)
    if left <= max(RUNS):
        runs = f"{what}: {max(left, 0)} of its runs {body.first} to {body.last} are left"
        step = max(left, 0)
        yield Near(f"{name}/runs", part.agreement, runs, command, step, None)


def _dated(
    name: str, agreement: bytes | None, what: str, command: str, until: int, now: int
) -> Iterator[Near]:
    reached = [days for days in STEPS if until - now <= days * DAY]
    if reached:
        left = (until - now) // DAY
        words = f"{what} ended" if until <= now else f"{what} ends within {left + 1} days"
        yield Near(f"{name}/{until}", agreement, words, command, min(reached), until)
