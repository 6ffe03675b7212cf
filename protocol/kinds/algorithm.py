"""Algorithm bundles: a manifest and files, content-addressed as one deterministic CBOR archive."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, assert_never

from protocol import limits, shape
from protocol.errors import Refused
from protocol.kinds.share import WrapBytes
from protocol.shape import Hash, Key, Max, Name, Text

Kind = Literal["python", "sql"]
"""In which language its code is written; a runner of the enclave for each."""

File = Annotated[bytes, Max(limits.BLOB)]

CODE: Final = "village/code"
"""The dataset under which a confidential bundle goes to the enclave, as a share of its provider."""

_PATH: Final = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*")
_PATH_FIX: Final = "Letters of ASCII, digits and . _ + - only, and no dot in front."
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_TOLD: Final = 8
"""Faults named at once to somebody who did not pack the bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A typed parameter of an entry point.

    `any_of`: the value is a non-empty list without repeats out of `choices` (order free);
    `one_of`: exactly one of them; `integer`: a number from `low` to `high`.
    """

    name: Name
    type: Literal["any_of", "one_of", "integer"]
    choices: tuple[Name, ...] = ()
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry point: `outputs` names what it returns, `states` what it reads of earlier runs.

    `function` is "module:function" (python), or a folder with one OUTPUT.sql for each output (sql).
    A state that it writes is one of its outputs; it may be one of its `states` too.
    """

    name: Name
    function: Name
    parameters: tuple[Parameter, ...]
    outputs: tuple[Name, ...]
    states: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The data contract (ODCS) of one input, as a `file` of the bundle."""

    dataset: Name
    file: Name


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The output model of one output, as a `file` of the bundle: a JSON Schema, or for `arrow` a
    data contract (ODCS) with closed columns.
    """

    output: Name
    file: Name
    format: Literal["json", "arrow"] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself; `inputs` are data contract ids it reads.

    `contracts` and `models` name the documents about inputs and outputs that it brings along.
    """

    name: Name
    version: Name
    kind: Kind
    author: Name
    licence: Name
    environment: Hash
    inputs: tuple[Name, ...]
    contracts: tuple[Contract, ...] = ()
    entries: tuple[Entry, ...]
    models: tuple[Model, ...] = ()
    description: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The archive: manifest, and files by relative POSIX path. Its digest is SHA-256."""

    manifest: Manifest
    files: dict[str, File]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderWrap:
    """The key of a sealed bundle, for one who may read it."""

    to: Key
    sealed: WrapBytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBundle:
    """A confidential bundle as members fetch it (protocol.sealing.code).

    In clear are its `manifest`, the `documents` that this names (contracts of inputs, models of
    outputs) and the `digest` of the whole bundle; `sealed` is the bundle under a key that is
    wrapped to its author and to each reviewer.
    """

    manifest: Manifest
    documents: dict[str, File]
    digest: Hash
    wraps: tuple[ReaderWrap, ...]
    sealed: File


def unpack(data: bytes) -> Bundle:
    """The bundle in `data`. Raises Refused (codec.*, shape.mismatch, algorithm.bundle)."""
    bundle = shape.decode(Bundle, data, limits.BLOB)
    found = faults(bundle)
    if found:
        raise Refused("algorithm.bundle", "; ".join(map(str, found[:_TOLD])))
    return bundle


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a bundle: in `file`, or at `place` of its manifest."""

    file: str
    place: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{ascii(self.file or self.place)[1:-1][: limits.NAME]}: {self.detail}"


def faults(bundle: Bundle) -> tuple[Fault, ...]:
    """All that keeps a bundle from being one thing to everybody, or from running at all."""
    return (*_paths(bundle.files), *_names(bundle), *_documents(bundle), *_entries(bundle))


def _paths(files: Mapping[str, bytes]) -> Iterator[Fault]:
    """Paths that every file system, archive and reader takes for the same."""
    known: dict[str, str] = {}
    folders = {path[:at].lower() for path in files for at in range(len(path)) if path[at] == "/"}
    for path in sorted(files):
        if not _PATH.fullmatch(path) or path.count("/") >= limits.DEPTH:
            yield Fault(path, "", "This path is refused.", _PATH_FIX)
        twin = known.setdefault(path.lower(), path)
        if twin != path or path.lower() in folders:
            yield Fault(path, "", "Some file systems take it for another file.", "Rename it.")


def _names(bundle: Bundle) -> Iterator[Fault]:
    """Names that may become those of files, tables and variables, on anybody's machine."""
    named = [("inputs", name) for name in bundle.manifest.inputs]
    for number, entry in enumerate(bundle.manifest.entries):
        at = f"entries[{number}]"
        named += [(f"{at}.name", entry.name)]
        named += [(f"{at}.parameters", one.name) for one in entry.parameters]
        named += [(f"{at}.outputs", name) for name in entry.outputs]
        named += [(f"{at}.states", name) for name in entry.states]
    for place, name in named:
        if not _NAME.fullmatch(name):
            detail = f"{name[:40]!a} cannot be a name."
            yield Fault("", place, detail, "Letters of ASCII, digits and . _ -, no dot in front.")


