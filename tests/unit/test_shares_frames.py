"""What a host can say of a share's frames without its key, against the real sealing of a stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.share_frames import Tally, end_frame, from_chunk
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


def test_the_final_frame_can_be_made_by_who_saw_all_chunks():
    frames = sealed()
    tally = counted(frames[:-1])
    assert end_frame(tally.chain, tally.chunks) == frames[-1]


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
