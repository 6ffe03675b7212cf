"""What happened here, as people and programs follow it: one bounded, numbered list in memory.

Everything in it stems from a record, a refusal or an effect; the journal is the durable truth.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import trio

KEPT = 5000
"""Happenings kept in memory; who was away longer reads the journal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One line: running number, wall time, stable event name, id behind it (hex), plain details."""

    number: int
    at: float
    event: str
    topic: str
    id: str
    details: dict[str, Any]


@dataclass(slots=True)
class Happenings:
    """The list, and a bell for those who wait for the next."""

    kept: deque[Happening] = field(default_factory=lambda: deque(maxlen=KEPT))
    count: int = 0
    bell: trio.Event = field(default_factory=trio.Event)

    def add(self, at: float, event: str, topic: bytes, id_: bytes, **details: object) -> None:
        """Note that something happened, and wake who waits."""
        self.count += 1
        self.kept.append(
            Happening(
                number=self.count,
                at=at,
                event=event,
                topic=topic.hex(),
                id=id_.hex(),
                details=dict(details),
            )
        )
        self.bell.set()
        self.bell = trio.Event()

    def since(self, after: int) -> list[Happening]:
        """What happened after number `after`, as far as it is kept."""
        return [happening for happening in self.kept if happening.number > after]

    async def news(self, after: int, seconds: float) -> bool:
        """Wait until there is something after number `after`; False if there was nothing."""
        with trio.move_on_after(seconds):
            while self.count <= after:
                await self.bell.wait()
        return self.count > after

    async def follow(self, after: int) -> AsyncIterator[Happening]:
        """Yield every happening after number `after`, then each new one; never ends by itself."""
        while True:
            bell = self.bell
            for happening in [h for h in self.kept if h.number > after]:
                after = happening.number
                yield happening
            await bell.wait()
