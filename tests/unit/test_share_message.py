"""Messages of large frames: the quick coding is the general one, also in what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import wire
from node.share_message import pack_message, read_for_lane, read_message
from protocol import limits
from protocol.errors import Refused


def size_of(frame):
    return len(frame).to_bytes(4, "big")


def outcome(read):
    try:
        return read()
    except Refused as error:
        return error.code


@given(
    st.sampled_from([b"\x01", b"\x02", b"\x03"]), st.integers(65500, 65600) | st.just(limits.CHUNK)
)
def test_a_large_frame_is_packed_as_any_message_is(kind, size):
    frame = kind + bytes(size)
    for dialogue in (wire.SHARE_WIRE, wire.REPLICA_WIRE):
        message = dialogue.pack_request(wire.ShareFrame(frame=frame, last=kind == b"\x03"))
        assert b"".join(pack_message(dialogue, memoryview(frame))) == message
        assert read_message(dialogue, message) == frame
        assert read_for_lane(dialogue, message) == size_of(frame) + frame


@given(st.integers(0, 33), st.integers(0, 255), st.sampled_from([-1, 0, 1]))
def test_what_is_no_message_is_refused_for_large_frames_too(at, byte, more):
    """The quick way takes nothing that the general coding refuses, and finds nothing else in it."""
    frame = bytes(70_000)
    spoilt = bytearray(b"".join(pack_message(wire.SHARE_WIRE, frame)))
    spoilt[at] = byte
    message = bytes(spoilt) + b"x" if more == 1 else bytes(spoilt)[: len(spoilt) + more]
    general = outcome(lambda: wire.SHARE_WIRE.read_request(message).frame)
    assert outcome(lambda: read_message(wire.SHARE_WIRE, message)) == general


def test_small_frames_pass_and_a_frame_above_the_limit_and_another_request_do_not():
    small = b"".join(pack_message(wire.SHARE_WIRE, b"\x03end"))
    assert read_for_lane(wire.SHARE_WIRE, small) == b"\x00\x00\x00\x04\x03end"
    message = b"".join(pack_message(wire.SHARE_WIRE, bytes(limits.FRAME + 1)))
    with pytest.raises(Refused) as caught:
        read_message(wire.SHARE_WIRE, message)
    assert caught.value.code == "shape.mismatch"
    other = wire.SHARE_WIRE.pack_request(wire.ChooseWay(lane=False))
    with pytest.raises(Refused) as caught:
        read_message(wire.SHARE_WIRE, other)
    assert caught.value.code == "session.request"
