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

Reader = Callable[[Any], Any]
"""Reads one value of one annotation, or raises _Mismatch."""


def decode(kind: type[T], data: bytes, limit: int = limits.RECORD) -> T:
    """Decode deterministic CBOR into `kind`. Raises Refused (codec.*, shape.mismatch)."""
    return read(kind, codec.decode(data, limit))


def encode(value: object) -> bytes:
    """The deterministic CBOR of a document."""
    return codec.encode(write(value))


def read(kind: type[T], value: object) -> T:
    """The document of dataclass `kind` in `value`. Raises Refused (shape.mismatch)."""
    try:
        result: T = _reader(kind)(value)  # type: ignore[arg-type]
    except _Mismatch as error:
        path = kind.__name__ + "".join(reversed(error.path))
        raise Refused("shape.mismatch", f"{path}: {error.wanted}") from error
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


class _Mismatch(Exception):
    """A fault, and its path, gathered on the way out."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self.path: list[str] = []


@cache
def _reader(kind: Any) -> Reader:  # noqa: ANN401 (annotations are dynamic)
    """The function that reads one annotation, made once: records are read by the thousand."""
    if dataclasses.is_dataclass(kind):
        return _document_reader(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    make = _MAKERS.get(origin)
    if make is not None:
        return make(arguments)
    if kind not in (bytes, str, int, bool):
        raise Misuse(f"annotation {kind!r} is not supported")
    return _plain_reader(kind)


def _plain_reader(kind: type) -> Reader:
    wanted = f"must be {kind.__name__}"

    def read(value: Any) -> Any:  # noqa: ANN401
        # Not isinstance: True is an int to Python.
        if type(value) is not kind:
            raise _Mismatch(wanted)
        return value

    return read


def _bounded_reader(arguments: tuple[Any, ...]) -> Reader:
    base, *bounds = arguments
    if typing.get_origin(base) is tuple:
        (most,) = (bound.size for bound in bounds)
        return _list_reader(typing.get_args(base), most)
    inner, checks = _reader(base), [_bound_check(bound) for bound in bounds]

    def read(value: Any) -> Any:  # noqa: ANN401
        result = inner(value)
        for check in checks:
            check(result)
        return result

    return read


def _bound_check(bound: object) -> Callable[[Any], None]:
    match bound:
        case Length(size):
            return _length_check(size)
        case Max(size):
            return _size_check(size)
        case Range(low, high):
            return _range_check(low, high)
        case _:
            raise Misuse(f"bound {bound!r} is not supported")


def _length_check(size: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:  # noqa: ANN401
        if len(value) != size:
            raise _Mismatch(f"must be {size} bytes")

    return check


def _size_check(size: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:  # noqa: ANN401
        if len(value.encode() if isinstance(value, str) else value) > size:
            raise _Mismatch(f"longer than {size}")

    return check


def _range_check(low: int, high: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:  # noqa: ANN401
        if not low <= value <= high:
            raise _Mismatch(f"must be from {low} to {high}")

    return check


def _literal_reader(arguments: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:  # noqa: ANN401
        if type(value) is not str or value not in arguments:
            raise _Mismatch(f"one of {arguments}")
        return value

    return read


def _optional_reader(options: tuple[Any, ...]) -> Reader:
    (kind,) = (option for option in options if option is not types.NoneType)
    inner = _reader(kind)

    def read(value: Any) -> Any:  # noqa: ANN401
        return None if value is None else inner(value)

    return read


def _list_reader(arguments: tuple[Any, ...], most: int = limits.ITEMS) -> Reader:
    """`most` items: what a list's own bound says, which may be higher than that of all others."""

    def read(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, list):
            raise _Mismatch("must be a list")
        if len(value) > most:
            raise _Mismatch(f"more than {most} items")
        inner, found = _reader(arguments[0]), []
        try:
            for item in value:
                found.append(inner(item))  # noqa: PERF401 (the fault needs the place)
        except _Mismatch as error:
            error.path.append(f"[{len(found)}]")
            raise
        return tuple(found)

    return read


def _map_reader(arguments: tuple[Any, ...]) -> Reader:
    def read(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict) or len(value) > limits.ITEMS:
            raise _Mismatch(f"must be a map of at most {limits.ITEMS} entries")
        if not all(isinstance(key, str) and len(key) <= limits.NAME for key in value):
            raise _Mismatch("keys must be short text")
        inner = _reader(arguments[1])
        return _read_items(value, dict.fromkeys(value, inner))

    return read


def _document_reader(kind: Any) -> Reader:  # noqa: ANN401
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    names = frozenset(field.name for field in fields)
    required = frozenset(field.name for field in fields if field.default is not None)
    readers: dict[str, Reader] = {}

    def read(value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, dict):
            raise _Mismatch("must be a map")
        _check_fields(value, names, required)
        if not readers:  # only now: a document may hold itself
            readers.update({name: _reader(hints[name]) for name in names})
        return kind(**_read_items(value, readers))

    return read


def _check_fields(value: dict[Any, Any], names: frozenset[str], required: frozenset[str]) -> None:
    if not value.keys() <= names:
        raise _Mismatch(f"unknown field {min(map(str, value.keys() - names))!r}")
    if not required <= value.keys():
        raise _Mismatch(f"missing field {min(required - value.keys())!r}")
    if None in value.values():
        # An absent field has one encoding only: it is left out.
        raise _Mismatch("a field that has no value must be left out")


def _read_items(value: dict[Any, Any], readers: dict[str, Reader]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    key = ""
    try:
        for key, item in value.items():
            found[key] = readers[key](item)
    except _Mismatch as error:
        error.path.append(f".{key}")
        raise
    return found


_MAKERS: Final[dict[Any, Callable[[tuple[Any, ...]], Reader]]] = {
    Annotated: _bounded_reader,
    Union: _optional_reader,
    types.UnionType: _optional_reader,
    Literal: _literal_reader,
    tuple: _list_reader,
    dict: _map_reader,
}
"""Which function makes the reader of which kind of annotation."""
