"""Connections to peers: dialled, accepted, counted, reviewed, carried until they end."""

import logging
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import trio

from node.net.address import Address
from node.net.libp2p import secure, sockets
from node.net.libp2p.dialling import Dialling
from node.net.libp2p.doors import Doors
from node.net.libp2p.gossip import Gossip
from node.net.libp2p.guards import fenced
from node.net.libp2p.limits import Limits, Timeouts
from node.net.libp2p.secure import Identity, SecureWire
from node.net.libp2p.wire import Pipe, TcpPipe
from node.net.libp2p.yamux import Accept, Connection
from node.net.proxy import Connect
from node.net.transport import Unreachable

_LOG = logging.getLogger(__name__)
_REVIEW = 1.0
"""Seconds between two looks at who is admitted now."""

Admits = Callable[[str], bool]
Fault = TypeVar("Fault", bound=Exception)


class _Waiting(Protocol):
    """Whoever waits in `Nursery.start` (trio.TaskStatus, which the stubs do not know)."""

    def started(self, value: Connection | Unreachable) -> None: ...


class Links:
    """All connections of a node."""

    def __init__(
        self,
        identity: Identity,
        admits: Admits,
        tasks: trio.Nursery,
        limits: Limits,
        timeouts: Timeouts,
        origins: Collection[str],
        connect: Connect,
    ) -> None:
        self._identity = identity
        self._admits = admits
        self._tasks = tasks
        self._limits = limits
        self._timeouts = timeouts
        self._origins = origins
        self._connect = connect
        self._doors = Doors(limits)
        self._dialling = Dialling(limits, timeouts)
        self.of = self._doors.connections

    def attach(self, accept: Accept, gossip: Gossip) -> None:
        """Say who serves inbound streams, and who hears which members come and go."""
        self._accept = accept
        self._gossip = gossip

    # --- outbound -----------------------------------------------------------------------------

    def remember(self, address: Address) -> None:
        """Remember the address of a peer for dialling."""
        self._dialling.remember(address)

    async def to(self, peer: str) -> Connection:
        """Return a live connection to a peer, redialling if needed; raises Unreachable."""
        asked, live = trio.current_time(), self.of(peer)
        if live:
            return live[-1]
        if not self._dialling.knows(peer):
            raise Unreachable(f"no connection to {peer}, and no address of it")
        async with self._dialling.turn(peer):
            live = self.of(peer)
            if live:
                return live[-1]
            if self._dialling.failed_since(peer, asked):
                raise Unreachable(f"{peer} was dialled in vain just now")
            return await self._redial(peer)

    async def _redial(self, peer: str) -> Connection:
        address = await self._dialling.wait(peer)
        outcome: Connection | Unreachable = Unreachable(
            f"{address} does not answer within {self._timeouts.dial:g} s"
        )
        with trio.move_on_after(self._timeouts.dial):
            outcome = await self._tasks.start(self._carry_outbound, address)
        if isinstance(outcome, Unreachable):
            self._dialling.failed(peer)
            raise outcome
        self._dialling.succeeded(peer)
        return outcome

    async def _carry_outbound(self, address: Address, task_status: _Waiting) -> None:
        established: list[Connection] = []

        def ready(connection: Connection) -> None:
            established.append(connection)
            task_status.started(connection)

        failure = Unreachable(f"{address} closed the connection")
        try:
            await self._reach(address, ready)
        except* Unreachable as group:
            failure = _first(group)
        except* Exception as group:  # a hostile answer that nobody foresaw ends here
            _LOG.warning("connection to %s: %r", address, _first(group))
        if not established:
            task_status.started(failure)

    async def _reach(self, address: Address, ready: Callable[[Connection], None]) -> None:
        async with trio.open_nursery() as own:
            pipe = await sockets.dial(address, own, self._connect)
            try:
                wire = await secure.outbound(pipe, self._identity, address.peer)
                await self._carry(wire, ready, outbound=True)
            finally:
                await _close(pipe)
                own.cancel_scope.cancel()

    # --- inbound ------------------------------------------------------------------------------

    async def on_socket(self, stream: trio.SocketStream, websocket: bool) -> None:
        """Carry an accepted connection until it ends; raises nothing."""
        try:
            await fenced("inbound connection", self._carry_inbound, stream, websocket)
        finally:
            await _close(TcpPipe(stream))

    async def _carry_inbound(self, stream: trio.SocketStream, websocket: bool) -> None:
        try:
            async with trio.open_nursery() as own:
                wire = await self._shake_hands(stream, websocket, own)
                with self._doors.address(wire.remote):
                    await self._carry(wire, lambda _connection: None, outbound=False)
                own.cancel_scope.cancel()
        except* Unreachable as refusals:
            _LOG.debug("inbound connection: %s", _first(refusals))

    async def _shake_hands(
        self, stream: trio.SocketStream, websocket: bool, own: trio.Nursery
    ) -> SecureWire:
        pipe: Pipe = TcpPipe(stream)
        with (
            trio.move_on_after(self._timeouts.dial) as scope,
            self._doors.handshake(scope, pipe.remote),
        ):
            if websocket:
                pipe = await sockets.upgrade_to_websocket(stream, self._origins, own)
            return await secure.inbound(pipe, self._identity)
        raise Unreachable("the handshake took too long, or made room for newer ones")

    # --- either way ---------------------------------------------------------------------------

    async def _carry(
        self, wire: SecureWire, ready: Callable[[Connection], None], *, outbound: bool
    ) -> None:
        peer = str(wire.peer_id)
        member, limits = self._admits(peer), self._limits
        connection = Connection(
            wire,
            wire.peer_id,
            outbound=outbound,
            member=member,
            accept=self._accept,
            tasks=self._tasks,
            streams=limits.streams if member else limits.stranger_streams,
            unread=limits.unread if member else limits.stranger_unread,
            ping=self._timeouts.ping,
        )
        with self._doors.connection(peer, connection):
            ready(connection)
            if member:
                self._tasks.start_soon(self._gossip.add_peer, wire.peer_id)
            await connection.run()
        if not self.of(peer):
            await self._gossip.remove_peer(wire.peer_id)

    async def review(self) -> None:
        """Follow admission while peers are connected: votes admit, revocations expel."""
        while True:
            for connection in self._doors.all():
                self._review_one(connection)
            await trio.sleep(_REVIEW)

    def _review_one(self, connection: Connection) -> None:
        admitted = self._admits(str(connection.peer_id))
        if connection.member and not admitted:
            connection.abort()
        elif admitted and not connection.member:
            connection.promote(self._limits.streams, self._limits.unread)
            self._tasks.start_soon(self._gossip.add_peer, connection.peer_id)

    async def say_goodbye(self) -> None:
        """Close all connections, telling the peers; bounded in time."""
        with trio.move_on_after(self._timeouts.stop) as scope:
            scope.shield = True
            async with trio.open_nursery() as farewells:
                for connection in self._doors.all():
                    farewells.start_soon(connection.goodbye)


async def _close(pipe: Pipe) -> None:
    with trio.CancelScope(shield=True):
        await pipe.close()


def _first(group: ExceptionGroup[Fault]) -> Fault:
    fault = group.exceptions[0]
    return _first(fault) if isinstance(fault, ExceptionGroup) else fault
