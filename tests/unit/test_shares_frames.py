"""What a host can say of a share's frames without its key, against the real sealing of a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import wire
from node.share_frames import Tally, from_chunk, segments_of
from protocol import shape
from protocol.errors import Refused
from protocol.kinds.share import ShareHeader
from protocol.sealing import stream, wrap

KEY = b"k" * 32
HEADER = shape.encode(
    ShareHeader(
        agreement=bytes(32),
        owner=bytes(32),
        dataset="d",
        contract=bytes(32),
        commitment=wrap.commitment(KEY),
        salt=bytes(32),
    )
)
START = stream.header_digest(HEADER)
PIECES = [b"a", b"bb", b"ccc", b"dddd", b"eeeee"]
PLAIN = b"".join(PIECES)


def sealed(breaks=()):
    """The frames of PIECES; before each chunk in `breaks` the sender started again."""
    sealer, frames = stream.Sealer(KEY, HEADER), []
    for index, piece in enumerate(PIECES):
        if index in breaks or index == 0:
            frames.append(sealer.segment(bytes([index + 1]) * 32))
        frames.append(sealer.chunk(piece, last=index == len(PIECES) - 1))
    return [*frames, sealer.end()]


def counted(frames):
    tally = Tally(START)
    for frame in frames:
        tally.take(frame)
    return tally


def refused(frames):
    with pytest.raises(Refused) as caught:
        counted(frames)
    assert caught.value.code == "share.chunk"


@given(st.sets(st.integers(1, 4)), st.integers(0, 9))
def test_the_count_is_that_of_the_one_who_holds_the_key(breaks, cut):
    frames = sealed(breaks)[:cut]
    opener = stream.Opener(KEY, HEADER)
    for frame in frames:
        opener.feed(frame)
    tally = counted(frames)
    assert (tally.chunks, tally.chain, tally.ended) == (
        opener.chunks,
        opener.chain,
        opener.finished,
    )


@given(st.sets(st.integers(1, 4)), st.integers(0, 5))
def test_the_rest_opens_after_any_chunk(breaks, chunks):
    frames = sealed(breaks)
    opener = stream.Opener(KEY, HEADER)
    plain = b""
    for frame in frames:
        if opener.chunks == chunks:
            break
        plain += bytes(opener.feed(frame))
    rest = list(from_chunk(frames, chunks))
    for frame in rest:
        plain += bytes(opener.feed(frame))
    assert opener.finished
    assert plain == PLAIN
    assert chunks < 5 or len(rest) == 1


@given(st.sets(st.integers(1, 4)), st.integers(0, 9))
def test_who_goes_on_is_told_of_every_segment_that_holds_chunks(breaks, cut):
    heads = [frame[:33] for frame in sealed(breaks)[:cut]]
    segments, frames = segments_of(heads)
    assert frames == len(heads)
    sealer = stream.Sealer(KEY, HEADER)
    salts = {one.chunk: one.salt for one in segments}
    chunks = sum(head[:1] == b"\x02" for head in heads)
    for index in range(chunks):
        if index in salts:
            sealer.segment(salts.pop(index))
        sealer.chunk(PIECES[index], last=index == len(PIECES) - 1)
    assert not salts
    assert sealer.chain == counted(sealed(breaks)[:cut]).chain


def test_the_later_of_two_segments_without_a_chunk_between_counts():
    segments, _ = segments_of([b"\x01" + b"a" * 32, b"\x01" + b"b" * 32, b"\x02" + bytes(40)])
    assert segments == (wire.Begun(chunk=0, salt=b"b" * 32),)


def test_more_segments_than_can_be_told_are_cut_off(monkeypatch):
    monkeypatch.setattr(wire, "SEGMENTS", 2)
    heads = [frame[:33] for frame in sealed({1, 2, 3, 4})]
    segments, frames = segments_of(heads)
    assert ([one.chunk for one in segments], frames) == ([0, 1], 4)


def test_what_is_out_of_order_is_refused():
    frames = sealed({2})
    refused([frames[0], frames[2]])
    refused([frames[0], frames[1], frames[1]])
    refused([*frames, frames[-1]])
    refused([*frames, frames[0]])
    refused([*frames[:-2], frames[-1]])
    refused([b""])
    refused([b"\x09" + bytes(40)])


@given(st.integers(1, 40))
def test_a_final_frame_that_lies_is_refused(at):
    frames = sealed()
    end = bytearray(frames[-1])
    end[at] ^= 1
    refused([*frames[:-1], bytes(end)])


def test_without_the_header_only_the_count_of_the_final_frame_is_held():
    frames = sealed()
    tally = Tally(bytes(32), anchored=False)
    for frame in frames:
        tally.take(frame)
    assert tally.ended
    assert tally.chain != counted(frames).chain
    short = Tally(bytes(32), anchored=False)
    short.take(frames[0])
    with pytest.raises(Refused):
        short.take(frames[-1])