def _documents(bundle: Bundle) -> Iterator[Fault]:
    """Contracts of inputs and models of outputs: each once, of what there is, in a file."""
    manifest = bundle.manifest
    outputs = {name for entry in manifest.entries for name in entry.outputs}
    shipped = (
        *((f"contracts.{one.dataset}", one.dataset, one.file) for one in manifest.contracts),
        *((f"models.{one.output}", one.output, one.file) for one in manifest.models),
    )
    yield from _unique("inputs", manifest.inputs)
    yield from _unique("contracts", [one.dataset for one in manifest.contracts])
    yield from _unique("models", [one.output for one in manifest.models])
    for place, name, file in shipped:
        if name not in (manifest.inputs if place.startswith("contracts") else outputs):
            yield Fault("", place, "Nothing in the manifest has this name.", "Correct the name.")
        if file not in bundle.files:
            yield Fault("", place, f"There is no file {file!a}.", "Add it, or correct the path.")


def _entries(bundle: Bundle) -> Iterator[Fault]:
    entries = bundle.manifest.entries
    yield from _unique("entries", [entry.name for entry in entries])
    if not entries:
        yield Fault("", "entries", "There is no entry point.", "Add one.")
    for number, entry in enumerate(entries):
        at = f"entries[{number}]"
        yield from _unique(f"{at}.parameters", [one.name for one in entry.parameters])
        yield from _unique(f"{at}.outputs", entry.outputs)
        yield from _unique(f"{at}.states", entry.states)
        if not entry.outputs:
            yield Fault("", f"{at}.outputs", "It returns nothing.", "Name what it returns.")
        yield from _code(bundle, entry, at)


def _code(bundle: Bundle, entry: Entry, at: str) -> Iterator[Fault]:
    """Where the code of an entry point stands."""
    place, function = f"{at}.function", entry.function
    match bundle.manifest.kind:
        case "python":
            if not _FUNCTION.fullmatch(function):
                yield Fault("", place, "This is no function.", 'As in "module:function".')
            elif not any(path in bundle.files for path in modules(function)):
                file = modules(function)[0]
                yield Fault("", place, f"There is no file {file!a}.", "Add it, or correct it.")
        case "sql":
            if entry.states:
                yield Fault("", f"{at}.states", "SQL keeps no state.", "Leave it out.")
            for file in queries(entry).values():
                if file not in bundle.files:
                    yield Fault("", place, f"There is no file {file!a}.", "Add it, or correct it.")
        case other:
            assert_never(other)


def modules(function: str) -> tuple[str, str]:
    """The two files in which the module of a python entry point may stand."""
    path = function.partition(":")[0].replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def queries(entry: Entry) -> dict[str, str]:
    """Output -> file of the bundle with its one SELECT, of an entry point in SQL."""
    return {output: f"{entry.function}/{output}.sql" for output in entry.outputs}


def _unique(place: str, names: Sequence[str]) -> Iterator[Fault]:
    if len(set(names)) < len(names):
        yield Fault("", place, "A name stands there twice.", "Leave one out.")
