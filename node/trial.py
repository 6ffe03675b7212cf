"""Trying an algorithm: the author's files become tables as a provider's would, and then
`village-enclave try` runs the code on them, in a process of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, Final

import trio

from node.algorithm_check import Checked
from node.connectors.process import Source, reading
from node.documents import contract_file
from protocol import shape
from protocol.errors import ProtocolError
from protocol.kinds.algorithm import Bundle, Entry

PERSON: Final = "person"


class TrialFault(ProtocolError):
    """A trial could not be made; the text says why, `fix` what would help."""

    code = "algorithm.try"

    def __init__(self, detail: str, fix: str) -> None:
        """Say what is wrong."""
        self.detail = detail
        self.fix = fix
        super().__init__(f"{detail} {fix}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to try. `tables` are files of rows by dataset; `contracts` and `persons` take the place
    of what the bundle says; `states` are what an earlier run wrote; `out` is a folder for what the
    gate lets through.
    """

    checked: Checked
    environment: Path
    tables: Mapping[str, Path]
    contracts: Mapping[str, Path]
    persons: Mapping[str, str]
    states: Mapping[str, Path]
    entry: str | None
    parameters: Mapping[str, Any]
    min_contributors: int
    precision: int
    out: Path | None


def run(wanted: Wanted) -> dict[str, Any]:
    """Try it. Raises TrialFault, SourceError."""
    bundle = wanted.checked.bundle
    entry = entry_of(bundle, wanted.entry)
    _require_tables(bundle, wanted.tables)
    words: list[str] = []
    files: tuple[int, ...] = ()
    with ExitStack() as held:
        for dataset in bundle.manifest.inputs:
            contract = _contract(wanted, dataset)
            person = wanted.persons.get(dataset) or contract_file.person(contract) or PERSON
            table, document = held.enter_context(_memory()), held.enter_context(_memory())
            document.write(contract)
            source = Source(file=wanted.tables[dataset], contract=contract, person=person)
            trio.run(_read, source, table)
            words += ["--table", f"{dataset}={_seen(table)}"]
            words += ["--contract", f"{dataset}={_seen(document)}"]
            words += ["--person", f"{dataset}={person}"]
            files += (table.fileno(), document.fileno())
        for name, file in wanted.states.items():
            words += ["--state", f"{name}={file}"]
        return _start(wanted, entry.name, words, files)


def entry_of(bundle: Bundle, name: str | None) -> Entry:
    """The entry point of this name, or the only one. Raises TrialFault."""
    entries = {entry.name: entry for entry in bundle.manifest.entries}
    if name is None and len(entries) == 1:
        return bundle.manifest.entries[0]
    if name not in entries:
        raise TrialFault("Which entry point?", f"--entry, one of: {', '.join(entries)}.")
    return entries[name]


def _require_tables(bundle: Bundle, tables: Mapping[str, Path]) -> None:
    inputs = bundle.manifest.inputs
    for dataset in inputs:
        if dataset not in tables:
            raise TrialFault(f"There are no rows of {dataset}.", f"--table {dataset}=FILE")
    strange = sorted(tables.keys() - set(inputs))
    if strange:
        raise TrialFault(f"It reads no {strange[0]!a}.", f"It reads: {', '.join(inputs)}.")


def _contract(wanted: Wanted, dataset: str) -> bytes:
    if dataset in wanted.contracts:
        return contract_file.load(wanted.contracts[dataset])
    bundle = wanted.checked.bundle
    files = {one.dataset: one.file for one in bundle.manifest.contracts}
    if dataset not in files:
        detail = f"The bundle ships no data contract for {dataset}."
        raise TrialFault(detail, f"Name it under `contracts`, or --contract {dataset}=FILE.")
    return bundle.files[files[dataset]]


@contextmanager
def _memory() -> Iterator[FileIO]:
    """A file in memory alone: of rows that are somebody's nothing stays, however this ends."""
    with open(os.memfd_create("village-try"), "wb", buffering=0) as file:
        yield file


def _seen(file: FileIO) -> str:
    """The file as a process sees it to which it is passed."""
    return f"/proc/self/fd/{file.fileno()}"


async def _read(source: Source, table: FileIO) -> None:
    """Read a file as a provider's node does, into `table`. Raises SourceError."""
    async with reading(source) as rows:
        await trio.to_thread.run_sync(partial(_write, table, rows.pieces))


def _write(table: FileIO, pieces: Any) -> None:  # noqa: ANN401 (a method of Reading)
    for piece, _ in pieces():
        rest = piece
        while rest:
            rest = rest[table.write(rest) :]


def _start(
    wanted: Wanted, entry: str, words: Sequence[str], files: Sequence[int]
) -> dict[str, Any]:
    command = [sys.executable, "-m", "enclave_host.main", "try", *words]
    command += ["--environment", str(wanted.environment), "--entry", entry]
    command += ["--parameters", json.dumps(dict(wanted.parameters))]
    command += ["--min-contributors", str(wanted.min_contributors)]
    command += ["--precision", str(wanted.precision)]
    command += [] if wanted.out is None else ["--out", str(wanted.out.absolute())]
    done = subprocess.run(  # noqa: S603 (our own command line)
        command,
        input=shape.encode(wanted.checked.bundle),
        capture_output=True,
        check=False,
        pass_fds=files,
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        detail, fix = said if len(said) == 2 else [said[-1], ""]
        raise TrialFault(detail, fix)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
