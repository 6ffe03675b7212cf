"""The conduct of runs: summon, prepare, load, conclude, release. One number at a time, and one
computation for a number in a term: asked again, the enclave gives the same answer.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from enclave_host import history, outputs
from enclave_host.computation import Finding, Open, Task
from enclave_host.conclusion import Conclusion, Said
from enclave_host.inheritance import Inheritance
from enclave_host.inputs import Datacage
from enclave_host.orders import read_order
from enclave_host.outputs import Leaving
from enclave_host.plan import Plan, Wanted, make_plan
from enclave_host.private import Spool
from enclave_host.session import Session
from enclave_host.shares import Held, Intake, inputs_root
from enclave_host.statements import Asked
from enclave_host.tenure import Tenure
from protocol import limits
from protocol.enclave_wire import Concluded, Load, Prepare, Prepared, Released, Summon
from protocol.errors import Refused
from protocol.kinds.run import Delivery, Started, Summons

PAGE: Final = limits.CHUNK
"""Bytes of outputs that are released at once: to seal them takes a fraction of a second, in which
heartbeats wait; one output alone may be larger."""

TRIES = 3
"""Computations of one number that may break the sandbox before the enclave gives up its term."""


@dataclass(slots=True)
class Loading:
    """A stored share that is loaded for a run: its frames, and where the opened rows lie."""

    held: Held
    intake: Intake
    spool: Spool


@dataclass(slots=True)
class Attempt:
    """One number in one term. `since`: seconds of this machine's clock when it was summoned, for
    patience alone.
    """

    asked: Asked
    wanted: Wanted
    summons: bytes
    started: bytes | None = None
    plan: Plan | None = None
    loads: dict[bytes, Loading] = field(default_factory=dict)
    computing: bool = False
    concluded: Concluded | None = None
    broken: int = 0
    since: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Result:
    """What waits for its certificate, and then for the host; each part is sealed once, and kept."""

    number: int
    term: int
    leaving: list[Leaving | Delivery]

    def page(self, run: bytes, after: int) -> list[Delivery]:
        """The deliveries from the place `after` on, at least one, as many as fit into PAGE."""
        found: list[Delivery] = []
        size = 0
        for place in range(after, min(len(self.leaving), after + limits.ITEMS)):
            one = self.leaving[place]
            if found and size + one.size > PAGE:
                break
            delivery = one.seal(run, self.number) if isinstance(one, Leaving) else one
            self.leaving[place] = delivery
            found.append(delivery)
            size += delivery.size
        return found


@dataclass(slots=True)
class Conduct:
    """The runs of one agreement in this enclave. Every method is called under the enclave's lock;
    `computation.compute` is not, between `begin_conclude` and `finish_conclude`.
    """

    session: Session
    ended: set[tuple[int, int]] = field(default_factory=set)
    attempt: Attempt | None = None
    inheritance: Inheritance = field(init=False)
    results: dict[bytes, Result] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin without a lineage."""
        self.inheritance = Inheritance(self.session)

    # --- summon -------------------------------------------------------------------------------

    def summon(self, request: Summon) -> bytes:
        """The summons for a run: an order that is agreed, a number that is free, a fresh nonce. A
        number that an earlier term ended is summoned again where a result of it never came: the
        statements of a quorum show its record, and nothing but that can be said.
        """
        parties, tenure = self.session.parties, self.session.in_office()
        given = read_order(parties, request.order, self.session.blobs)
        record, order = given
        if not request.number:
            raise Refused("run.slot", "numbers begin at 1")
        if request.number > parties.document.runs.at_most:
            raise Refused("run.budget", f"{parties.document.runs.at_most} runs are agreed")
        known = self._known(request.number, tenure)
        if known is not None and known.wanted.order == record.id:
            return known.summons
        self._require_free(request.number, tenure)
        self._require_none_open(tenure)
        asked = Asked(request.number, tenure.term, os.urandom(32))
        said = Summons(number=asked.number, term=asked.term, order=record.id, nonce=asked.nonce)
        summons = self.session.feed.sign("summons", said).raw
        self._forget()
        wanted = Wanted(
            record.id, order.entry, order.parameters, order.trigger, order.due, given=given
        )
        self.attempt = Attempt(asked, wanted, summons)
        return summons

    def _require_free(self, number: int, tenure: Tenure) -> None:
        """No second record for one number in one term."""
        if any((one.number, one.term) == (number, tenure.term) for one in self.results.values()):
            raise Refused("run.slot", f"run {number}")

    def _require_none_open(self, tenure: Tenure) -> None:
        """What started must end: two records for one number in one term would be two truths."""
        attempt = self.attempt
        if attempt is None or attempt.asked.term != tenure.term:
            return
        if attempt.started is None and attempt.concluded is None:
            return
        if (attempt.asked.number, attempt.asked.term) not in self.ended:
            raise Refused("run.slot", f"run {attempt.asked.number} started and has no votes yet")

    def _known(self, number: int, tenure: Tenure) -> Attempt | None:
        """The attempt at this number in this term."""
        attempt = self.attempt
        if attempt is None or (attempt.asked.number, attempt.asked.term) != (number, tenure.term):
            return None
        return attempt

    def _current(self, number: int) -> Attempt:
        attempt = self._known(number, self.session.in_office())
        if attempt is None:
            raise Refused("enclave.sequence", "Summon comes first")
        return attempt

    # --- prepare: every check before anything opens --------------------------------------------

    def prepare(self, request: Prepare, datacage: Datacage, environment: bytes) -> Prepared:
        """Check everything; on the first refusal nothing has started and the number stays free.

        `environment` is the digest of the datacage's environment as it is now.
        """
        attempt = self._current(request.number)
        if attempt.computing:
            raise Refused("enclave.sequence", "the run is being computed")
        if attempt.concluded is not None:
            return self._prepared(attempt, ())  # nothing to load: Conclude answers as before
        if environment != self.session.parties.document.algorithm.environment:
            raise Refused("run.environment", "it changed since the enclave started")
        runs = history.read_history(self.session.parties, request.runs, request.number)
        plan = make_plan(
            self.session,
            self.inheritance,
            attempt.asked,
            attempt.wanted,
            request,
            runs,
            datacage,
            late=self._is_late(attempt),
        )
        self._wipe(attempt)
        attempt.plan = plan
        attempt.loads = {held.share.id: self._loading(held) for held in plan.used}
        if attempt.started is None and plan.runs:
            attempt.started = self.session.feed.sign("started", self._started(attempt, plan)).raw
        return self._prepared(attempt, plan.used)

    def _is_late(self, attempt: Attempt) -> bool:
        """Whether nothing more is waited for: a little before parties end the term for it."""
        within = self.session.parties.document.runs.within or limits.WITHIN
        return time.monotonic() - attempt.since > within - within // 8

    def _loading(self, held: Held) -> Loading:
        spool = self.session.room.spool()
        return Loading(held, Intake.begin(held.share, spool.write), spool)

    def _prepared(self, attempt: Attempt, used: Sequence[Held]) -> Prepared:
        adopted = attempt.plan.adopted if attempt.plan else None
        return Prepared(
            shares=tuple(held.share.id for held in used),
            started=attempt.started or b"",
            adopted=adopted[0].id if adopted else None,
        )

    def _started(self, attempt: Attempt, plan: Plan) -> Started:
        people = sum(held.share.person is not None for held in plan.used)
        return Started(
            number=attempt.asked.number,
            term=attempt.asked.term,
            shares=len(plan.used),
            organizations=len({held.share.owner for held in plan.used}) - people,
            people=people,
            consents=people,
            signatures=len(self.session.parties.members),
            digests=len(self.session.blobs) + 1,
        )

    # --- load ----------------------------------------------------------------------------------

    def load(self, request: Load) -> None:
        """Stored frames again; the last of each share must end the very stream that was received
        before. Those before a frame that is refused stay loaded.
        """
        attempt = self._current(request.number)
        for one in request.frames:
            loading = attempt.loads.get(one.share)
            if loading is None or attempt.computing:
                raise Refused("enclave.sequence", "Prepare comes first, and names the shares")
            loading.intake.feed(one.frame)
            if one.end:
                _check_whole(loading)

    # --- conclude ------------------------------------------------------------------------------

    def begin_conclude(self, number: int) -> Task | Concluded:
        """What `computation.compute` must do, or the answer that was given before."""
        attempt = self._current(number)
        if attempt.concluded is not None:
            return attempt.concluded
        plan = attempt.plan
        if plan is None or attempt.computing:
            raise Refused("enclave.sequence", "Prepare comes first; a run is computed once")
        said = self._conclusion(attempt, plan).without()
        if said is not None:
            return self._conclude(attempt, said)
        missing = [one for one in attempt.loads.values() if not one.intake.opener.finished]
        if missing:
            raise Refused("run.share-missing", f"{len(missing)} shares were not loaded to the end")
        task = self._task(attempt, plan)
        attempt.computing = True
        return task

    def _task(self, attempt: Attempt, plan: Plan) -> Task:
        session = self.session
        keys = [held.share.key for held in sorted(plan.used, key=lambda held: held.share.id)]
        context = (
            session.parties.id,
            attempt.asked.number.to_bytes(8, "big"),
            plan.wanted.order,
            inputs_root(session.parties.id, list(plan.used)),
        )
        return Task(
            asked=attempt.asked,
            parties=session.parties,
            datacage=plan.datacage,
            bundle=session.bundle(),
            contracts=session.contracts(),
            models=session.models(),
            entry=plan.wanted.entry,
            parameters=plan.wanted.parameters,
            used=tuple(Open(held, attempt.loads[held.share.id].spool) for held in plan.used),
            lineage=plan.lineage,
            reading=plan.reading,
            salts=outputs.salts(keys, *context),
            tables=session.table_models(),
            noise=outputs.noise_key(keys, *context),
        )

    def abandon(self, asked: Asked, *, broken: bool) -> None:
        """Nothing came of the computation, say by a `broken` sandbox: it may be prepared again."""
        attempt = self.attempt
        if attempt is not None and attempt.asked == asked and attempt.concluded is None:
            attempt.computing, attempt.plan = False, None
            attempt.broken += broken
            self._wipe(attempt)

    def require_works(self) -> None:
        """Refuse (enclave.broken) to hold on to a term in which this enclave cannot run: without
        its heartbeats the term lapses, and another host tries.
        """
        attempt, tenure = self.attempt, self.session.tenure
        if attempt is None or tenure is None or attempt.asked.term != tenure.term:
            return
        if attempt.broken >= TRIES:
            raise Refused("enclave.broken", f"run {attempt.asked.number} broke it {TRIES} times")

    def finish_conclude(self, asked: Asked, finding: Finding) -> Concluded:
        """Sign the run record for what was found, unless the term ended meanwhile.

        Raises Refused (run.adopted, enclave.sequence, term.fenced).
        """
        attempt, session = self.attempt, self.session
        if attempt is None or attempt.plan is None or attempt.asked != asked:
            raise Refused("enclave.sequence", "another attempt began meanwhile")
        if session.in_office().term != asked.term:
            raise Refused("term.fenced", f"term {asked.term} ended while the run was computed")
        conclusion = self._conclusion(attempt, attempt.plan)
        return self._conclude(attempt, conclusion.of(finding, late=self._is_late(attempt)))

    def _conclusion(self, attempt: Attempt, plan: Plan) -> Conclusion:
        return Conclusion(self.session, self.inheritance, attempt.asked, plan)

    def _conclude(self, attempt: Attempt, said: Said) -> Concluded:
        record = self.session.feed.sign("run", said.run)
        self.results[record.id] = Result(said.run.number, said.run.term, list(said.leaving))
        attempt.concluded = Concluded(
            run=record.raw, leaves=said.leaves, lineage=said.sealed, bequest=said.bequest
        )
        attempt.computing = False
        self._wipe(attempt)
        return attempt.concluded

    # --- release -------------------------------------------------------------------------------

    def release(self, certificate: bytes, after: int) -> Released:
        """A page of what a quorum let go, sealed, from the place `after` on; the same again when
        asked again. Raises Refused (run.votes, run.slot).
        """
        record, run = history.read_certificate(self.session.parties, certificate)
        result = self.results.get(record.id)
        if result is None:
            raise Refused("run.slot", "this enclave did not compute that run")
        self.ended.add((run.number, run.term))
        page = result.page(record.id, after)
        more = after + len(page) < len(result.leaving)
        return Released(deliveries=tuple(page), more=more)

    def forget_released(self, run: bytes) -> None:
        """Drop what was released of a run: thousands of sealed outputs, of every run, add up."""
        result = self.results.get(run)
        if result is not None and (result.number, result.term) in self.ended:
            result.leaving = []

    def leave_office(self) -> None:
        """Wipe what a run loaded in a term that is over. What is being computed ends by itself."""
        attempt, tenure = self.attempt, self.session.tenure
        if attempt is None or attempt.computing:
            return
        if tenure is None or tenure.term != attempt.asked.term:
            attempt.plan = None
            self._wipe(attempt)

    def _forget(self) -> None:
        if self.attempt is not None:
            self._wipe(self.attempt)

    def _wipe(self, attempt: Attempt) -> None:
        for loading in attempt.loads.values():
            loading.spool.wipe()
        attempt.loads = {}


def _check_whole(loading: Loading) -> None:
    digest = loading.intake.opener.digest()
    if loading.held.digest not in (None, digest):
        raise Refused("share.chunk", "another stream than the one received before")
    loading.held.digest = digest
