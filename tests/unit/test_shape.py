"""Documents: what an annotation says is what is accepted."""

import builtins
import contextlib
import dataclasses
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import codec, kinds, limits, shape
from protocol.errors import Misuse, Refused
from protocol.shape import Count, Hash, Length, Max, Range, Time
from tests.strategies import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    count: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    type: Literal["outer"] = "outer"
    id: Hash
    word: Annotated[str, Max(4)]
    flag: bool
    grade: Annotated[int, Range(-1, 3)]
    inner: Inner
    inners: tuple[Inner, ...]
    few: Annotated[tuple[Hash, ...], Max(2)] = ()
    by_name: dict[str, Inner]
    note: Annotated[bytes, Max(3)] | None = None


HONEST = Outer(
    id=bytes(32),
    word="abcd",
    flag=True,
    grade=0,
    inner=Inner(count=1),
    inners=(Inner(count=2),),
    by_name={"a": Inner(count=3)},
)


def refused(value: object, where: str) -> None:
    with pytest.raises(Refused) as caught:
        shape.read(Outer, value)
    assert caught.value.code == "shape.mismatch"
    assert caught.value.detail.startswith(where)


def with_(**parts: object) -> dict[str, Any]:
    return {**shape.write(HONEST), **parts}


def test_round_trip() -> None:
    assert shape.decode(Outer, shape.encode(HONEST)) == HONEST
    noted = dataclasses.replace(HONEST, note=b"abc")
    assert shape.decode(Outer, shape.encode(noted)) == noted


def test_absent_fields_are_left_out() -> None:
    assert "note" not in shape.write(HONEST)
    refused(with_(note=None), "Outer: a field that has no value")


@given(plain)
def test_any_value_is_a_document_or_refused(value: object) -> None:
    with pytest.raises(Refused) as caught:
        shape.read(Outer, value)
    assert caught.value.code == "shape.mismatch"


@given(st.sampled_from([field.name for field in dataclasses.fields(Outer)]), plain)
def test_any_value_in_a_field_is_accepted_as_written_or_refused(name: str, value: object) -> None:
    document = with_(**{name: value})
    with contextlib.suppress(Refused):
        assert shape.write(shape.read(Outer, document)) == document


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("type", "other", "Outer.type"),
        ("id", bytes(31), "Outer.id"),
        ("id", "a" * 32, "Outer.id"),
        ("word", "abcde", "Outer.word"),
        ("word", "ééé", "Outer.word"),  # bounded in bytes
        ("word", b"ab", "Outer.word"),
        ("flag", 1, "Outer.flag"),
        ("grade", True, "Outer.grade"),  # a boolean is no integer
        ("grade", 4, "Outer.grade"),
        ("grade", -2, "Outer.grade"),
        ("inner", {"count": -1}, "Outer.inner.count"),
        ("inner", {"count": 2**53 + 1}, "Outer.inner.count"),
        ("inner", {}, "Outer.inner: missing field 'count'"),
        ("inner", {"count": 1, "more": 1}, "Outer.inner: unknown field 'more'"),
        ("inner", [1], "Outer.inner"),
        ("inners", {"count": 1}, "Outer.inners"),
        ("inners", [{"count": 1}, {"count": "1"}], "Outer.inners[1].count"),
        ("inners", [{"count": 1}] * (limits.ITEMS + 1), "Outer.inners"),
        ("few", [bytes(32)] * 3, "Outer.few"),
        ("by_name", {1: {"count": 1}}, "Outer.by_name"),
        ("by_name", {"a" * (limits.NAME + 1): {"count": 1}}, "Outer.by_name"),
        ("by_name", [], "Outer.by_name"),
        ("note", b"abcd", "Outer.note"),
    ],
)
def test_one_fault(name: str, value: object, where: str) -> None:
    refused(with_(**{name: value}), where)


def test_fields_with_a_value_are_never_left_out() -> None:
    """One encoding per document: a default other than None is written, so it is required."""
    for name in ("type", "few", "flag"):
        document = with_()
        del document[name]
        refused(document, f"Outer: missing field {name!r}")


def test_documents_come_from_bytes_within_their_limit() -> None:
    raw = shape.encode(HONEST)
    with pytest.raises(Refused) as caught:
        shape.decode(Outer, raw, len(raw) - 1)
    assert caught.value.code == "codec.too-large"


def test_unsupported_annotations_are_misuse() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: float

    with pytest.raises(Misuse):
        shape.read(Odd, {"value": 1})


def sample(kind: Any) -> Any:
    """A value that fits an annotation, as small as can be."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(**{name: sample(hint) for name, hint in hints.items()})
    if not arguments:
        return kind()
    match origin, arguments[-1]:
        case _, Length(size):
            return bytes(size)
        case _, Range(low, _):
            return low
        case typing.Literal, _:
            return arguments[0]
        case builtins.tuple, _:
            return (sample(arguments[0]),)
        case builtins.dict, inner:
            return {"key": sample(inner)}
        case _:
            return sample(arguments[0])


@pytest.mark.parametrize("name", kinds.KINDS)
def test_every_kind_of_record_is_a_readable_shape(name: str) -> None:
    document = kinds.KINDS[name].document
    whole = sample(document)
    assert shape.read(document, codec.decode(shape.encode(whole), limits.FRAME)) == whole


def test_time_is_bounded() -> None:
    assert typing.get_args(Time)[1] == Range(0, 2**40)
