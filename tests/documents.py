"""Documents of any kind of record, drawn from their annotations: right in shape, wrong in all else.

Values come from small pools, so that what is drawn meets: known ids, low terms, real slots.
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from protocol.shape import Length, Max, Range

TEXTS = ("", "fit", "{}", "simulated", "host/1", "host/2", "run/1/1", "run/1/2", "agreement",
         "charter", "host.unreachable", "lung-v1", "kept", "é" * 3)  # fmt: skip


def documents(kind: type[Any], known: Sequence[bytes] = ()) -> st.SearchStrategy[Any]:
    """Any document of `kind`; `known` are byte strings that it may refer to."""
    hints = typing.get_type_hints(kind, include_extras=True)
    parts = {f.name: _values(hints[f.name], known) for f in dataclasses.fields(kind)}
    return st.builds(kind, **parts)


def _values(hint: Any, known: Sequence[bytes]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return documents(hint, known)
    if origin is typing.Annotated:
        return _bounded(arguments[0], arguments[1:], known)
    if origin in (typing.Union, types.UnionType):
        (kind,) = (one for one in arguments if one is not types.NoneType)
        return st.none() | _values(kind, known)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(_values(arguments[0], known), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(st.sampled_from(TEXTS), _values(arguments[1], known), max_size=2)
    return {bool: st.booleans(), int: st.integers(0, 3)}[hint]


def _bounded(base: Any, bounds: tuple[Any, ...], known: Sequence[bytes]) -> st.SearchStrategy[Any]:
    if base is str:
        (size,) = (bound.size for bound in bounds if isinstance(bound, Max))
        return st.sampled_from([text for text in TEXTS if len(text.encode()) <= size])
    if base is int:
        (range_,) = (bound for bound in bounds if isinstance(bound, Range))
        return st.integers(0, 3) | st.just(range_.high)
    sizes = [bound.size for bound in bounds if isinstance(bound, Length)]
    if sizes:
        fit = [one for one in known if len(one) == sizes[0]]
        return st.sampled_from([*fit, bytes(sizes[0])])
    (most,) = (bound.size for bound in bounds if isinstance(bound, Max))
    return st.sampled_from([one for one in (*known, b"", b"\xff") if len(one) <= most])
