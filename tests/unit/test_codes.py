"""One-time codes: 128 bits, a checksum, and the link of a QR code."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codes
from node.people_wire import CODE, code_digest
from protocol.errors import Refused

CHANCE = st.binary(min_size=16, max_size=16)
ADDRESS = "/dns4/r.example/tcp/4150/p2p/12D3KooWAbc"


def refused(text: str) -> bool:
    with pytest.raises(Refused, match=r"enrolment\.code"):
        codes.read(text)
    return True


@given(CHANCE, CHANCE)
def test_a_code_is_what_chance_made_it(one: bytes, two: bytes) -> None:
    code = codes.make(one)
    assert len(code) == 35 <= CODE
    assert codes.check(code) == code.replace("-", "")
    assert (codes.make(two) == code) == (one == two)


@given(CHANCE)
def test_how_it_is_typed_does_not_matter(chance: bytes) -> None:
    code = codes.make(chance)
    typed = code.lower().replace("-", " ").replace("o", "0").replace("i", "1").replace("b", "8")
    assert codes.check(f" {typed}\n") == codes.check(code)
    assert code_digest(typed) == code_digest(code)


@given(CHANCE, st.integers(0, 29), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_character_is_found(chance: bytes, place: int, letter: str) -> None:
    plain = codes.check(codes.make(chance))
    wrong = plain[:place] + letter + plain[place + 1 :]
    assert wrong == plain or refused(wrong)


@given(CHANCE)
def test_two_swapped_characters_are_found(chance: bytes) -> None:
    plain = codes.check(codes.make(chance))
    swapped = plain[1] + plain[0] + plain[2:]
    assert swapped == plain or refused(swapped)


@given(CHANCE)
def test_a_link_brings_code_and_address(chance: bytes) -> None:
    code = codes.make(chance)
    assert codes.read(codes.link(code, ADDRESS)) == (code.replace("-", ""), ADDRESS)
    assert codes.read(code) == (code.replace("-", ""), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAAAA",
        "é" * 30,
        "village:enrol",
        "village:enrol?code=AAAAA&registrar=/x",
        "village:other?code={code}&registrar=/x",
        "village:enrol?code={code}",
        "village:enrol?code={code}&code={code}&registrar=/x",
        "village:enrol?code={code}&registrar=/x&registrar=/y",
        "http:enrol?code={code}&registrar=/x",
        "x" * 5000,
    ],
)
def test_what_is_no_code_and_no_link(text: str) -> None:
    assert refused(text.replace("{code}", codes.make(bytes(16))))


@given(st.text(max_size=200))
def test_any_text_is_a_code_or_refused(text: str) -> None:
    for given_ in (text, f"village:{text}", f"village:enrol?{text}"):
        with suppress_refusal():
            codes.read(given_)


@contextmanager
def suppress_refusal() -> Iterator[None]:
    """Anything else than this refusal escapes."""
    try:
        yield
    except Refused as error:
        if error.code != "enrolment.code":
            raise
