"""Every check before anything opens, in one place; on the first refusal nothing has started."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from enclave_host import budget, history, lineage, orders, selection, sql, state
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

    Nothing is opened where that record released nothing, where the agreed attempts are used up
    (`void`: how many there were), or where what was released cannot be computed again (`withheld`:
    the code of why): the record is said without.
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

    @property
    def closed(self) -> bool:
        """Whether a record of an earlier term is only said again."""
        said = self.adopted[1] if self.adopted is not None else None
        return said is not None and (said.outcome != "released" or self.withheld is not None)


def make_plan(
    session: Session,
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
    parties = session.parties
    terms = _terms(session, request.terms)
    heard = hear(parties, session.consents, request.statements, asked, terms)
    adopted = heard.accepted
    said = adopted[1] if adopted else None
    now = max([heard.now, *(run.at for run in runs), said.at if said else 0])
    heard = replace(heard, now=now)
    _require_in_force(session, now)
    if session.evidence is None:
        raise Refused("evidence.stale", "nobody asked this enclave for evidence")
    if said is not None:
        wanted = Wanted(said.order, said.entry, said.parameters, said.trigger, said.due)
    plan = Plan(
        heard=heard,
        now=now,
        wanted=wanted,
        used=(),
        lineage=Lineage(),
        reading=Reading(),
        datacage=datacage,
        adopted=adopted,
        leaves=request.leaves,
        withheld=said.withheld if said else None,
    )
    if said is None and heard.attempts >= parties.document.runs.attempts:
        return replace(plan, void=heard.attempts)
    if plan.closed:
        return plan
    if wanted.given is not None:
        orders.require_time(parties, *wanted.given, heard, runs)
    try:
        return _opened(session, plan, request, runs)
    except Refused as refused:
        if said is None or not (late or refused.code == "consent.withdrawn"):
            raise
        return replace(plan, withheld=refused.code)


def _opened(session: Session, plan: Plan, request: Prepare, runs: Sequence[Run]) -> Plan:
    """The plan with all that a computation reads."""
    parties, wanted = session.parties, plan.wanted
    said = plan.adopted[1] if plan.adopted else None
    _require_code(session, wanted.entry)
    _require_sql(session, plan.datacage)
    known = _lineage(session, runs, request.lineage)
    used = tuple(_select(session, plan.heard, said, request))
    entry = next(one for one in session.bundle().manifest.entries if one.name == wanted.entry)
    budget.require(parties, entry, {held.share.dataset for held in used}, runs)
    reading = _states(session, wanted.entry, known, said)
    return replace(plan, used=used, lineage=known, reading=reading)


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
    parties, consents, usable = session.parties, session.consents, session.shares.usable()
    if adopted is None:
        return selection.select(parties, consents, usable, heard, request.number)
    return selection.select_again(parties, consents, usable, heard, adopted, request.leaves)


def _lineage(session: Session, runs: Sequence[Run], blob: bytes | None) -> Lineage:
    """All earlier results. Raises Refused (gate.lineage)."""
    newest = history.newest_pinned(runs)
    if newest is None:
        return Lineage()
    vault, pinned = session.vault, newest.lineage or b""
    found = lineage.open_(blob, pinned, session.parties.id, vault.seed, vault.id)
    kept = [run.number for run in runs if run.lineage is not None]
    if [result.number for result in found.results] != kept:
        raise Refused("gate.lineage", "it is not about all runs from which something left")
    return found


def _states(session: Session, entry: str, known: Lineage, adopted: Run | None) -> Reading:
    """What the entry point reads of earlier runs. Raises Refused (consent.withdrawn)."""
    entries = session.bundle().manifest.entries
    names = next(one.states for one in entries if one.name == entry)
    reading = state.choose(known, names, session.consents)
    if adopted is not None:
        state.require_same(reading, adopted.states)
    return reading
