"""What the record of a number says: of a computation, of one that was made before, or of none."""

from dataclasses import dataclass, replace

from enclave_host import lineage, state
from enclave_host.computation import Finding
from enclave_host.gate import Stopped
from enclave_host.inheritance import Inheritance
from enclave_host.lineage import State
from enclave_host.outputs import Leaving
from enclave_host.plan import Plan
from enclave_host.run_record import Facts, build, leaves_of, matches
from enclave_host.session import Session
from enclave_host.statements import Asked
from protocol.errors import Refused
from protocol.kinds.run import Run


@dataclass(frozen=True, slots=True)
class Said:
    """A run record to be signed, and what goes with it; `bequest` hands on the key of `sealed`."""

    run: Run
    leaves: bytes = b""
    leaving: tuple[Leaving, ...] = ()
    sealed: bytes | None = None
    bequest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The end of one attempt."""

    session: Session
    inheritance: Inheritance
    asked: Asked
    plan: Plan

    def without(self) -> Said | None:
        """The record where nothing is computed."""
        plan = self.plan
        if plan.void is not None:
            return Said(self._facts().void(plan.void))
        if plan.lost is not None:
            return Said(self._facts().refuse(plan.lost))
        if plan.adopted is not None and not plan.opened:
            return self._again(plan.adopted[1], plan.withheld)
        return None

    def of(self, finding: Finding, *, late: bool) -> Said:
        """The record of a computation; `late`: no other try is waited for. Raises Refused
        (run.adopted).
        """
        if self.plan.adopted is None:
            return self._new(finding)
        # A second log would be a second sample.
        return self._repeated(replace(finding, logs=()), self.plan.adopted[1], late=late)

    def _new(self, finding: Finding) -> Said:
        sealed, bequest = None, None
        if finding.logs or (finding.stopped is None and finding.failed is None):
            try:
                sealed, bequest = self._seal(finding, finding.states)
            except Refused as refused:  # too many people, at every later try too
                stopped = Stopped("refused", refused.code, refused.detail)
                finding = replace(
                    finding, leaving=(), states=(), logs=(), failed=None, stopped=stopped
                )
        run = build(self._facts(), finding, sealed)
        leaves = b"".join(leaves_of(self.session.parties, self.plan.used, self.asked.number))
        return Said(run, leaves, (*finding.leaving, *finding.logs), sealed, bequest)

    def _repeated(self, finding: Finding, adopted: Run, *, late: bool) -> Said:
        """The record of an earlier term, computed again. If it came out otherwise, nothing leaves.
        By the same inputs it always would; with others, or after a failure, another try may help.
        """
        closed = self.plan.closed
        run = build(self._facts(), finding, None)
        same = matches(run, replace(adopted, withheld=None))
        if same and not closed:
            return self._new(finding)
        withheld = self.plan.withheld if closed else "run.adopted"
        hopeful = not _same_people(run, adopted) or (run.outcome == "failed" and not closed)
        if hopeful and not late:
            raise Refused("run.adopted", "the same run came to something else")
        if not _same_people(run, adopted) or (not same and self._wrote_state(adopted)):
            return self._again(adopted, withheld)
        sealed, bequest = self._seal(finding, finding.states if same else ())
        return self._again(adopted, withheld, sealed, bequest)

    def _again(
        self,
        adopted: Run,
        withheld: str | None,
        sealed: bytes | None = None,
        bequest: bytes | None = None,
    ) -> Said:
        """A record of an earlier term from which nothing leaves, in this term's name."""
        again = self._facts().repeat(adopted, withheld, sealed)
        return Said(again, self.plan.leaves or b"", sealed=sealed, bequest=bequest)

    def _seal(self, finding: Finding, states: tuple[State, ...]) -> tuple[bytes, bytes]:
        """The lineage after this run, and its bequest. Raises Refused (gate.lineage)."""
        plan = self.plan
        result = lineage.result(
            self.asked.number,
            plan.wanted.entry,
            plan.wanted.parameters,
            finding.fresh,
            plan.lineage.behind(plan.reading.read),
        )
        grown = plan.lineage.grown(result, state.in_force(plan.lineage, plan.reading, states))
        return self.inheritance.seal(grown, self.session.in_office())

    def _wrote_state(self, run: Run) -> bool:
        agreed = self.session.parties.document.outputs
        states = {output.name for output in agreed if output.format == "state"}
        return any(one.name in states for one in run.outputs)

    def _facts(self) -> Facts:
        session, plan = self.session, self.plan
        return Facts(
            parties=session.parties,
            asked=self.asked,
            order=plan.wanted.order,
            entry=plan.wanted.entry,
            parameters=plan.wanted.parameters,
            appointment=session.in_office().id,
            statements=plan.heard.ids,
            stops=tuple(sorted(session.consents.stops)),
            used=plan.used,
            reading=plan.reading,
            evidence=session.evidence or b"",
            technology=session.technology,
            adopts=plan.adopted[0].id if plan.adopted else None,
            at=plan.now,
            trigger=plan.wanted.trigger,
            due=plan.wanted.due,
        )


def _same_people(run: Run, adopted: Run) -> bool:
    """Whether the same rows were read, and the people in them counted."""
    mine, theirs = (
        (one.inputs, one.consents, one.leaves, one.rows, one.contributors) for one in (run, adopted)
    )
    return mine == theirs
