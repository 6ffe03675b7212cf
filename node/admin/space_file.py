"""The small file that brings somebody into a space: charter, addresses, and perhaps an invite."""

from dataclasses import dataclass
from typing import Annotated, Literal

from protocol import codec, limits, shape
from protocol.errors import Refused
from protocol.shape import Hash, Max

Addresses = tuple[Annotated[str, Max(512)], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceFile:
    """`opening` is the exact charter, `invite` the id of the invite record for a guest.

    Nothing in it is secret: an invite is bound to the guest's key.
    """

    type: Literal["space-file"] = "space-file"
    opening: Annotated[bytes, Max(limits.FRAME)]
    addresses: Addresses
    invite: Hash | None = None


def read(data: bytes) -> SpaceFile:
    """A space file, or a bare charter. Raises Refused (codec.*, shape.mismatch, topic.opening)."""
    value = codec.decode(data, 2 * limits.FRAME)
    match value.get("type") if isinstance(value, dict) else None:
        case "space-file":
            return shape.read(SpaceFile, value)
        case "space":
            return SpaceFile(opening=data, addresses=())
        case _:
            raise Refused("topic.opening", "this is no charter or invitation file")
