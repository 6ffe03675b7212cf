"""Every check before anything opens, in one place; on the first refusal nothing has started."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from enclave_host import budget, orders, selection, sql, state
from enclave_host.inheritance import Inheritance
from enclave_host.inputs import Datacage
from enclave_host.lineage import Lineage
from enclave_host.session import Session
from enclave_host.shares import Held
from enclave_host.state import Reading
from enclave_host.statements import Asked, Heard, hear
from enclave_host.tenure import Tenure, read_tenure
from protocol.enclave_wire import Predecessor, Prepare
from protocol.errors import Refused
from protocol.kinds.run import Order, Run
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be run: the id of the order, and what it says; `given` is the order itself, and
    none where the record of an earlier term says what ran.
    """

    order: bytes
    entry: str
    parameters: str
    trigger: str | None = None
    due: int | None = None
    given: tuple[Record, Order] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What all checks came to. `now` is the time by the statements; `adopted` the record of an
    earlier term that must be said again, and then `wanted` is what it ran.

    Nothing is `opened` where that record released nothing, where the agreed attempts are used up
    (`void`: how many there were), where the lineage is `lost` for good, or where what was released
    cannot be computed again (`withheld`: the code of why): the record is said without. But a record
    of which nothing leaves is computed too where its people and states are to be known again.
    """

    heard: Heard
    now: int
    wanted: Wanted
    used: tuple[Held, ...]
    lineage: Lineage
    reading: Reading
    datacage: Datacage
    adopted: tuple[Record, Run] | None
    leaves: bytes | None
    void: int | None = None
    withheld: str | None = None
    lost: Refused | None = None
    opened: bool = False

    @property
    def runs(self) -> bool:
        """Whether anything happens for which a party could wait: a start is told."""
        return self.void is None and self.lost is None

    @property
    def closed(self) -> bool:
        """Whether a record of an earlier term is only said again: nothing leaves."""
        said = self.adopted[1] if self.adopted is not None else None
        return said is not None and (said.outcome != "released" or self.withheld is not None)


def make_plan(
    session: Session,
    inheritance: Inheritance,
    asked: Asked,
    wanted: Wanted,
    request: Prepare,
    runs: Sequence[Run],
    datacage: Datacage,
    *,
    late: bool = False,
) -> Plan:
    """Check statements, time, budget, code, consents and lineage; choose the shares.

    `runs` are the certified records of all numbers before; `late`: what is missing to compute an
    earlier term's result again is waited for no more. Raises Refused (run.*, agreement.ended,
    gate.*, evidence.stale).
    """
    plan = _heard(session, asked, wanted, request, runs, datacage)
    said = plan.adopted[1] if plan.adopted else None
    agreed = session.parties.document.runs.attempts
    if said is None and plan.heard.attempts >= agreed:
        return replace(plan, void=plan.heard.attempts)
    if plan.closed and said is not None and not inheritance.must_rebuild(asked.term, said):
        return plan
    if said is None and wanted.given is not None:
        orders.require_time(session.parties, *wanted.given, plan.heard, runs)
    try:
        return _opened(session, inheritance, plan, request, runs)
    except Refused as refused:
        if said is None:
            gap = inheritance.gap(asked.term, runs) if refused.code == "gate.lineage" else None
            if gap is not None:
                return replace(plan, lost=_lost(gap))
        elif late or refused.code == "consent.withdrawn":
            return replace(plan, withheld=plan.withheld if plan.closed else refused.code)
        raise


def _heard(
    session: Session,
    asked: Asked,
    wanted: Wanted,
    request: Prepare,
    runs: Sequence[Run],
    datacage: Datacage,
) -> Plan:
    """What the statements say: the time, and what must be said again. Nothing is opened yet."""
    heard = hear(
        session.parties,
        session.consents,
        request.statements,
        asked,
        _terms(session, request.terms),
    )
    said = heard.accepted[1] if heard.accepted else None
    now = max([heard.now, *(run.at for run in runs), said.at if said else 0])
    _require_in_force(session, now)
    if session.evidence is None:
        raise Refused("evidence.stale", "nobody asked this enclave for evidence")
    if said is not None:
        wanted = Wanted(said.order, said.entry, said.parameters, said.trigger, said.due)
    return Plan(
        heard=replace(heard, now=now),
        now=now,
        wanted=wanted,
        used=(),
        lineage=Lineage(),
        reading=Reading(),
        datacage=datacage,
        adopted=heard.accepted,
        leaves=request.leaves,
        withheld=said.withheld if said else None,
    )


def _lost(gap: Run) -> Refused:
    """Why no later number can run: what left before can be compared with no more."""
    why = f" ({gap.withheld})" if gap.withheld is not None else ""
    return Refused("gate.lineage", f"run {gap.number} cannot be computed again{why}")


def _opened(
    session: Session,
    inheritance: Inheritance,
    plan: Plan,
    request: Prepare,
    runs: Sequence[Run],
) -> Plan:
    """The plan with all that a computation reads."""
    parties, wanted = session.parties, plan.wanted
    said = plan.adopted[1] if plan.adopted else None
    _require_code(session, wanted.entry)
    _require_sql(session, plan.datacage)
    known = inheritance.read(runs, request.lineage, request.wraps)
    used = tuple(_select(session, plan.heard, said, request))
    entry = next(one for one in session.bundle().manifest.entries if one.name == wanted.entry)
    budget.require(parties, entry, {held.share.dataset for held in used}, runs)
    reading = _states(session, wanted.entry, known, said)
    return replace(plan, used=used, lineage=known, reading=reading, opened=True)


def _terms(session: Session, shown: Sequence[Predecessor]) -> dict[int, Tenure]:
    found = [read_tenure(session.parties, one.certificate, one.host) for one in shown]
    return {tenure.term: tenure for tenure in found}


def _require_in_force(session: Session, now: int) -> None:
    document = session.parties.document
    if now > document.start + document.purpose.duration:
        raise Refused("agreement.ended", "its time is over")


def _require_code(session: Session, entry: str) -> None:
    """Bundle, contracts and models are here, whole, and say what the agreement says."""
    bundle = session.bundle()
    session.contracts()
    session.models()
    session.table_models()
    session.check_models()
    promised = next(one.outputs for one in bundle.manifest.entries if one.name == entry)
    subjects = {one.name for one in session.parties.document.outputs if one.subject}
    if subjects & set(promised) and len(session.parties.document.datasets) > 1:
        raise Refused("gate.recipient", "a row names a person only where there is one dataset")


def _require_sql(session: Session, datacage: Datacage) -> None:
    """Queries do no more than read, or nothing opens; looked at once, for the bundle is agreed."""
    bundle = session.bundle()
    if bundle.manifest.kind == "sql" and not session.sql_read:
        sql.check(datacage, bundle)
        session.sql_read = True


def _select(
    session: Session, heard: Heard, adopted: Run | None, request: Prepare
) -> Sequence[Held]:
    parties, consents, shares = session.parties, session.consents, session.shares
    if adopted is None:
        return selection.select(parties, consents, shares, heard, request.number)
    return selection.select_again(parties, consents, shares, heard, adopted, request.leaves)


def _states(session: Session, entry: str, known: Lineage, adopted: Run | None) -> Reading:
    """What the entry point reads of earlier runs. Raises Refused (consent.withdrawn)."""
    entries = session.bundle().manifest.entries
    names = next(one.states for one in entries if one.name == entry)
    reading = state.choose(known, names, session.consents)
    if adopted is not None:
        state.require_same(reading, adopted.states)
    return reading
