"""Bounds for doors that are open to everybody: streams, requests and bytes of each peer and of all.

PeerIds cost nothing, so the bounds over all peers are what protects the node; those of one peer
keep a clumsy neighbour from using them up.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio

from protocol.errors import Refused

PATIENCE = 5.0
"""Seconds that a peer may be slowed down before it is refused."""

KNOWN = 4096
"""Peers whose use is remembered."""

EVERYBODY = ""
"""Under this name stands what all peers use together; no PeerId is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Streams at once; requests and bytes per second, and how much may come in one burst: of one
    peer, and where `all_` stands of all together.
    """

    streams: int
    all_streams: int
    requests: float
    burst: float
    bytes: float
    bytes_burst: float
    all_requests: float | None = None
    all_burst: float = 0.0


@dataclass(slots=True)
class _Budget:
    """What is left of a rate."""

    left: float
    at: float

    def spent(self, rate: float, burst: float, now: float) -> bool:
        """Whether nothing is left."""
        return min(burst, self.left + (now - self.at) * rate) < 1

    def take(self, amount: float, rate: float, burst: float, now: float) -> float:
        """Use `amount`; the seconds to wait for it."""
        self.left = min(burst, self.left + (now - self.at) * rate) - amount
        self.at = now
        return max(0.0, -self.left / rate)


@dataclass(slots=True)
class Door:
    """Counts what each peer uses. Slows down first, then refuses (door.busy)."""

    bounds: Bounds
    _streams: Counter[str] = field(default_factory=Counter)
    _requests: dict[str, _Budget] = field(default_factory=dict)
    _bytes: dict[str, _Budget] = field(default_factory=dict)

    @contextmanager
    def stream(self, peer: str) -> Iterator[None]:
        """Hold one stream. Raises Refused (door.busy)."""
        full = self._streams[peer] >= self.bounds.streams
        if full or self._streams.total() >= self.bounds.all_streams:
            raise Refused("door.busy", "too many streams at once")
        self._streams[peer] += 1
        try:
            yield
        finally:
            self._streams[peer] -= 1
            if not self._streams[peer]:
                del self._streams[peer]

    async def request(self, peer: str, size: int) -> None:
        """Let one request of `size` bytes pass, slowly if need be. Raises Refused (door.busy)."""
        bounds = self.bounds
        await self._wait(self._requests, peer, 1, bounds.requests, bounds.burst)
        if bounds.all_requests is not None:
            await self._wait(self._requests, EVERYBODY, 1, bounds.all_requests, bounds.all_burst)
        await self.bytes(peer, size)

    def check(self, peer: str) -> None:
        """Refuse (door.busy) who used up what it has, without counting."""
        budget, bounds = self._requests.get(peer), self.bounds
        if budget is not None and budget.spent(bounds.requests, bounds.burst, trio.current_time()):
            raise Refused("door.busy", "too often wrong")

    def count(self, peer: str) -> bool:
        """Note a request without waiting. Whether all together used up what they have."""
        now, bounds = trio.current_time(), self.bounds
        budget = self._budget(self._requests, peer, bounds.burst, now)
        budget.take(1, bounds.requests, bounds.burst, now)
        if bounds.all_requests is None:
            return False
        everybody = self._budget(self._requests, EVERYBODY, bounds.all_burst, now)
        everybody.take(1, bounds.all_requests, bounds.all_burst, now)
        everybody.left = max(everybody.left, 0.0)
        return everybody.spent(bounds.all_requests, bounds.all_burst, now)

    async def bytes(self, peer: str, size: int) -> None:
        """Let `size` bytes pass, slowly if need be. Raises Refused (door.busy)."""
        await self._wait(self._bytes, peer, size, self.bounds.bytes, self.bounds.bytes_burst)

    async def _wait(
        self, known: dict[str, _Budget], peer: str, amount: float, rate: float, burst: float
    ) -> None:
        now = trio.current_time()
        budget = self._budget(known, peer, burst, now)
        delay = budget.take(amount, rate, burst, now)
        if delay > PATIENCE:
            budget.left += amount
            raise Refused("door.busy", "too much in too short a time")
        await trio.sleep(delay)

    @staticmethod
    def _budget(known: dict[str, _Budget], peer: str, burst: float, now: float) -> _Budget:
        if peer not in known and len(known) >= KNOWN:
            # The one that asked longest ago has the most to gain back: forgetting it gives least.
            del known[min(known.keys() - {EVERYBODY}, key=lambda one: known[one].at)]
        return known.setdefault(peer, _Budget(burst, now))
