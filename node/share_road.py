"""The road of own shares to a host: by bulk lane, inside the stream where lanes do not carry."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from node import wire
from node.bulk_lane import Lanes, dialable
from node.net.transport import Transport
from node.share_upload import Parcel, Progress, Report, upload
from node.share_way import FAULTS, Reach
from protocol import limits
from protocol.errors import Refused

LAME: Final = 3
"""Attempts by a bulk lane that brought next to nothing, before the frames go inside the stream."""

LEAST: Final = 8 * limits.CHUNK
"""Bytes that are more than next to nothing: the kernels on the way hold back less."""


class Road:
    """Sends shares, and remembers of each how its frames go."""

    def __init__(self, transport: Transport, lanes: Lanes) -> None:
        """Send over `transport`, and by `lanes`."""
        self._transport = transport
        self._lanes = lanes
        self._lame: Counter[bytes] = Counter()
        self._last: dict[bytes, Progress] = {}

    def last(self, share: bytes) -> Progress | None:
        """How far a share was when it was last on its way; None before, and once `forget` said."""
        return self._last.get(share)

    def forget(self, share: bytes) -> None:
        """The share is where it should be."""
        self._last.pop(share, None)
        del self._lame[share]

    async def send(
        self, peer: str, addresses: Iterable[str], parcel: Parcel, report: Report
    ) -> wire.ShareTaken:
        """One attempt to send a share to a peer, whose own record says it is at `addresses`.

        Raises as `upload` does.
        """
        seen: Progress | None = None

        def note(progress: Progress) -> None:
            nonlocal seen
            seen = self._last[parcel.share] = progress
            report(progress)

        stream = await self._transport.open(peer, wire.SHARE)
        reach = Reach(dialable(addresses, stream.host), self._lanes)
        if self._lame[parcel.share] >= LAME:
            reach = Reach((), Lanes(), f"the bulk lane brought nothing {LAME} times")
        try:
            return await upload(stream, parcel, note, reach)
        except FAULTS as error:
            self._lame[parcel.share] += _is_lame(error, seen)
            raise


def _is_lame(error: Exception, seen: Progress | None) -> bool:
    """Whether a lane was tried, and brought next to nothing before it broke."""
    if seen is None:
        return isinstance(error, Refused) and error.code == "share.unfinished"
    return seen.by_lane and seen.sent - seen.passed_over < LEAST
