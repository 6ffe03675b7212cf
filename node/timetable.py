"""Runs by the clock: at each due time of a trigger that names this participant, one order.

What was missed while no node was there is made up for once, or skipped, as the agreement says. Two
nodes of one party, or two parties, may order for one due time: one order counts (rule U28 of
docs/protocol.md). Each waits its turn before, so that mostly one is given.
"""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import trio

from node import orders
from node.node import Node
from protocol import keys, limits, schedule
from protocol.errors import ProtocolError
from protocol.kinds.agreement import Trigger
from protocol.kinds.run import Order
from protocol.machines.agreement import Collaboration
from protocol.parameters import parameters_of

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the clock."""

TURN: Final = 2
"""Seconds that each further party waits for the order of those before it."""

log = logging.getLogger("village.timetable")


class Timetable:
    """The background task of a node; `clock` gives unix seconds."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.time) -> None:
        self.node = node
        self.clock = clock
        self._refused: set[tuple[bytes, str, int]] = set()

    async def run(self) -> None:
        """Order until cancelled."""
        while True:
            await self.look()
            await trio.sleep(LOOK_EVERY)

    async def look(self) -> None:
        """Give every order that is due now."""
        now = int(self.clock())
        for found in list(self.node.world.collaborations()):
            for trigger, due in self._due(found, now):
                await self._order(found, trigger, due)

    def _due(self, found: Collaboration, now: int) -> Iterator[tuple[Trigger, int]]:
        runs = found.runs
        over = found.ended(now) or runs.next_number > found.document.runs.at_most
        if over or self.node.keyring.did not in found.parties:
            return
        for trigger in found.document.runs.triggers:
            due = due_now(found, trigger, now)
            late = due is not None and now < due + self._turn(found, trigger)
            if due is not None and not late and self.node.keyring.did in trigger.by:
                yield trigger, due

    def _turn(self, found: Collaboration, trigger: Trigger) -> int:
        """Seconds that this node waits after a due time."""
        me = self.node.keyring.did
        place = trigger.by.index(me) if me in trigger.by else len(trigger.by)
        votes = keys.public(self.node.keyring.record) in found.histories[me].voting_keys
        return TURN * place + (0 if votes else TURN // 2)

    async def _order(self, found: Collaboration, trigger: Trigger, due: int) -> None:
        place = (found.id, trigger.name, due)
        if place in self._refused:
            return
        order = Order(
            entry=trigger.entry,
            parameters=parameters_of(found.document, trigger, None),
            trigger=trigger.name,
            due=due,
        )
        try:
            await orders.give(self.node, found, order)
        except ProtocolError as error:
            self._refused.add(place)
            log.warning("%s is due and was not ordered: %s", trigger.name, error)


def due_now(found: Collaboration, trigger: Trigger, now: int) -> int | None:
    """The due time for which an order is to be given: the last one, unless somebody ordered for it,
    or it was missed and is to be skipped.
    """
    if trigger.cron is None:
        return None
    due = schedule.previous(trigger.cron, now)
    if due is None or due < found.document.start:
        return None
    if trigger.missed == "skip" and now - due > limits.CLOCK_SKEW:
        return None
    ordered = (order for _, order in found.runs.orders.values())
    known = any((one.trigger, one.due) == (trigger.name, due) for one in ordered)
    return None if known else due
