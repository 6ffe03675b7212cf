"""Hypercorn's server of one connection, with a bound on how long a caller may leave it waiting."""

from typing import Any, Final

import trio
from hypercorn.events import Closed, RawData
from hypercorn.trio.tcp_server import TCPServer

SEND_TIME: Final = 5.0
"""Seconds that a caller may leave an answer unread."""


class BoundedServer(TCPServer):  # type: ignore[misc] # hypercorn has no usable types
    """Serves one connection, and never waits for ever."""

    async def protocol_send(self, event: Any) -> None:  # noqa: ANN401 (hypercorn's)
        """Send, but for bounded time: Hypercorn's own sending cannot be cancelled."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.fail_after(SEND_TIME):
                    await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                await self.stream.aclose()
                await self.protocol.handle(Closed())
