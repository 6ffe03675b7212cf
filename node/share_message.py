"""A share's frame as the message wire.ShareFrame, byte for byte what the general coding makes.

The general coding of 1 MiB costs as much as its encryption and its way to the other node together;
a large frame stands at the end of its message as it is, so here it costs one copy.
"""

from typing import Final

from node import wire
from protocol import limits
from protocol.dialogue import Dialogue
from protocol.errors import Refused
from protocol.sealing.stream import Bytes

_LARGE: Final = 65536
"""From here on CBOR gives a byte string's length in four bytes, after the byte 0x5a."""

_SIZE: Final = 4


def _head(*, last: bool) -> bytes:
    """What stands before the length of a large frame."""
    packed = wire.SHARE_WIRE.pack_request(wire.ShareFrame(frame=bytes(_LARGE), last=last))
    return packed[: -_LARGE - _SIZE]


_HEADS: Final = (_head(last=False), _head(last=True))
_HEAD: Final = len(_HEADS[0])


def pack_message(dialogue: Dialogue, frame: Bytes) -> tuple[Bytes, ...]:
    """The message of a frame, as `dialogue` packs it, in parts; a large frame is one of them."""
    last = frame[:1] == b"\x03"
    size = len(frame)
    if size < _LARGE:
        return (dialogue.pack_request(wire.ShareFrame(frame=bytes(frame), last=last)),)
    return _HEADS[last], size.to_bytes(_SIZE, "big"), frame


def read_message(dialogue: Dialogue, message: bytes) -> bytes:
    """The frame in a message. Raises Refused: what `dialogue` does not take, or another request."""
    if _is_large(message):
        return message[_HEAD + _SIZE :]
    request = dialogue.read_request(message)
    if not isinstance(request, wire.ShareFrame):
        raise Refused("session.request", "after the offer only frames may follow")
    return request.frame


def read_for_lane(dialogue: Dialogue, message: bytes) -> Bytes:
    """The frame in a message, behind its length, as a bulk lane carries it. Raises Refused.

    CBOR says the length as a lane does, in the four bytes before the frame: nothing is copied.
    """
    if _is_large(message):
        return memoryview(message)[_HEAD:]
    frame = read_message(dialogue, message)
    return len(frame).to_bytes(_SIZE, "big") + frame


def _is_large(message: bytes) -> bool:
    """Whether a message is exactly what `pack_message` makes of a large frame."""
    size = len(message) - _HEAD - _SIZE
    told = int.from_bytes(message[_HEAD : _HEAD + _SIZE], "big")
    return _LARGE <= size <= limits.FRAME and told == size and message.startswith(_HEADS)
