"""Following what happens at each node, by its own stream of events."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from node.admin.client import AdminClient, AdminError
from node.demo.actor import Actor, SceneFailed

KEPT: Final = 4000
"""Events kept for the live page and for who asks late."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One event, and at which node it was heard."""

    node: str
    event: dict[str, Any]


@dataclass(slots=True)
class Watch:
    """Everything heard so far, and a bell for who waits for more."""

    nursery: trio.Nursery
    heard: deque[Heard] = field(default_factory=lambda: deque(maxlen=KEPT))
    bell: trio.Event = field(default_factory=trio.Event)

    def follow(self, actor: Actor) -> None:
        """Follow a node's events until it ends."""
        self.nursery.start_soon(self._follow, actor)

    def count(self, event: str) -> int:
        """How often an event was heard, at any node."""
        return sum(one.event["event"] == event for one in self.heard)

    async def first(
        self, node: str, event: str, fits: Callable[[dict[str, Any]], bool], seconds: float
    ) -> dict[str, Any]:
        """The first such event at a node, past or to come. Raises SceneFailed."""
        with trio.move_on_after(seconds):
            while True:
                bell = self.bell
                for one in self.heard:
                    if (one.node, one.event["event"]) == (node, event) and fits(one.event):
                        return one.event
                await bell.wait()
        raise SceneFailed(f"{node}: no event {event!r} within {seconds:.0f} s")

    async def _follow(self, actor: Actor) -> None:
        await trio.to_thread.run_sync(
            self._listen,
            actor,
            abandon_on_cancel=True,  # type: ignore[call-arg] # the stubs are older
        )

    def _listen(self, actor: Actor) -> None:
        try:
            with AdminClient(actor.socket) as client:
                for event in client.events():
                    trio.from_thread.run_sync(self._take, Heard(actor.name, event))
        except (AdminError, trio.RunFinishedError, trio.Cancelled):
            return  # the node ended, or the demo did

    def _take(self, heard: Heard) -> None:
        self.heard.append(heard)
        self.bell.set()
        self.bell = trio.Event()
