"""One run, from open shares to what the gate lets through: two sandboxes, one after the other; what
is between them, and the gate after them, is the trusted process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from enclave_host import contributors, outputs
from enclave_host.cage import Job
from enclave_host.contract import Contract
from enclave_host.contributors import Contributor, Contributors
from enclave_host.gate import Gate, Passed, Stopped
from enclave_host.inputs import Combined, Datacage, Piece, combine
from enclave_host.lineage import Lineage
from enclave_host.output_model import OutputModel
from enclave_host.outputs import Leaving
from enclave_host.parties import Parties
from enclave_host.private import Spool
from enclave_host.shares import Held
from enclave_host.statements import Asked
from protocol import limits
from protocol.errors import Refused
from protocol.kinds.agreement import Output
from protocol.kinds.algorithm import Bundle
from protocol.kinds.run import GateCheck


@dataclass(frozen=True, slots=True)
class Open:
    """A share that is open for this run: its rows lie in `spool`."""

    held: Held
    spool: Spool


@dataclass(frozen=True, slots=True)
class Task:
    """All that a computation needs; nothing in it changes while it runs.

    `asked` is the attempt that it belongs to, `salts` the secret from which output salts come.
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
    salts: bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of it. `stopped` is set where nothing leaves, `failed` where the code failed."""

    rows: int
    people: Contributors
    checks: tuple[GateCheck, ...] = ()
    leaving: tuple[Leaving, ...] = ()
    stopped: Stopped | None = None
    failed: Refused | None = None


def compute(task: Task) -> Finding:
    """Combine, look at the people, run, gate.

    Raises only what is not the run's fault (such as a broken sandbox).
    """
    try:
        combined = _combine(task)
    except Refused as refused:
        return Finding(0, {}, failed=refused)
    people = _people(task, combined)
    rows = sum(len(one.persons) for one in combined.values())
    entry = next(one for one in task.bundle.manifest.entries if one.name == task.entry)
    gate = Gate(task.parties, task.models, entry.outputs, people, rows)
    stopped = gate.judge_people(task.lineage)
    if stopped is not None:
        return Finding(rows, people, tuple(gate.checks), stopped=stopped)
    try:
        raw = _run(task, {name: one.table for name, one in combined.items()})
    except Refused as refused:
        return Finding(rows, people, failed=refused)
    verdict = gate.judge(raw)
    checks = tuple(gate.checks)
    if isinstance(verdict, Stopped):
        return Finding(rows, people, checks, stopped=verdict)
    return Finding(rows, people, checks, leaving=_leaving(task, verdict, combined))


def _combine(task: Task) -> dict[str, Combined]:
    """The tables by dataset, each of its shares in the order of `task.used`."""
    found = {}
    for dataset in task.parties.document.datasets:
        pieces = [
            Piece(one.spool, one.held.share.person.value if one.held.share.person else None)
            for one in _of(task, dataset.id)
        ]
        if pieces:
            contract = task.contracts[dataset.id]
            found[dataset.id] = combine(task.datacage, contract, dataset.person, pieces)
    return found


def _of(task: Task, dataset: str) -> list[Open]:
    return [one for one in task.used if one.held.share.dataset == dataset]


def _people(task: Task, combined: Mapping[str, Combined]) -> Contributors:
    """Every person in the rows, with all that supplied it."""
    people = task.parties.document.people
    rows = []
    for name, table in combined.items():
        owners = _owner_of_rows(_of(task, name), table)
        for held, person, content in zip(owners, table.persons, table.contents, strict=True):
            own = held.share.person is not None
            vouched = frozenset({people.registrar} if own and people else ())
            supplied = frozenset(() if own else {held.share.owner})
            supplier = Contributor(organizations=supplied, own=own, vouched=vouched)
            rows.append((contributors.tag(task.parties.id, person), supplier, content))
    return contributors.gather(rows)


def _owner_of_rows(opened: list[Open], table: Combined) -> list[Held]:
    return [one.held for one, count in zip(opened, table.rows, strict=True) for _ in range(count)]


def _run(task: Task, tables: Mapping[str, bytes]) -> bytes:
    """What the approved code returns. Only whether it ended well is known outside: its log, its
    error and its time stay here. Raises Refused (run.failed).
    """
    entry = next(one for one in task.bundle.manifest.entries if one.name == task.entry)
    datacage = task.datacage
    with datacage.room.stage() as stage:
        code, inputs = stage / "code", stage / "inputs"
        (inputs / "tables").mkdir(parents=True)
        for name, content in task.bundle.files.items():
            _write(code / name, content)
        for name, content in tables.items():
            _write(inputs / "tables" / f"{name}.arrow", content)
        job = Job(
            environment=datacage.environment,
            code=code,
            inputs=inputs,
            entry=entry.function,
            parameters=task.parameters.encode(),
            limits=replace(datacage.limits, output=limits.OUTPUT),
            kind=task.bundle.manifest.kind,
        )
        outcome = datacage.cage.run(job)
    if outcome.status != "ok":
        raise Refused("run.failed", f"the algorithm ended as {outcome.status}")
    return outcome.output


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _leaving(task: Task, passed: Passed, combined: Mapping[str, Combined]) -> tuple[Leaving, ...]:
    """Each output for each recipient."""
    found: list[Leaving] = []
    for output in task.parties.document.outputs:
        if output.name in passed.whole:
            found += _whole(task, output, passed.whole[output.name])
        if output.name in passed.parts:
            found += _parts(task, output.name, passed.parts[output.name], combined)
    return tuple(found)


def _whole(task: Task, output: Output, json: bytes) -> list[Leaving]:
    """The same for each party that the agreement names."""
    return [
        Leaving(
            name=output.name,
            to=did,
            person=False,
            gateway=None,
            sealing=task.parties.members[did].sealing,
            salt=outputs.salt(task.salts, output.name, did),
            json=json,
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
                    json=mine[0] if len(mine) == 1 else b"[" + b",".join(mine) + b"]",
                )
            )
    return found
