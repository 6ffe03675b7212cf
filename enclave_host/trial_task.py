"""A trial as the task of a run: there is no agreement, so this says what one would say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enclave_host.cage import Cage, Limits
from enclave_host.computation import Open, Task
from enclave_host.contract import Contract, read_contract
from enclave_host.inputs import Datacage
from enclave_host.lineage import Lineage, State
from enclave_host.output_model import OutputModel
from enclave_host.parties import Parties
from enclave_host.private import Room
from enclave_host.shares import Held, OpenedShare
from enclave_host.state import Reading
from enclave_host.statements import Asked
from enclave_host.table_model import TableModel, read_table_model
from protocol import limits, parameters
from protocol.errors import Refused
from protocol.kinds import agreement as k
from protocol.kinds.algorithm import Bundle, Entry
from protocol.kinds.attestation import Attestation

PERSON: Final = "person"
"""The column of the person where neither the contract nor the caller names one."""

_AUTHOR, _OWNER, _NOBODY = b"\x01" * 32, b"\x02" * 32, bytes(32)
"""Who gets the outputs, whose the rows are: not the same, or nobody would count."""
ROOM: Final = 2 * 2**30
"""Bytes of memory for the rows, as an enclave has by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to try: `tables` are files with Arrow streams, `persons` name their person columns;
    `states` are what an earlier run wrote.
    """

    bundle: Bundle
    environment: Path
    entry: str
    parameters: str
    tables: Mapping[str, Path]
    contracts: Mapping[str, bytes]
    persons: Mapping[str, str]
    states: Mapping[str, bytes]
    rules: k.Rules

    @property
    def point(self) -> Entry:
        """The entry point. Raises Refused (run.order)."""
        for one in self.bundle.manifest.entries:
            if one.name == self.entry:
                return one
        raise Refused("run.order", f"no entry point {self.entry!a}")


def make(trial: Trial, cage: Cage, room: Room) -> Task:
    """The task of a trial, as a session makes that of a run. Raises Refused (run.order,
    share.contract, gate.schema, enclave.full).
    """
    datacage = Datacage(cage, room, trial.environment, Limits(output=ROOM))
    document = _document(trial)
    parameters.check_parameters(document.algorithm.entries[0], trial.parameters)
    values, tables = models(trial)
    return Task(
        asked=Asked(number=1, term=1, nonce=_NOBODY),
        parties=Parties(_NOBODY, document, {}, b""),
        datacage=datacage,
        bundle=trial.bundle,
        contracts={name: _contract(trial, name) for name in trial.bundle.manifest.inputs},
        models=values,
        entry=trial.entry,
        parameters=trial.parameters,
        used=tuple(_open(room, name, trial.tables[name]) for name in trial.bundle.manifest.inputs),
        lineage=Lineage(),
        reading=_reading(trial),
        salts=_NOBODY,
        tables=tables,
        noise=_NOBODY,
    )


def _reading(trial: Trial) -> Reading:
    """The states that the entry point reads, of those that there are."""
    return Reading(
        tuple(
            State(name=name, number=1, salt=_NOBODY, content=trial.states[name], consents=b"")
            for name in trial.point.states
            if name in trial.states
        )
    )


def _contract(trial: Trial, dataset: str) -> Contract:
    files = {one.dataset: one.file for one in trial.bundle.manifest.contracts}
    if dataset in trial.contracts:
        blob = trial.contracts[dataset]
    elif dataset in files:
        blob = trial.bundle.files[files[dataset]]
    else:
        raise Refused("share.contract", f"no data contract for {dataset}: --contract")
    return read_contract(blob, trial.persons.get(dataset, PERSON))


def _open(room: Room, dataset: str, file: Path) -> Open:
    """The rows as a share of one owner, already opened."""
    spool = room.spool()
    with file.open("rb") as stream:
        while piece := stream.read(limits.CHUNK):
            spool.write(piece)
    share = OpenedShare(
        id=_NOBODY,
        owner=_OWNER,
        dataset=dataset,
        header=b"",
        key=_NOBODY,
        replaces=None,
        order=(b"", 0),
        person=None,
    )
    return Open(Held(share, stored=True), spool)


def models(trial: Trial) -> tuple[dict[str, OutputModel], dict[str, TableModel]]:
    """The bundle's models of JSON outputs, and of tables. Raises Refused (gate.schema)."""
    values: dict[str, OutputModel] = {}
    tables: dict[str, TableModel] = {}
    for one in trial.bundle.manifest.models:
        blob = trial.bundle.files[one.file]
        if one.format == "arrow":
            tables[one.output] = read_table_model(one.output, blob)
        else:
            values[one.output] = OutputModel(one.output, blob)
    return values, tables


def _document(trial: Trial) -> k.Agreement:
    """The agreement that there is none of: it says what the author chose, and nothing else."""
    manifest, entry = trial.bundle.manifest, trial.point
    source = k.Source(did=_OWNER, legal_basis="", waits=True)
    agreed = k.AgreedEntry(name=entry.name, parameters=entry.parameters)
    return k.Agreement(
        name="trial",
        space=_NOBODY,
        negotiation=_NOBODY,
        start=0,
        purpose=k.Purpose(
            text="", term="", processing=(), approvals=(), jurisdiction="", duration=1
        ),
        parties=(),
        datasets=tuple(
            k.Dataset(
                id=name,
                contract=_NOBODY,
                person=trial.persons.get(name, PERSON),
                sources=(source,),
            )
            for name in manifest.inputs
        ),
        algorithm=k.Algorithm(
            bundle=_NOBODY,
            environment=manifest.environment,
            provider=_AUTHOR,
            entries=(agreed,),
            reviews_needed=0,
            reviewers=(),
        ),
        outputs=tuple(_output(trial.bundle, name) for name in entry.outputs),
        rules=trial.rules,
        rule_sources=(),
        runs=k.Runs(by=(), at_most=1, attempts=1),
        attestation=Attestation(max_age=1),
        hosts=k.Hosts(candidates=(), lease=1, standbys=0),
        retention=0,
        salt=_NOBODY,
    )


def _output(bundle: Bundle, name: str) -> k.Output:
    """An output as its model says; without one it can only be a state that a later run reads."""
    model = next((one for one in bundle.manifest.models if one.output == name), None)
    if model is not None:
        return k.Output(name=name, format=model.format, to=(_AUTHOR,), subject=False)
    if any(name in entry.states for entry in bundle.manifest.entries):
        return k.Output(name=name, format="state", to=(), subject=False)
    raise Refused("gate.schema", f"the bundle has no output model for {name}: `models` names it")
