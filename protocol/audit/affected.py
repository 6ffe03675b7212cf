"""Which past runs an advisory touches: what was computed on an enclave that is now withdrawn.

A run counts from its start: from then on data lay open in the enclave, whether it ended or not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from protocol.attestation.advisories import hits
from protocol.audit import bundle, feeds, replay
from protocol.audit.findings import Ledger
from protocol.kinds.advisory import Measured
from protocol.machines.advisories import Given
from protocol.machines.agreement import Collaboration
from protocol.machines.election import Elected


@dataclass(frozen=True, slots=True)
class Affected:
    """One run in one term, the advisory that touches it, and which voters measured what it names.

    `record` is the run record's id if the number ended in this term.
    """

    agreement: str
    number: int
    term: int
    record: bytes | None
    host: bytes
    advisory: Given
    measured_by: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file says: the affected runs, how many runs and advisories were looked at, how many
    faults its histories have, and what it calls a participant.
    """

    affected: tuple[Affected, ...]
    runs: int
    advisories: int
    faults: int
    name: Callable[[bytes], str]


def survey(data: bytes, now: int) -> Survey:
    """Look through an audit file at unix time `now`. Raises Refused (audit.*) if it is none."""
    ledger = Ledger()
    topics = feeds.open_topics(bundle.read(data), ledger)
    feeds.check_feeds(topics, ledger)
    spaces = {
        one.opening.topic: space
        for one in topics
        if one.opening.type == "space"
        and (space := replay.replay_space(one, now, ledger)) is not None
    }
    found: list[Affected] = []
    runs = 0
    for one in topics:
        machine = replay.replay_agreement(one, ledger) if one.opening.type == "agreement" else None
        if machine is None:
            continue
        runs += len(ran(machine))
        space = spaces.get(machine.document.space)
        if space is not None:
            found += affected(machine, space.advisories.in_force(space.terms.advisors))
    given = (one.advisories.in_force(one.terms.advisors) for one in spaces.values())
    faults = len(ledger.report("").findings)
    return Survey(tuple(found), runs, sum(map(len, given)), faults, ledger.name)


def ran(machine: Collaboration) -> list[tuple[int, int]]:
    """Number and term of every run that started, in order."""
    ended = {(number, run.term) for number, (_, run) in machine.runs.committed().items()}
    return sorted({*machine.runs.started, *ended})


def affected(machine: Collaboration, given: Iterable[Given]) -> tuple[Affected, ...]:
    """The runs of an agreement that these advisories touch."""
    advisories = tuple(given)
    return tuple(
        one
        for number, term in ran(machine)
        if (elected := machine.election.elected(term)) is not None
        for one in _touched(machine, number, elected, advisories)
    )


def _touched(
    machine: Collaboration, number: int, elected: Elected, advisories: Iterable[Given]
) -> Iterator[Affected]:
    committed = machine.runs.committed().get(number)
    ended = committed is not None and committed[1].term == elected.term
    measured = dict(_measured(machine, elected.appointment.candidacy))
    for one in advisories:
        by = tuple(sorted(did for did, what in measured.items() if hits(one.advisory, what)))
        if by:
            yield Affected(
                agreement=machine.document.name,
                number=number,
                term=elected.term,
                record=committed[0].id if ended and committed is not None else None,
                host=elected.appointment.host,
                advisory=one,
                measured_by=by,
            )


def _measured(machine: Collaboration, candidacy: bytes) -> Iterator[tuple[bytes, Measured]]:
    for (offered, voter), measured in machine.election.measured.items():
        if offered == candidacy:
            yield voter, measured


def as_json(one: Affected, name: Callable[[bytes], str]) -> dict[str, object]:
    """An affected run for programs and screens; `name` says what to call a participant."""
    advisory = one.advisory.advisory
    return {
        "agreement": one.agreement,
        "run": one.number,
        "term": one.term,
        "ended": one.record is not None,
        "record": one.record.hex() if one.record is not None else None,
        "host": name(one.host),
        "advisory": one.advisory.record.id.hex(),
        "by": name(one.advisory.record.author),
        "reason": advisory.reason,
        "reference": advisory.reference,
        "measured_by": sorted(map(name, one.measured_by)),
    }
