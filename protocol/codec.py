"""Deterministic CBOR (RFC 8949 section 4.2.1): one value, one encoding, or a refusal.

Allowed are null, booleans, integers below 2^64, byte and text strings, lists, and maps whose keys
are all text or all small integers (a COSE header). No floats, tags, indefinite lengths, duplicates.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import cbor2

from protocol import limits
from protocol.errors import Refused

_SMALL_INTEGERS = range(24)
"""Integer keys 0..23 have one-byte heads: there cbor2's length-first order is RFC 8949's order."""

_SCALARS = frozenset({type(None), bool, bytes, str})
"""Types that are plain whatever their value."""


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


def decode_foreign(data: bytes, limit: int, depth: int) -> Any:  # noqa: ANN401 (any value)
    """Decode one item of others' CBOR, in whatever encoding: a vendor's document, say.

    Tags, duplicate keys and bytes after the item are refused; types are the caller's to check.
    Raises Refused (codec.*).
    """
    if len(data) > limit:
        raise Refused("codec.too-large", f"{len(data)} bytes, allowed are {limit}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream, max_depth=depth, allow_duplicate_keys=False, semantic_decoders=_EveryTag()
        ).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Refused("codec.malformed", type(error).__name__) from error
    if stream.tell() != len(data):
        raise Refused("codec.malformed", "bytes after the value")
    return value


def _check_plain(value: object, depth: int) -> None:
    """Refuse every type, key and depth that the module's docstring does not allow."""
    if depth < 0:
        raise Refused("codec.malformed", "nested too deep")
    kind = type(value)
    if kind in _SCALARS:
        return
    if isinstance(value, dict):
        _check_keys(value)
        value = value.values()
    elif isinstance(value, int) and -(2**63) <= value < 2**64:
        return
    elif not isinstance(value, list):
        raise Refused("codec.malformed", f"type {kind.__name__}, or out of range")
    for item in value:
        if type(item) not in _SCALARS or depth == 0:
            _check_plain(item, depth - 1)


def _check_keys(keys: dict[object, object]) -> None:
    kinds = set(map(type, keys))
    if kinds <= {str}:
        return
    if kinds == {int} and all(key in _SMALL_INTEGERS for key in keys):
        return
    raise Refused("codec.malformed", "map keys must be text, or integers 0 to 23")
