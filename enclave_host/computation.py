"""One run, from open shares to what the gate lets through: two sandboxes, one after the other; what
is between them, and the gate after them, is the trusted process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from enclave_host import contributors, logs, outputs, sql, state
from enclave_host.budget import charges
from enclave_host.cage import Job, Limits, Outcome, memory
from enclave_host.contract import Contract
from enclave_host.contributors import Contributor, Contributors
from enclave_host.gate import Gate, Passed, Stopped
from enclave_host.inputs import Combined, Datacage, Keys, Piece, combine
from enclave_host.lineage import Lineage, State
from enclave_host.noising import Noising
from enclave_host.output_model import OutputModel
from enclave_host.outputs import Leaving
from enclave_host.parties import Parties
from enclave_host.private import Spool
from enclave_host.shares import Held
from enclave_host.state import Reading
from enclave_host.statements import Asked
from enclave_host.table_model import TableModel
from enclave_host.tables import Tables
from protocol import ceilings
from protocol.errors import Refused
from protocol.keys import digest
from protocol.kinds.agreement import Agreement, Output
from protocol.kinds.algorithm import Bundle
from protocol.kinds.run import Charge, GateCheck


@dataclass(frozen=True, slots=True)
class Open:
    """A share that is open for this run: its rows lie in `spool`."""

    held: Held
    spool: Spool


@dataclass(frozen=True, slots=True)
class Task:
    """All that a computation needs; nothing in it changes while it runs.

    `asked` is the attempt that it belongs to, `salts` the secret from which output salts come,
    `noise` that of the noise; `tables` are the models of Arrow outputs.
    """

    asked: Asked
    parties: Parties
    datacage: Datacage
    bundle: Bundle
    contracts: Mapping[str, Contract]
    models: Mapping[str, OutputModel]
    entry: str
    parameters: str
    used: tuple[Open, ...]
    lineage: Lineage
    reading: Reading
    salts: bytes
    tables: Mapping[str, TableModel]
    noise: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of it. `stopped` is set where nothing leaves, `failed` where the code failed.

    `people` are all whom it rests on, `fresh` those in the rows of this run; `states` what it
    wrote; `logs` leave whatever became of it; `charges` are for what was learned of the data.
    """

    rows: int
    people: Contributors
    fresh: Contributors = field(default_factory=dict)
    checks: tuple[GateCheck, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    states: tuple[State, ...] = ()
    logs: tuple[Leaving, ...] = ()
    charges: tuple[Charge, ...] = ()
    stopped: Stopped | None = None
    failed: Refused | None = None


def compute(task: Task) -> Finding:
    """Combine, look at the people, run, gate.

    Raises only what is not the run's fault (such as a broken sandbox).
    """
    try:
        combined = combine_shares(task)
    except Refused as refused:
        if refused.code == "run.overlap":
            return Finding(0, {}, stopped=Stopped("held", refused.code, refused.detail))
        return Finding(0, {}, failed=refused)
    try:
        return _computed(task, combined)
    finally:
        forget(combined)


def _computed(task: Task, combined: Mapping[str, Combined]) -> Finding:
    fresh = people_in(task, combined)
    earlier = [task.lineage.people([n]) for n in task.lineage.behind(task.reading.read)]
    people = contributors.united([fresh, *earlier])
    rows = sum(len(one.tags) for one in combined.values())
    entry = next(one for one in task.bundle.manifest.entries if one.name == task.entry)
    parts = [fresh, *earlier] if earlier else []
    gate = gate_for(task, entry.outputs, people, rows, parts)
    found = Finding(rows, people, fresh)
    stopped = gate.judge_people(task.lineage)
    if stopped is not None:
        return replace(found, checks=tuple(gate.checks), stopped=stopped)
    # From here on something is learned of the data, whatever comes of it.
    found = replace(found, charges=charges(task.parties, entry, combined))
    outcome = run_code(task, combined)
    told = logs.leaving(task.parties, task.bundle, [people, *parts], outcome, task.salts)
    found = replace(found, logs=told)
    if outcome.status != "ok":
        failed = Refused("run.failed", f"the algorithm ended as {outcome.status}")
        return replace(found, failed=failed)
    verdict = gate.judge(outcome.output)
    found = replace(found, checks=tuple(gate.checks))
    if isinstance(verdict, Stopped):
        return replace(found, stopped=verdict)
    return _passed(task, found, verdict, combined)


def gate_for(
    task: Task,
    names: Sequence[str],
    people: Contributors,
    rows: int,
    parts: Sequence[Contributors] = (),
) -> Gate:
    """The gate of this run, for the outputs of one entry point."""
    rules = task.parties.document.rules
    noise = None
    if rules.noise is not None:
        marked = sum(len(task.models[name].model.noised) for name in names if name in task.models)
        noise = Noising(task.noise, rules, marked)
    tables = Tables(task.datacage, task.tables)
    return Gate(task.parties, task.models, names, people, rows, tables, noise, parts)


def _passed(
    task: Task, found: Finding, verdict: Passed, combined: Mapping[str, Combined]
) -> Finding:
    """What the gate let through: to recipients, and into the states of the agreement."""
    consents = state.consents_of(one.held for one in task.used) + task.reading.consents()
    number = task.asked.number
    states = state.write(verdict.states, number, task.salts, task.parties.id, consents)
    try:
        state.in_force(task.lineage, task.reading, states)
    except Refused as refused:
        return replace(found, stopped=Stopped("refused", refused.code, refused.detail))
    return replace(found, leaving=_leaving(task, verdict, combined), states=states)


def combine_shares(task: Task) -> dict[str, Combined]:
    """The tables by dataset, each of its shares in the order of `task.used`. The caller forgets
    them. Raises Refused (share.contract, run.overlap, run.failed, enclave.full).
    """
    keys = Keys(contributors.key(task.parties.id), outputs.person_key(task.salts))
    found: dict[str, Combined] = {}
    try:
        for dataset in task.parties.document.datasets:
            pieces = [
                Piece(one.spool, one.held.share.person.value if one.held.share.person else None)
                for one in _of(task, dataset.id)
            ]
            if pieces:
                contract = task.contracts[dataset.id]
                found[dataset.id] = combine(task.datacage, contract, dataset, pieces, keys)
    except BaseException:
        forget(found)
        raise
    return found


def forget(combined: Mapping[str, Combined]) -> None:
    """Wipe the tables of a run."""
    for one in combined.values():
        one.table.wipe()


def _of(task: Task, dataset: str) -> list[Open]:
    return [one for one in task.used if one.held.share.dataset == dataset]


def people_in(task: Task, combined: Mapping[str, Combined]) -> Contributors:
    """Every person in the rows, with all that supplied it."""
    people = task.parties.document.people
    rows, known = [], []
    several = len(task.parties.document.datasets) > 1
    for name, table in combined.items():
        opened = _of(task, name)
        for held, tag, content in zip(
            _owner_of_rows(opened, table), table.tags, table.contents, strict=True
        ):
            own = held.share.person is not None
            vouched = frozenset({people.registrar} if own and people else ())
            supplied = frozenset(() if own else {held.share.owner})
            supplier = Contributor(organizations=supplied, own=own, vouched=vouched)
            # Else a row that moved between two datasets of equal columns would be no change.
            said = digest("dataset-row", name.encode(), content)[:16] if several else content
            rows.append((tag, supplier, said))
        for one, left_out in zip(opened, table.left_out, strict=True):
            known += [(tag, one.held.share.owner) for tag in left_out]
    return contributors.known(contributors.gather(rows), known)


def _owner_of_rows(opened: list[Open], table: Combined) -> list[Held]:
    return [one.held for one, count in zip(opened, table.rows, strict=True) for _ in range(count)]


def run_code(task: Task, combined: Mapping[str, Combined]) -> Outcome:
    """What the approved code returns. Only how it ended is known outside, and of its log what the
    agreement says.
    """
    entry = next(one for one in task.bundle.manifest.entries if one.name == task.entry)
    datacage = task.datacage
    tables = {f"tables/{name}": one.table.shown for name, one in combined.items()}
    contents = {f"state/{name}": one for name, one in task.reading.contents().items()}
    if task.bundle.manifest.kind == "sql":
        contents["plan"] = sql.plan(task.parties.document, entry)
    elif entry.states:
        contents["plan"] = state.plan(entry.states)
    with memory.files(contents) as inputs:
        job = Job(
            environment=datacage.environment,
            code=task.bundle.files,
            inputs={**tables, **inputs},
            entry=entry.function,
            parameters=task.parameters.encode(),
            limits=_limits(task.parties.document),
            kind=task.bundle.manifest.kind,
        )
        return datacage.cage.run(job)


def _limits(document: Agreement) -> Limits:
    """What the agreement lets a run use: the same on every host."""
    found = dict(ceilings.values(ceilings.agreed(document)))
    del found["quantum"]
    return Limits(**found)


def _leaving(task: Task, passed: Passed, combined: Mapping[str, Combined]) -> tuple[Leaving, ...]:
    """Each output for each recipient."""
    found: list[Leaving] = []
    for output in task.parties.document.outputs:
        if output.name in passed.whole:
            found += _whole(task, output, passed.whole[output.name])
        if output.name in passed.parts:
            found += _parts(task, output.name, passed.parts[output.name], combined)
    return tuple(found)


def _whole(task: Task, output: Output, content: bytes) -> list[Leaving]:
    """The same for each party that the agreement names."""
    return [
        Leaving(
            name=output.name,
            to=did,
            person=False,
            gateway=None,
            sealing=task.parties.members[did].sealing,
            salt=outputs.salt(task.salts, output.name, did),
            format="arrow" if output.format == "arrow" else "json",
            content=content,
        )
        for did in output.to
    ]


def _parts(
    task: Task, name: str, parts: Mapping[int, bytes], combined: Mapping[str, Combined]
) -> list[Leaving]:
    """The own part of each person who asked to be told; the agreement has one dataset then."""
    found = []
    for dataset, table in combined.items():
        opened = _of(task, dataset)
        ends = accumulate(table.rows)
        for end, count, one in zip(ends, table.rows, opened, strict=True):
            person = one.held.share.person
            mine = [parts[row] for row in range(end - count, end) if row in parts]
            if person is None or not person.consent.body.told or not mine:
                continue
            found.append(
                Leaving(
                    name=name,
                    to=person.key,
                    person=True,
                    gateway=person.consent.body.gateway,
                    sealing=person.sealing,
                    salt=outputs.salt(task.salts, name, person.key),
                    format="json",
                    content=mine[0] if len(mine) == 1 else b"[" + b",".join(mine) + b"]",
                )
            )
    return found
