"""JSON -> typed parameters, and the JSON schema of each type. The annotations are the truth.

Known are str, int, bool, bytes (base64), Literal, X | None, tuple[X, ...], dict[str, Any] (any
JSON object) and frozen dataclasses of these.
"""

import base64
import binascii
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Union

from node.admin.failure import Failure
from protocol.errors import Misuse

TEXT: Final = 64 * 1024
"""Bytes of the longest text in a parameter."""

ITEMS: Final = 1024
"""Elements of the longest list."""

_NUMBER: Final = 2**53
_PLAIN: Final = {str: "a text", int: "a whole number", bool: "true or false"}


def read(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401 (annotations are dynamic)
    """`value` as `kind`. Raises Failure (admin.parameters) that names `path`."""
    if dataclasses.is_dataclass(kind):
        return _document(kind, value, path)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    reader = _READERS.get(origin)
    return _plain(kind, value, path) if reader is None else reader(arguments, value, path)


def schema(kind: Any) -> dict[str, Any]:  # noqa: ANN401 (annotations are dynamic)
    """The JSON schema of `kind`."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return {
            "type": "object",
            "properties": {name: schema(hint) for name, hint in hints.items()},
            "required": list(hints),
            "additionalProperties": False,
        }
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case None:
            return dict(_SCHEMAS[kind])
        case origin if origin is Annotated:
            return {**schema(arguments[0]), "description": arguments[1]}
        case origin if origin is Literal:
            return {"type": "string", "enum": list(arguments)}
        case origin if origin is tuple:
            return {"type": "array", "items": schema(arguments[0])}
        case origin if origin is dict:
            return {"type": "object"}
        case _:
            return schema(arguments[0])


_SCHEMAS: Final[Mapping[Any, dict[str, str]]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
}


def wrong(path: str, wanted: str) -> Failure:
    """The parameter at `path` is not what is wanted there."""
    return Failure("admin.parameters", f"{path}: this is not {wanted}.", "See docs/admin-api.md.")


def _plain(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    if kind is bytes:
        return _bytes(value, path)
    if kind not in _PLAIN:
        raise Misuse(f"annotation {kind!r} at {path} is not supported")
    if type(value) is not kind:
        raise wrong(path, _PLAIN[kind])
    if (kind is str and len(value) > TEXT) or (kind is int and abs(value) > _NUMBER):
        raise wrong(path, f"{_PLAIN[kind]} within bounds")
    return value


def _bytes(value: Any, path: str) -> bytes:  # noqa: ANN401
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise wrong(path, "base64") from error


def _annotated(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    return read(arguments[0], value, path)


def _optional(options: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    (kind,) = (option for option in options if option is not types.NoneType)
    return None if value is None else read(kind, value, path)


def _literal(allowed: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if value not in allowed:
        raise wrong(path, f"one of {', '.join(allowed)}")
    return value


def _list(arguments: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, list) or len(value) > ITEMS:
        raise wrong(path, f"a list of at most {ITEMS}")
    return tuple(read(arguments[0], item, f"{path}[{at}]") for at, item in enumerate(value))


def _object(_: tuple[Any, ...], value: Any, path: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise wrong(path, "an object")
    return value


def _document(kind: Any, value: Any, path: str) -> Any:  # noqa: ANN401
    hints = typing.get_type_hints(kind, include_extras=True)
    if not isinstance(value, dict) or value.keys() != hints.keys():
        raise wrong(path, f"an object of {', '.join(hints)}")
    return kind(**{name: read(hint, value[name], f"{path}.{name}") for name, hint in hints.items()})


_READERS: Final[dict[Any, Callable[[tuple[Any, ...], Any, str], Any]]] = {
    Annotated: _annotated,
    Union: _optional,
    types.UnionType: _optional,
    Literal: _literal,
    tuple: _list,
    dict: _object,
}
