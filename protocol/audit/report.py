"""A report for people (plain lines) and for programs (plain values for JSON)."""

from typing import Any, Final

from protocol.audit.findings import Finding, Report
from protocol.errors import RULES

SHOWN: Final = 50
"""Findings shown to people; one altered record may make many more. JSON has all."""


def lines(report: Report) -> list[str]:
    """The report as lines of text: outcome, findings, checks, proofs, limits."""
    count = len(report.findings)
    text = [f"{report.kind}: {report.headline}", f"{count} finding{'' if count == 1 else 's'}"]
    for finding in report.findings[:SHOWN]:
        text += _finding(finding)
    if count > SHOWN:
        text.append(f"  and {count - SHOWN} more: see --json")
    if report.checks:
        text += ["", "Checks"]
    for tick in report.checks:
        mark = "x" if tick.findings else "ok" if tick.looked_at else "-"
        text.append(f"  {tick.check.value:>2} {mark:<2} {tick.title} ({tick.looked_at})")
    text += _section("What this proves", () if report.findings else report.proofs)
    if report.findings and report.proofs:
        text += _section("What still holds, but for the findings", report.proofs)
    return text + _section("What this cannot prove", report.limits)


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values for `json.dumps`; ids in hex."""
    return {
        "kind": report.kind,
        "clean": report.clean,
        "headline": report.headline,
        "findings": [
            {
                "check": finding.check.value,
                "code": finding.code,
                "sentence": finding.sentence,
                "record": finding.record,
                "id": finding.id.hex() if finding.id else None,
                "author": finding.author,
            }
            for finding in report.findings
        ],
        "checks": [
            {
                "number": tick.check.value,
                "title": tick.title,
                "looked_at": tick.looked_at,
                "findings": tick.findings,
            }
            for tick in report.checks
        ],
        "proofs": list(report.proofs),
        "limits": list(report.limits),
    }


def _finding(finding: Finding) -> list[str]:
    rule = RULES[finding.code]
    return [f"  {finding.sentence}", f"     {finding.code}: {rule.sentence} {rule.fix}"]


def _section(title: str, sentences: tuple[str, ...]) -> list[str]:
    return ["", title, *(f"  {sentence}" for sentence in sentences)] if sentences else []
