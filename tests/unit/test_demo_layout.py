"""Lines of the demo on a screen: folded at words, under their column, the clock at the margin."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.demo.layout import WIDEST, laid_out

LONG = " 2 AGREEMENT    " + "sponsor proposed " * 9
WORDS = st.lists(st.text("abc·", min_size=1, max_size=12), min_size=1, max_size=40)


@pytest.mark.parametrize("text", ["", " 9 NOW WE CHEAT", "   age    0.011067    < 1e-6"])
def test_a_short_line_stays(text: str):
    assert laid_out(text) == [text]


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 300])
def test_a_long_line_hangs_under_its_column(columns: int):
    lines = laid_out(LONG.rstrip(), columns)
    assert len(lines) > 1
    assert all(len(line) <= min(columns, WIDEST) for line in lines)
    assert all(line[:16].isspace() and not line[16].isspace() for line in lines[1:])


def test_the_clock_stands_at_the_margin():
    (line,) = laid_out(" 3 HOST         elected host-1          0:56", 100)
    assert line.endswith(" 0:56")
    assert len(line) == 100


@pytest.mark.parametrize("words", range(3, 12))
def test_the_clock_is_never_broken_off(words: int):
    lines = laid_out(" 3 HOST         " + "elected-host " * words + "         12:56", 100)
    assert lines[-1].endswith("12:56")
    assert {len(lines[-1])} == {100}
    assert all(len(line) <= 100 for line in lines)


def test_a_row_of_a_table_folds_under_its_last_column():
    row = (
        "   old host-1 comes back, asks for keys   refused by all 4      term 1 ended, fenced by 2"
    )
    lines = laid_out(row, 80)
    assert lines[1].index("fenced") == row.index("term 1")


def test_a_link_is_never_folded():
    link = "http://127.0.0.1:8080/?t=" + "x" * 150
    assert link in laid_out(f"   live page: {link}", 100)[-1]


@given(WORDS, st.integers(1, 200))
def test_no_word_is_lost(words: list[str], columns: int):
    text = " 4 CONSENT      " + " ".join(words)
    assert " ".join(laid_out(text, columns)).split() == text.split()
