"""Documents as frozen dataclasses: their annotations are the schema, checked in one place.

`read` turns a decoded CBOR value into the dataclass or refuses (shape.mismatch) with the path of
the fault; `write` is its inverse. Bounds stand in the annotation: `Annotated[str, Max(128)]`.
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar, Union

from protocol import codec, limits
from protocol.errors import Misuse, Refused


@dataclass(frozen=True, slots=True)
class Length:
    """A byte string of exactly this many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Max:
    """At most this many bytes (of UTF-8 for text) or items."""

    size: int


@dataclass(frozen=True, slots=True)
class Range:
    """An integer within these bounds, both included."""

    low: int
    high: int


Hash = Annotated[bytes, Length(32)]
Key = Annotated[bytes, Length(32)]
Name = Annotated[str, Max(limits.NAME)]
Text = Annotated[str, Max(limits.TEXT)]
Count = Annotated[int, Range(0, 2**53)]
Time = Annotated[int, Range(0, 2**40)]
Document = Annotated[bytes, Max(limits.DOCUMENT)]

T = TypeVar("T")


def decode(kind: type[T], data: bytes, limit: int = limits.RECORD) -> T:
    """Decode deterministic CBOR into `kind`. Raises Refused (codec.*, shape.mismatch)."""
    return read(kind, codec.decode(data, limit))


def encode(value: object) -> bytes:
    """The deterministic CBOR of a document."""
    return codec.encode(write(value))


def read(kind: type[T], value: object) -> T:
    """The document of dataclass `kind` in `value`. Raises Refused (shape.mismatch)."""
    result: T = _read(kind, value, kind.__name__)
    return result


def write(value: object) -> Any:  # noqa: ANN401 (any plain value)
    """A plain CBOR value for `value`; fields that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: write(item) for name, item in pairs if item is not None}
    if isinstance(value, tuple | list):
        return [write(item) for item in value]
    if isinstance(value, dict):
        return {key: write(item) for key, item in value.items()}
    return value


def _fault(path: str, wanted: str) -> Refused:
    return Refused("shape.mismatch", f"{path}: {wanted}")


def _read(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401 (annotations are dynamic)
    if dataclasses.is_dataclass(kind):
        return _read_document(kind, value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    reader = _READERS.get(origin)
    return _read_plain(kind, value, path) if reader is None else reader(arguments, value, path)


def _read_plain(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    if kind not in (bytes, str, int, bool):
        raise Misuse(f"annotation {kind!r} at {path} is not supported")
    # Not isinstance: True is an int to Python.
    if type(value) is not kind:
        raise _fault(path, f"must be {kind.__name__}")
    return value


def _read_bounded(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    base, *bounds = arguments
    result = _read(base, value, path)
    for bound in bounds:
        _check_bound(bound, result, path)
    return result


def _read_literal(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if type(value) is not str or value not in arguments:
        raise _fault(path, f"one of {arguments}")
    return value


def _read_optional(options: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    (kind,) = (option for option in options if option is not types.NoneType)
    return None if value is None else _read(kind, value, path)


def _read_list(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, list):
        raise _fault(path, "must be a list")
    if len(value) > limits.ITEMS:
        raise _fault(path, f"more than {limits.ITEMS} items")
    return tuple(_read(arguments[0], item, f"{path}[{at}]") for at, item in enumerate(value))


def _read_map(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict) or len(value) > limits.ITEMS:
        raise _fault(path, f"must be a map of at most {limits.ITEMS} entries")
    if not all(isinstance(key, str) and len(key) <= limits.NAME for key in value):
        raise _fault(path, "keys must be short text")
    return {key: _read(arguments[1], item, f"{path}.{key}") for key, item in value.items()}


def _read_document(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise _fault(path, "must be a map")
    hints, required = _fields(kind)
    unknown = value.keys() - hints.keys()
    if unknown:
        raise _fault(path, f"unknown field {min(map(str, unknown))!r}")
    missing = required - value.keys()
    if missing:
        raise _fault(path, f"missing field {min(missing)!r}")
    if any(item is None for item in value.values()):
        # An absent field has one encoding only: it is left out.
        raise _fault(path, "a field that has no value must be left out")
    return kind(**{key: _read(hints[key], item, f"{path}.{key}") for key, item in value.items()})


@cache
def _fields(kind: Any) -> tuple[dict[str, Any], frozenset[str]]:  # noqa: ANN401
    hints = typing.get_type_hints(kind, include_extras=True)
    required = {field.name for field in dataclasses.fields(kind) if field.default is not None}
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}, frozenset(required)


def _check_bound(bound: object, value: Any, path: str) -> None:  # noqa: ANN401
    match bound:
        case Length(size) if len(value) != size:
            raise _fault(path, f"must be {size} bytes")
        case Max(size) if len(value.encode() if isinstance(value, str) else value) > size:
            raise _fault(path, f"longer than {size}")
        case Range(low, high) if not low <= value <= high:
            raise _fault(path, f"must be from {low} to {high}")
        case _:
            return


_READERS: Final[dict[Any, Callable[[tuple[Any, ...], Any, str], Any]]] = {
    Annotated: _read_bounded,
    Union: _read_optional,
    types.UnionType: _read_optional,
    Literal: _read_literal,
    tuple: _read_list,
    dict: _read_map,
}
"""Which function reads which kind of annotation."""
