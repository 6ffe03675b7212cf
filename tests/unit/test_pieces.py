"""The queue of bytes that a stream reads from: what comes out, and what it may keep alive."""

from hypothesis import given
from hypothesis import strategies as st

from node.net.libp2p.pieces import Pieces

MESSAGE = 65_519


@st.composite
def parts(draw):
    """A part of a message, as a view."""
    whole = memoryview(draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 300])))
    start = draw(st.integers(0, len(whole)))
    return whole[start : draw(st.integers(start, len(whole)))]


@given(st.lists(parts() | st.integers(0, 20_000), max_size=30))
def test_bytes_come_out_as_they_went_in(steps):
    pieces, model = Pieces(), b""
    for step in steps:
        if isinstance(step, int):
            count = min(step, len(model))
            assert pieces.take(count, b"head") == b"head" + model[:count]
            model = model[count:]
        else:
            pieces.add(step)
            model += bytes(step)
        assert pieces.size == len(model)
    assert pieces.take(pieces.size) == model


def test_a_byte_of_each_message_does_not_keep_the_messages():
    pieces = Pieces()
    for _ in range(1000):
        pieces.add(memoryview(bytes(MESSAGE))[7:8])
    [kept] = pieces._pieces
    assert isinstance(kept, bytearray)
    assert len(kept) == 1000


def test_what_is_kept_alive_is_at_most_twice_what_counts():
    pieces = Pieces()
    for size in (100, 4095, 4096, MESSAGE // 2, MESSAGE // 2 + 1, MESSAGE):
        pieces.add(memoryview(bytes(MESSAGE))[:size])
    alive = sum(len(memoryview(each).obj) for each in pieces._pieces)
    assert alive <= 2 * pieces.size


def test_a_message_that_is_read_whole_is_not_copied_on_its_way_in():
    message = bytes(MESSAGE)
    pieces = Pieces()
    pieces.add(memoryview(message)[12:])
    [kept] = pieces._pieces
    assert kept.obj is message
