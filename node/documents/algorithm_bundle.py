"""An algorithm's folder with its manifest.yaml -> the bundle that everyone knows by digest.

The bundle holds every file of the folder, so that a changed word in a README is another algorithm.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args, get_type_hints

from node.config import ConfigError, Problem
from node.config.problems import shown
from node.documents import strict_yaml
from node.documents.fields import Problems, Table, read_digest
from protocol import limits, shape
from protocol.kinds import algorithm
from protocol.kinds.algorithm import Bundle, Contract, Entry, Kind, Manifest, Model, Parameter

MANIFEST: Final = "manifest.yaml"
KINDS: Final = get_args(Kind)
FORMATS: Final[Mapping[str, Literal["json", "arrow"]]] = {".json": "json", ".odcs.yaml": "arrow"}
"""How the file of an output model ends -> the format of the output."""

_LEFT_OUT: Final = frozenset({"__pycache__"})
_TYPES: Final = get_args(get_type_hints(Parameter)["type"])
_BIGGEST: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A bundle ready to publish: exact bytes, their digest, what is in them."""

    raw: bytes
    digest: bytes
    bundle: Bundle

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest


def pack(folder: Path, environments: Mapping[str, bytes]) -> Packed:
    """The bundle of `folder`; `environments` maps the names of environments to their digests.

    Raises ConfigError with every fault of the folder and its manifest, by file and line, Refused
    (codec.too-large) if the whole is larger than limits.BLOB.
    """
    bundle = read(folder, environments)
    raw = shape.encode(bundle)
    # Every reader must be able to do the same.
    return Packed(raw=raw, digest=hashlib.sha256(raw).digest(), bundle=algorithm.unpack(raw))


def read(folder: Path, environments: Mapping[str, bytes]) -> Bundle:
    """The bundle of `folder`, not yet encoded. Raises ConfigError as `pack` does."""
    strange: list[Problem] = []
    files = dict(_files(folder, strange))
    if MANIFEST not in files:
        raise _refused(folder / MANIFEST, "The folder has no manifest.", "Write manifest.yaml.")
    value, lines = strict_yaml.load(files[MANIFEST], MANIFEST)
    problems = Problems(MANIFEST, lines)
    bundle = Bundle(manifest=_manifest(problems.table(value), environments), files=files)
    for problem in strange:
        problems.take(problem)
    for fault in algorithm.faults(bundle):
        if fault.file:
            problems.take(Problem(0, "", fault.detail, fault.fix, file=shown(fault.file)))
        elif not problems.noted(fault.place):
            problems.add(fault.place, fault.detail, fault.fix)
    problems.check()
    return bundle


def _manifest(top: Table, environments: Mapping[str, bytes]) -> Manifest:
    """Field by field as in the protocol."""
    return Manifest(
        name=top.text("name"),
        version=top.text("version"),
        kind=cast("Kind", top.choice("kind", KINDS)),
        author=top.text("author"),
        licence=top.text("licence"),
        environment=_environment(top, environments),
        inputs=top.texts("inputs"),
        contracts=tuple(_contracts(top.table("contracts", optional=True))),
        entries=tuple(_entry(row) for row in top.rows("entries")),
        models=tuple(_models(top.table("models", optional=True))),
        description=top.text("description", size=limits.TEXT),
    )


def _environment(top: Table, environments: Mapping[str, bytes]) -> bytes:
    """The digest that stands there, or that of a name."""
    text = top.text("environment")
    found = environments.get(text) or read_digest(text)
    if found is None and text:
        names = f", or: {', '.join(sorted(environments))}" if environments else ""
        fix = f"village algorithm env build LOCK; sha256: and 64 digits{names}."
        top.problem("environment", f"No environment {shown(text)} is known here.", fix)
    return found or bytes(32)


def _contracts(table: Table) -> Iterator[Contract]:
    for dataset in table:
        yield Contract(dataset=dataset, file=table.text(dataset))


def _models(table: Table) -> Iterator[Model]:
    """The format of an output follows from the end of its model's name."""
    for output in table:
        file = table.text(output)
        formats = [format_ for end, format_ in FORMATS.items() if file.endswith(end)]
        if file and not formats:
            table.problem(output, "This is no output model.", f"It ends in {' or '.join(FORMATS)}.")
        yield Model(output=output, file=file, format=(*formats, "json")[0])


def _entry(row: Table) -> Entry:
    return Entry(
        name=row.text("name"),
        function=row.text("function"),
        parameters=tuple(_parameter(one) for one in row.rows("parameters", optional=True)),
        outputs=row.texts("outputs", ()),
        states=row.texts("states", ()),
    )


def _parameter(row: Table) -> Parameter:
    name, kind = row.text("name"), row.choice("type", _TYPES)
    if kind == "integer":
        low, high = (row.number(key, -_BIGGEST, _BIGGEST) for key in ("low", "high"))
        if low > high:
            row.problem("high", "It is lower than low.", "Exchange them.")
        return Parameter(name=name, type="integer", low=low, high=high)
    choices = row.texts("choices")
    if not choices:
        row.problem("choices", "There is nothing to choose from.", "Name at least one.")
    return Parameter(name=name, type=cast("Literal['any_of', 'one_of']", kind), choices=choices)


def _files(folder: Path, strange: list[Problem]) -> Iterator[tuple[str, bytes]]:
    """Relative POSIX path and content of each file; bounded in number and size."""
    total = 0
    for number, path in enumerate(sorted(_paths(folder, strange))):
        total += path.lstat().st_size
        if number >= limits.ITEMS or total > limits.BLOB:
            raise _refused(folder, "The folder is too large.", "Keep data out of the bundle.")
        try:
            yield path.relative_to(folder).as_posix(), path.read_bytes()
        except OSError as error:
            _unreadable(error)


def _paths(folder: Path, strange: list[Problem]) -> Iterator[Path]:
    """The files that count; what is no plain file is noted in `strange`."""
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if _counts(name)]
        for path in (Path(here, name) for name in [*folders, *names] if _counts(name)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                name = shown(path.relative_to(folder).as_posix())
                detail, fix = "This is not a plain file.", "Copy its content there."
                strange.append(Problem(0, "", detail, fix, file=name))


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_OUT


def _unreadable(error: OSError) -> None:
    raise _refused(Path(str(error.filename)), f"Cannot read: {error.strerror}.", "Check the path.")


def _refused(path: Path, detail: str, fix: str) -> ConfigError:
    return ConfigError(path.name, [Problem(0, "", detail, fix)])
