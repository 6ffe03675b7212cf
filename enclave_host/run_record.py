"""The run record: proof of everything but the output, and of nobody by name."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from enclave_host import lineage, outputs, state
from enclave_host.computation import Finding
from enclave_host.gate import Stopped
from enclave_host.parties import Parties
from enclave_host.selection import leaf
from enclave_host.shares import Held, inputs_root
from enclave_host.state import Reading
from enclave_host.statements import Asked
from protocol import merkle
from protocol.errors import Refused
from protocol.kinds.run import Run
from protocol.machines.runs import consents_root


@dataclass(frozen=True, slots=True)
class Facts:
    """What was known before the computation. `at` is the time by the statements."""

    parties: Parties
    asked: Asked
    order: bytes
    entry: str
    parameters: str
    appointment: bytes
    statements: tuple[bytes, ...]
    stops: tuple[bytes, ...]
    used: tuple[Held, ...]
    reading: Reading
    evidence: bytes
    technology: str
    adopts: bytes | None
    at: int
    trigger: str | None = None
    due: int | None = None

    def repeat(self, earlier: Run, withheld: str | None, sealed: bytes | None) -> Run:
        """An earlier term's record in this term's name: the same finding, other circumstances.
        `withheld` says why nothing of it leaves in this term; `sealed` is the lineage where it was
        made anew.
        """
        return replace(
            earlier,
            term=self.asked.term,
            appointment=self.appointment,
            statements=self.statements,
            stops=self.stops,
            evidence=self.evidence,
            technology=self.technology,
            logs=(),
            lineage=earlier.lineage if sealed is None else lineage.digest(sealed),
            adopts=self.adopts,
            withheld=withheld,
            at=self.at,
        )

    def void(self, attempts: int) -> Run:
        """The record of a number whose attempts are used up: nothing was opened, nothing ran."""
        spent = Refused("run.attempts", f"{attempts} hosts started this number and did not end it")
        return replace(build(self, Finding(0, {}, failed=spent), None), outcome="void")

    def refuse(self, why: Refused) -> Run:
        """The record of a number for which nothing can run: nothing was opened."""
        stopped = Stopped("refused", why.code, why.detail)
        return build(self, Finding(0, {}, stopped=stopped), None)


def leaves_of(parties: Parties, used: Iterable[Held], number: int) -> list[bytes]:
    """The sorted leaves of all people whose shares were used."""
    return sorted({leaf(parties, one, number) for one in used if one.share.person is not None})


def build(facts: Facts, finding: Finding, sealed: bytes | None) -> Run:
    """The record of a computation; `sealed` is the lineage if results are to be released."""
    parties, used, agreed = facts.parties, facts.used, facts.parties.document.logs
    leaves = leaves_of(parties, used, facts.asked.number)
    consents = [one.share.person.consent.id for one in used if one.share.person is not None]
    return Run(
        number=facts.asked.number,
        term=facts.asked.term,
        order=facts.order,
        entry=facts.entry,
        parameters=facts.parameters,
        appointment=facts.appointment,
        statements=facts.statements,
        stops=facts.stops,
        shares=tuple(one.share.id for one in used if one.share.person is None),
        inputs=inputs_root(parties.id, list(used)),
        consents=consents_root(consents),
        leaves=merkle.root(leaves),
        leaf_count=len(leaves),
        bundle=parties.document.algorithm.bundle,
        environment=parties.document.algorithm.environment,
        evidence=facts.evidence,
        technology=facts.technology,
        rules=parties.document.rules,
        gate=finding.checks,
        outputs=(
            *outputs.commitments(parties.id, finding.leaving, parties.document.rules.output_bytes),
            *state.commitments(finding.states, parties.id),
        ),
        charges=finding.charges,
        states=facts.reading.uses(),
        logs=outputs.commitments(parties.id, finding.logs, agreed.bytes if agreed else 0),
        rows=finding.rows,
        contributors=len(finding.people),
        lineage=None if sealed is None else lineage.digest(sealed),
        adopts=facts.adopts,
        trigger=facts.trigger,
        due=facts.due,
        at=facts.at,
        **_outcome(finding),
    )


def matches(again: Run, adopted: Run) -> bool:
    """Whether a computation in a later term came to the same as the record it must adopt."""
    return _substance(again) == _substance(adopted)


def _substance(run: Run) -> Run:
    """The record without what differs between terms. The sealed lineage differs in its bytes; what
    is in it follows from inputs and number. What an algorithm prints may differ each time.
    """
    return replace(
        run,
        term=0,
        appointment=b"",
        statements=(),
        stops=(),
        evidence=b"",
        technology="",
        logs=(),
        lineage=None,
        adopts=None,
        at=0,
    )


def _outcome(finding: Finding) -> dict[str, Any]:
    if finding.failed is not None:
        failed = finding.failed
        return {
            "outcome": "failed",
            "refusal_code": failed.code,
            "refusal_detail": failed.detail,
        }
    if finding.stopped is not None:
        stopped = finding.stopped
        return {
            "outcome": stopped.outcome,
            "refusal_code": stopped.code,
            "refusal_detail": stopped.detail,
        }
    return {"outcome": "released"}
