"""Audit of verdicts under floors and advisories, and which past runs an advisory touches."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from protocol.attestation import policy
from protocol.audit import affected
from protocol.audit.findings import Check, Report
from protocol.audit.verify import verify
from protocol.errors import Refused
from protocol.kinds.advisory import Advisory, AdvisoryWithdrawal
from protocol.kinds.attestation import Floors
from tests.agreements import AT, DOCUMENT, MEASURED
from tests.audit_rig import NOW, REGISTRAR, A, B, Story, seed

FLOORS = Floors(max_age=3600)
STRICT = policy.digest(policy.merge(DOCUMENT.attestation, FLOORS))
ADVISORY = Advisory(technology="simulated", registers=MEASURED.registers, reason="leaks")


def founded(story: Story, floors: Floors | None = None, advisors: tuple[bytes, ...] = ()) -> Story:
    """The history told in a space with other terms."""
    story.terms = replace(story.terms, attestation=floors, advisors=advisors)
    return story


def codes(report: Report) -> set[tuple[Check, str]]:
    return {(finding.check, finding.code) for finding in report.findings}


def changed(**values: object) -> Callable[..., object]:
    return lambda body: replace(body, **values)


def audit(verdict: Callable[..., object], floors: Floors | None = None) -> set[tuple[Check, str]]:
    def alter(author: str, kind: str, body: object) -> object:
        return verdict(body) if kind == "verdict" else body

    story = founded(Story(alter=alter), floors).begin()
    return codes(verify(story.export(), NOW))


# --- verdicts ------------------------------------------------------------------------------------


def test_verdicts_must_keep_the_floors_of_the_space() -> None:
    strict = changed(policy=STRICT, until=AT + 3600)
    assert audit(strict, FLOORS) == set()
    assert audit(changed(), FLOORS) == {(Check.VERDICTS, "evidence.policy")}
    assert audit(strict) == {(Check.VERDICTS, "evidence.policy")}


@pytest.mark.parametrize(
    "change",
    [
        {"measured": None},
        {"measured": replace(MEASURED, registers={"software": seed("other")})},
        {"measured": replace(MEASURED, platform="another machine")},
        {"until": AT + DOCUMENT.attestation.max_age + 1},
        {"eligible": False, "reasons": ("evidence.withdrawn",), "measured": None, "until": AT},
    ],
)
def test_a_verdict_says_what_its_evidence_says(change: dict[str, object]) -> None:
    assert (Check.VERDICTS, "audit.verdict") in audit(changed(**change))


def test_a_no_because_of_an_advisory_is_proven_by_it() -> None:
    refused = changed(eligible=False, reasons=("evidence.withdrawn",), until=AT)

    def alter(author: str, kind: str, body: object) -> object:
        return refused(body) if kind == "verdict" and author == A.name else body

    story = founded(Story(alter=alter), advisors=(REGISTRAR.did,)).begin()
    assert (Check.VERDICTS, "audit.verdict") in codes(verify(story.export(), NOW))
    story.space.write(REGISTRAR, "advisory", ADVISORY)
    assert codes(verify(story.export(), NOW)) == set()


# --- affected runs -------------------------------------------------------------------------------


def surveyed(*advisories: Advisory, advisors: tuple[bytes, ...] = (REGISTRAR.did,)) -> Story:
    story = founded(Story(), advisors=advisors).tell()
    for one in advisories:
        story.space.write(REGISTRAR, "advisory", one)
    return story


def test_past_runs_that_an_advisory_touches() -> None:
    story = surveyed(ADVISORY)
    found = affected.survey(story.export(), NOW)
    assert (found.runs, found.advisories, found.faults) == (3, 1, 0)
    shown = [affected.as_json(one, found.name) for one in found.affected]
    assert [(one["run"], one["term"], one["host"], one["ended"]) for one in shown] == [
        (1, 1, "host-1", True),
        (2, 1, "host-1", False),  # it started there: data lay open
        (2, 2, "host-2", True),
    ]
    assert all(len(one["measured_by"]) == 5 for one in shown)
    assert {(one["by"], one["reason"]) for one in shown} == {("registrar", "leaks")}


def test_nothing_is_touched_by_others_or_what_was_taken_back() -> None:
    other = replace(ADVISORY, registers={"software": seed("other")})
    assert affected.survey(surveyed(other).export(), NOW).affected == ()
    assert affected.survey(surveyed(ADVISORY, advisors=(B.did,)).export(), NOW).affected == ()
    story = surveyed()
    given = story.space.must(REGISTRAR, "advisory", ADVISORY)
    assert affected.survey(story.export(), NOW).affected
    back = AdvisoryWithdrawal(advisory=given.id, reason="a false alarm")
    story.space.write(REGISTRAR, "advisory-withdrawal", back)
    assert affected.survey(story.export(), NOW).affected == ()


def test_only_an_audit_file_is_surveyed() -> None:
    for data in (b"", b"\xa0", bytes(100)):
        with pytest.raises(Refused):
            affected.survey(data, NOW)
