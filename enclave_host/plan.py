"""Every check before anything opens, in one place; on the first refusal nothing has started."""

from collections.abc import Sequence
from dataclasses import dataclass

from enclave_host import history, lineage, selection
from enclave_host.inputs import Datacage
from enclave_host.lineage import Lineage
from enclave_host.session import Session
from enclave_host.shares import Held
from enclave_host.statements import Asked, Heard, hear
from enclave_host.tenure import Tenure, read_tenure
from protocol.enclave_wire import Predecessor, Prepare
from protocol.errors import Refused
from protocol.kinds.run import Run
from protocol.record import Record


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be run: the id of the order, and what it says."""

    order: bytes
    entry: str
    parameters: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What all checks came to. `now` is the time by the statements; `adopted` the record of an
    earlier term that must be said again, and then `wanted` is what it ran.
    """

    heard: Heard
    now: int
    wanted: Wanted
    used: tuple[Held, ...]
    lineage: Lineage
    datacage: Datacage
    adopted: tuple[Record, Run] | None
    leaves: bytes | None


def make_plan(
    session: Session,
    asked: Asked,
    wanted: Wanted,
    request: Prepare,
    runs: Sequence[Run],
    datacage: Datacage,
) -> Plan:
    """Check statements, time, budget, code, consents and lineage; choose the shares.

    `runs` are the certified records of all numbers before. Raises Refused (run.*, agreement.ended,
    gate.*, consent.withdrawn, evidence.stale).
    """
    parties = session.parties
    terms = _terms(session, request.terms)
    heard = hear(parties, session.consents, request.statements, asked, terms)
    now = max([heard.now, *(run.at for run in runs)])
    _require_in_force(session, now)
    adopted = heard.accepted
    said = adopted[1] if adopted else None
    if said is None and heard.attempts >= parties.document.runs.attempts:
        raise Refused("run.budget", f"{heard.attempts} attempts at this number")
    if said is not None:
        wanted = Wanted(said.order, said.entry, said.parameters)
    _require_code(session, wanted.entry)
    return Plan(
        heard=heard,
        now=now,
        wanted=wanted,
        used=tuple(_select(session, heard, said, request)),
        lineage=_lineage(session, runs, request.lineage),
        datacage=datacage,
        adopted=adopted,
        leaves=request.leaves,
    )


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
    if session.evidence is None:
        raise Refused("evidence.stale", "nobody asked this enclave for evidence")
    promised = next(one.outputs for one in bundle.manifest.entries if one.name == entry)
    subjects = {one.name for one in session.parties.document.outputs if one.subject}
    if subjects & set(promised) and len(session.parties.document.datasets) > 1:
        raise Refused("gate.recipient", "a row names a person only where there is one dataset")


def _select(
    session: Session, heard: Heard, adopted: Run | None, request: Prepare
) -> Sequence[Held]:
    parties, consents, usable = session.parties, session.consents, session.shares.usable()
    if adopted is None:
        return selection.select(parties, consents, usable, heard, request.number)
    if adopted.outcome != "released":
        return ()  # nothing leaves, so nothing is opened again
    return selection.select_again(parties, consents, usable, heard, adopted, request.leaves)


def _lineage(session: Session, runs: Sequence[Run], blob: bytes | None) -> Lineage:
    """All earlier results. Raises Refused (gate.lineage)."""
    newest = history.newest_released(runs)
    if newest is None:
        return Lineage()
    vault, pinned = session.vault, newest.lineage or b""
    found = lineage.open_(blob, pinned, session.parties.id, vault.seed, vault.id)
    released = [run.number for run in runs if run.outcome == "released"]
    if [result.number for result in found.results] != released:
        raise Refused("gate.lineage", "it is not about all released runs")
    return found
