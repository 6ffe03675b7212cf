"""Who may come in, and how many: the caps on connections."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from node.net.libp2p.limits import Limits
from node.net.libp2p.yamux import Connection
from node.net.transport import Unreachable


class Doors:
    """Counts handshakes and connections, and says no; every entry is given back on the way out.

    py-libp2p 0.8.1 never gives back its inbound slots: after 250 connections in its life a node
    refuses all others.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._handshakes: dict[trio.CancelScope, str] = {}
        self._addresses: Counter[str] = Counter()
        self._connections: dict[str, list[Connection]] = {}

    @contextmanager
    def handshake(self, scope: trio.CancelScope, remote: str) -> Iterator[None]:
        """Hold a place for a handshake; `scope` is cancelled if it must make room.

        When all are taken, the oldest of the address with the most goes: half-open handshakes of
        one address lock out nobody else.
        """
        if len(self._handshakes) >= self._limits.handshakes:
            [(greediest, _)] = Counter(self._handshakes.values()).most_common(1)
            oldest = next(held for held, by in self._handshakes.items() if by == greediest)
            del self._handshakes[oldest]
            oldest.cancel()
        self._handshakes[scope] = remote
        try:
            yield
        finally:
            self._handshakes.pop(scope, None)

    @contextmanager
    def address(self, remote: str) -> Iterator[None]:
        """Hold a place for an inbound connection of an IP address; raises Unreachable."""
        if self._addresses[remote] >= self._limits.per_address:
            raise Unreachable(f"{self._limits.per_address} connections from {remote} already")
        self._addresses[remote] += 1
        try:
            yield
        finally:
            self._addresses[remote] -= 1
            if not self._addresses[remote]:
                del self._addresses[remote]

    @contextmanager
    def connection(self, peer: str, connection: Connection) -> Iterator[None]:
        """Hold a place for an established connection; raises Unreachable.

        A peer that comes back after a silent death is let in: its oldest connection goes.
        """
        self._refuse_if_full(connection)
        own = self._connections.setdefault(peer, [])
        if len(own) >= self._limits.per_peer:
            own[0].abort()
        own.append(connection)
        try:
            yield
        finally:
            own.remove(connection)
            if not own and self._connections.get(peer) is own:
                del self._connections[peer]

    def connections(self, peer: str) -> list[Connection]:
        """Return the live connections of a peer, oldest first."""
        return [each for each in self._connections.get(peer, ()) if not each.is_closed]

    def all(self) -> list[Connection]:
        """Return all live connections."""
        return [each for peer in tuple(self._connections) for each in self.connections(peer)]

    def _refuse_if_full(self, newcomer: Connection) -> None:
        live = self.all()
        if len(live) >= self._limits.connections:
            raise Unreachable(f"{self._limits.connections} connections already")
        strangers = sum(1 for each in live if _is_stranger(each))
        if _is_stranger(newcomer) and strangers >= self._limits.strangers:
            raise Unreachable(f"{self._limits.strangers} connections of strangers already")


def _is_stranger(connection: Connection) -> bool:
    return not connection.member and not connection.outbound
