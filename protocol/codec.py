"""Deterministic CBOR (RFC 8949 section 4.2.1): one value, one encoding, or a refusal.

Allowed are null, booleans, integers below 2^64, byte and text strings, lists, and maps whose keys
are all text or all small integers (a COSE header). No floats, tags, indefinite lengths, duplicates.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import cbor2

from protocol import limits
from protocol.errors import Refused

_SMALL_INTEGERS = range(24)
"""Integer keys 0..23 have one-byte heads: there cbor2's length-first order is RFC 8949's order."""


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("tags are not allowed")


class _EveryTag(Mapping[int, Any]):
    """Stops cbor2 at the head of any tag, before it acts on one.

    By shared references (tags 28 and 29) 700 bytes unfold without end; tag 35 compiles a pattern.
    """

    def __getitem__(self, tag: int) -> Any:  # noqa: ANN401 (cbor2's callback types)
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 1


def encode(value: object) -> bytes:
    """Return the only encoding of `value` that `decode` accepts."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, limit: int = limits.RECORD) -> Any:  # noqa: ANN401 (any plain value)
    """Decode `data` of at most `limit` bytes. Raises Refused (codec.*) on anything else."""
    if len(data) > limit:
        raise Refused("codec.too-large", f"{len(data)} bytes, allowed are {limit}")
    try:
        value = cbor2.loads(
            data,
            max_depth=limits.DEPTH + 1,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            semantic_decoders=_EveryTag(),
        )
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("codec.malformed", type(error).__name__) from error
    _check_plain(value, limits.DEPTH)
    # cbor2 has no switch for trailing bytes, key order and long integer heads: re-encoding
    # catches all three.
    if encode(value) != data:
        raise Refused("codec.not-deterministic")
    return value


def _check_plain(value: object, depth: int) -> None:
    """Refuse every type, key and depth that the module's docstring does not allow."""
    if depth < 0:
        raise Refused("codec.malformed", "nested too deep")
    match value:
        case None | bool() | bytes() | str():
            return
        case int() if -(2**63) <= value < 2**64:
            return
        case list():
            for item in value:
                _check_plain(item, depth - 1)
        case dict():
            _check_keys(list(value))
            for item in value.values():
                _check_plain(item, depth - 1)
        case _:
            raise Refused("codec.malformed", f"type {type(value).__name__}, or out of range")


def _check_keys(keys: list[object]) -> None:
    if all(isinstance(key, str) for key in keys):
        return
    if all(type(key) is int and key in _SMALL_INTEGERS for key in keys):
        return
    raise Refused("codec.malformed", "map keys must be text, or integers 0 to 23")
