"""An algorithm's folder with its manifest.yaml -> the bundle that everyone knows by digest.

The bundle holds every file of the folder, so that a changed word in a README is another algorithm.
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast, get_args, get_type_hints

from node.config import ConfigError, Problem
from node.documents import strict_yaml
from node.documents.fields import Problems, Table
from protocol import limits, shape
from protocol.kinds.algorithm import Bundle, Entry, Manifest, Parameter, unpack

MANIFEST: Final = "manifest.yaml"

_FUNCTION: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_LEFT_OUT: Final = frozenset({"__pycache__"})
_TYPES: Final = get_args(get_type_hints(Parameter)["type"])
_BIGGEST: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A bundle ready to publish: exact bytes, their digest, the manifest."""

    raw: bytes
    digest: bytes
    manifest: Manifest


def pack(folder: Path, environments: Mapping[str, bytes]) -> Packed:
    """The bundle of `folder`; `environments` maps the names of environments to their digests.

    Raises ConfigError with every problem of the manifest, Refused (codec.too-large) if the whole is
    larger than limits.BLOB.
    """
    files = dict(_files(folder))
    if MANIFEST not in files:
        raise _refused(folder / MANIFEST, "The folder has no manifest.", "Write manifest.yaml.")
    manifest = parse_manifest(files[MANIFEST], environments)
    raw = shape.encode(Bundle(manifest=manifest, files=files))
    unpack(raw)  # every reader must be able to do the same
    return Packed(raw=raw, digest=hashlib.sha256(raw).digest(), manifest=manifest)


def parse_manifest(data: bytes, environments: Mapping[str, bytes]) -> Manifest:
    """The manifest in `data`, field by field as in the protocol. Raises ConfigError."""
    value, lines = strict_yaml.load(data, MANIFEST)
    problems = Problems(MANIFEST, lines)
    top = problems.table(value)
    manifest = Manifest(
        name=top.text("name"),
        version=top.text("version"),
        kind=cast("Literal['python']", top.choice("kind", ("python",))),
        author=top.text("author"),
        licence=top.text("licence"),
        environment=top.digest("environment", environments),
        inputs=top.texts("inputs"),
        entries=tuple(_entry(row) for row in top.rows("entries")),
        description=top.text("description", size=limits.TEXT),
    )
    problems.check()
    return manifest


def _entry(row: Table) -> Entry:
    function = row.text("function")
    if function and not _FUNCTION.fullmatch(function):
        row.problem("function", "This is no function.", 'As in "module:function".')
    return Entry(
        name=row.text("name"),
        function=function,
        parameters=tuple(_parameter(one) for one in row.rows("parameters")),
        outputs=row.texts("outputs"),
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


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Relative POSIX path and content of each file; bounded in number and size."""
    total = 0
    for number, path in enumerate(sorted(_paths(folder))):
        total += path.lstat().st_size
        if number >= limits.ITEMS or total > limits.BLOB:
            raise _refused(folder, "The folder is too large.", "Keep data out of the bundle.")
        yield path.relative_to(folder).as_posix(), path.read_bytes()


def _paths(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if _counts(name)]
        for path in (Path(here, name) for name in [*folders, *names] if _counts(name)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                raise _refused(path, "This is not a plain file.", "Copy its content there.")


def _counts(name: str) -> bool:
    return not name.startswith(".") and name not in _LEFT_OUT


def _unreadable(error: OSError) -> None:
    raise _refused(Path(str(error.filename)), f"Cannot read: {error.strerror}.", "Check the path.")


def _refused(path: Path, detail: str, fix: str) -> ConfigError:
    return ConfigError(path.name, [Problem(0, "", detail, fix)])
