"""JSON becomes typed parameters, or one error that names the place."""

import base64
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.admin import parameters
from node.admin.failure import Failure
from protocol.errors import Misuse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Founder:
    card: bytes
    roles: tuple[Literal["a", "b"], ...]


KINDS = [
    str,
    int,
    bool,
    bytes,
    Literal["yes", "no"],
    str | None,
    Annotated[int, "A number."],
    tuple[str, ...],
    dict[str, Any],
    Founder,
    tuple[Founder, ...],
]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (str, "x", "x"),
        (int, -3, -3),
        (bool, True, True),
        (bytes, base64.b64encode(b"\xff").decode(), b"\xff"),
        (Literal["yes", "no"], "no", "no"),
        (str | None, None, None),
        (Annotated[int | None, "words"], 4, 4),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (dict[str, Any], {"a": [1]}, {"a": [1]}),
        (Founder, {"card": "AA==", "roles": ["b"]}, Founder(b"\0", ("b",))),
    ],
)
def test_reads(kind, value, expected):
    assert parameters.read(kind, value, "p") == expected


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        (str, 1, "p"),
        (int, True, "p"),
        (int, 2**53 + 1, "p"),
        (int, 1.0, "p"),
        (bool, 1, "p"),
        (str, "x" * (parameters.TEXT + 1), "p"),
        (bytes, "no base64!", "p"),
        (bytes, None, "p"),
        (Literal["yes", "no"], "YES", "p"),
        (Literal["yes", "no"], ["yes"], "p"),
        (tuple[str, ...], "abc", "p"),
        (tuple[str, ...], ["a", 1], "p[1]"),
        (tuple[str, ...], ["a"] * (parameters.ITEMS + 1), "p"),
        (dict[str, Any], [], "p"),
        (Founder, {"card": "AA=="}, "p"),
        (Founder, {"card": "AA==", "roles": [], "more": 1}, "p"),
        (tuple[Founder, ...], [{"card": "AA==", "roles": ["c"]}], "p[0].roles[0]"),
    ],
)
def test_refuses_and_names_the_place(kind, value, place):
    with pytest.raises(Failure) as refused:
        parameters.read(kind, value, "p")
    assert refused.value.code == "admin.parameters"
    assert refused.value.detail.startswith(f"{place}: ")


@given(st.sampled_from(KINDS), JSON)
def test_any_json_is_read_or_refused(kind, value):
    try:
        parameters.read(kind, value, "p")
    except Failure as refused:
        if refused.code != "admin.parameters":
            raise


def test_no_number_is_a_number_by_accident():
    for value in (math.nan, math.inf, "1"):
        with pytest.raises(Failure):
            parameters.read(int, value, "p")


def test_an_annotation_that_nobody_can_read_is_our_own_fault():
    with pytest.raises(Misuse):
        parameters.read(float, 1.0, "p")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_schema(kind):
    assert parameters.schema(kind)["type"]


def test_a_schema_carries_the_sentence_and_the_choices():
    found = parameters.schema(Annotated[Literal["yes", "no"] | None, "The vote."])
    assert found == {"type": "string", "enum": ["yes", "no"], "description": "The vote."}
