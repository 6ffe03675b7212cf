"""Addresses to redial, and how soon."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import trio

from node.net.address import Address
from node.net.libp2p.limits import Limits, Timeouts
from node.net.transport import Unreachable


@dataclass
class _Target:
    address: Address
    pause: float
    next_at: float = 0.0
    failed_at: float = -math.inf
    turn: trio.Lock = field(default_factory=trio.Lock)


class Dialling:
    """Remembers one address per peer, and spaces the dials of each peer."""

    def __init__(self, limits: Limits, timeouts: Timeouts) -> None:
        self._most = limits.known_addresses
        self._timeouts = timeouts
        self._targets: OrderedDict[str, _Target] = OrderedDict()

    def remember(self, address: Address) -> None:
        """Remember the newest address of a peer; the longest unused one makes room."""
        target = self._targets.get(address.peer)
        if target is None:
            self._targets[address.peer] = _Target(address, self._timeouts.backoff)
            if len(self._targets) > self._most:
                self._targets.popitem(last=False)
        else:
            target.address = address
            self._targets.move_to_end(address.peer)

    def knows(self, peer: str) -> bool:
        """Return whether there is an address to redial."""
        return peer in self._targets

    def turn(self, peer: str) -> trio.Lock:
        """Return the lock of a known peer: one dial at a time."""
        return self._targets[peer].turn

    async def wait(self, peer: str) -> Address:
        """Wait until a peer may be dialled again, and return its address.

        Holds the pause between dials of one peer, which doubles with each failure. Raises
        Unreachable if the peer was never dialled.
        """
        target = self._targets.get(peer)
        if target is None:
            raise Unreachable(f"no connection to {peer}, and no address of it")
        await trio.sleep(max(0.0, target.next_at - trio.current_time()))
        target.next_at = trio.current_time() + target.pause
        return target.address

    def failed_since(self, peer: str, moment: float) -> bool:
        """Return whether a dial failed while others waited for it: they share its failure."""
        target = self._targets.get(peer)
        return target is not None and target.failed_at >= moment

    def failed(self, peer: str) -> None:
        """Double the pause."""
        target = self._targets.get(peer)
        if target is not None:
            target.failed_at = trio.current_time()
            target.pause = min(2 * target.pause, self._timeouts.backoff_most)
            target.next_at = trio.current_time() + target.pause

    def succeeded(self, peer: str) -> None:
        """Return to the least pause, counted from now."""
        target = self._targets.get(peer)
        if target is not None:
            target.pause = self._timeouts.backoff
            target.next_at = trio.current_time() + target.pause
