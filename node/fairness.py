"""Turns: each sender has one batch on the road at a time; a flood delays its sender alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio


@dataclass(slots=True)
class _Turn:
    lock: trio.Lock = field(default_factory=trio.Lock)
    users: int = 0


class Turns:
    """One lock for each sender that has something to say now; nothing is remembered after."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._turns: dict[bytes | None, _Turn] = {}

    @asynccontextmanager
    async def of(self, sender: bytes | None) -> AsyncIterator[None]:
        """Wait for the own turn, behind what the same sender began before."""
        turn = self._turns.setdefault(sender, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[sender]
