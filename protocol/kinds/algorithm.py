"""Algorithm bundles: a manifest and files, content-addressed as one deterministic CBOR archive."""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import limits, shape
from protocol.errors import Refused
from protocol.shape import Hash, Max, Name, Text

File = Annotated[bytes, Max(limits.BLOB)]


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
    """An entry point: `function` is "module:function"; `outputs` names what it may return."""

    name: Name
    function: Name
    parameters: tuple[Parameter, ...]
    outputs: tuple[Name, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says about itself; `inputs` are data contract ids it reads."""

    name: Name
    version: Name
    kind: Literal["python"]
    author: Name
    licence: Name
    environment: Hash
    inputs: tuple[Name, ...]
    entries: tuple[Entry, ...]
    description: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The archive: manifest, and files by relative POSIX path. Its digest is SHA-256."""

    manifest: Manifest
    files: dict[str, File]


def unpack(data: bytes) -> Bundle:
    """The bundle in `data`. Raises Refused (codec.*, shape.mismatch) also on paths that escape."""
    bundle = shape.decode(Bundle, data, limits.BLOB)
    for path in bundle.files:
        parts = path.split("/")
        if not all(part and part not in (".", "..") and "\\" not in part for part in parts):
            raise Refused("shape.mismatch", f"path {path!r} leaves the bundle")
    return bundle
