"""Fences around code that a peer can reach: no exception of one peer ends the daemon."""

import logging
import time
from collections.abc import Awaitable, Callable

import trio

_LOG = logging.getLogger(__name__)
_TEXT = 200


def quiet() -> None:
    """Keep libp2p's own logging to errors: at lower levels a peer decides how much we write."""
    for name in ("libp2p", "trio-websocket", "multiaddr"):
        logging.getLogger(name).setLevel(logging.ERROR)


async def fenced(name: str, task: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Run a task for one peer; return False if it failed, which is logged and goes no further.

    Not a silent catch-all: what fails here is libp2p's or a peer's code path, and the alternative
    is that one bad message ends the process (py-libp2p 0.8.1 does so in five places).
    """
    try:
        await task(*args)
    except Exception as error:
        _LOG.warning("%s: %s: %.*s", name, type(error).__name__, _TEXT, error)
        return False
    return True


class Bucket:
    """A rate that a peer may use up in bursts; whoever takes more waits, and so back-presses."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def delay(self, amount: float) -> float:
        """Take `amount` and return the seconds to wait before going on."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._left / self._rate)

    async def take(self, amount: float) -> None:
        """Take `amount`, waiting for it if it is not there yet."""
        delay = self.delay(amount)
        if delay > 0:
            await trio.sleep(delay)
