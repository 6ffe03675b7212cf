"""The network port over libp2p: TCP and WebSocket, Noise, yamux, gossipsub."""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import trio

from node.net.address import Address, parse
from node.net.libp2p import multistream, sockets, standard
from node.net.libp2p.framed import FramedStream
from node.net.libp2p.gossip import PROTOCOLS, Gossip
from node.net.libp2p.gossip_host import GossipHost
from node.net.libp2p.guards import fenced, quiet
from node.net.libp2p.limits import LIMITS, TIMEOUTS, Limits, Timeouts
from node.net.libp2p.links import Links
from node.net.libp2p.secure import Identity
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import MuxedStream, StreamBroken
from node.net.proxy import Connect, direct
from node.net.transport import (
    GOSSIP_LIMIT,
    FrameTooLarge,
    Hears,
    NotAdmitted,
    Receive,
    Stream,
    StreamTask,
    TransportError,
    Unreachable,
    everybody,
)

_LOG = logging.getLogger(__name__)


class Libp2pTransport:
    """A node's place in a libp2p network; made by `libp2p_transport`."""

    def __init__(
        self,
        identity: Identity,
        admits: Callable[[str], bool],
        tasks: trio.Nursery,
        links: Links,
        limits: Limits,
        timeouts: Timeouts,
        connect: Connect,
    ) -> None:
        self.connect = connect
        self.peer_id = str(identity.peer)
        self._identity = identity
        self._admits = admits
        self._tasks = tasks
        self._links = links
        self._timeouts = timeouts
        self._listening: list[Address] = []
        self._served: dict[str, tuple[StreamTask, bool]] = {}
        self._gossip = Gossip(GossipHost(identity, links.of, self._open_muxed), limits, admits)
        links.attach(self._on_stream, self._gossip)

    # --- the port ---------------------------------------------------------------------------

    def addresses(self) -> tuple[str, ...]:
        """Return the multiaddrs we listen at, each with /p2p/ID."""
        return tuple(f"{address}/p2p/{self.peer_id}" for address in self._listening)

    async def dial(self, address: str) -> str:
        """Connect to a multiaddr that ends in /p2p/ID; raises Unreachable."""
        target = parse(address)
        if target.peer in ("", self.peer_id):
            raise Unreachable(f"{address} must end in the /p2p/ID of another node")
        self._links.remember(target)
        await self._links.to(target.peer)
        return target.peer

    async def open(self, peer: str, protocol: str) -> Stream:
        """Open a stream, redialling if needed; raises Unreachable or NotAdmitted."""
        await self._links.to(peer)
        return FramedStream(await self._open_muxed(peer, [protocol]), peer, self._timeouts)

    def serve(self, protocol: str, task: StreamTask, *, admit_all: bool = False) -> None:
        """Serve inbound streams of a protocol: for admitted peers, or for everybody."""
        self._served[protocol] = (task, admit_all)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message, best effort; raises FrameTooLarge."""
        if len(data) > GOSSIP_LIMIT:
            raise FrameTooLarge(f"a message of {len(data)} bytes; gossip takes {GOSSIP_LIMIT}")
        await self._gossip.publish(topic, data)

    def subscribe(self, topic: str, receive: Receive, hears: Hears = everybody) -> None:
        """Call `receive` once for each new message of other admitted peers on a topic; what is said
        or passed on there goes only to those that `hears` names.
        """
        self._tasks.start_soon(self._gossip.join, topic, receive, hears)

    # --- life -------------------------------------------------------------------------------

    async def start(self, listen: Sequence[str]) -> None:
        """Listen and begin to gossip; raises Unreachable if an address cannot be used."""
        for text in listen:
            address = await sockets.listen(parse(text), self._links.on_socket, self._tasks)
            self._listening.append(address)
        self._tasks.start_soon(self._gossip.run)
        self._tasks.start_soon(self._links.review)
        await self._gossip.ready.wait()

    # --- streams ----------------------------------------------------------------------------

    async def _open_muxed(self, peer: str, protocols: Sequence[str]) -> MuxedStream:
        live = self._links.of(peer)
        if not live:
            raise Unreachable(f"no connection to {peer}")
        stream = None
        try:
            stream = live[-1].open_stream()
            with trio.fail_after(self._timeouts.open):
                stream.protocol = await multistream.propose(stream, stream.write, protocols)
        except multistream.NoAgreement as error:
            raise NotAdmitted(f"{peer} does not offer {protocols[0]} to us") from error
        except (StreamBroken, WireClosed, trio.TooSlowError) as error:
            raise Unreachable(f"{peer} does not answer on a new stream") from error
        finally:
            if stream is not None and stream.protocol is None:
                stream.drop()
        return stream

    async def _on_stream(self, stream: MuxedStream) -> None:
        peer = str(stream.muxed_conn.peer_id)
        if not await fenced(f"stream of {peer}", self._serve_stream, stream, peer):
            stream.drop()

    async def _serve_stream(self, stream: MuxedStream, peer: str) -> None:
        admitted = self._admits(peer)
        offered = {
            name: task for name, (task, to_all) in self._served.items() if to_all or admitted
        }
        names = {standard.PING, standard.IDENTIFY, *offered, *(PROTOCOLS if admitted else ())}
        try:
            with trio.fail_after(self._timeouts.open):
                stream.protocol = await multistream.accept(stream, stream.write, names)
        except (multistream.NoAgreement, WireClosed, StreamBroken, trio.TooSlowError):
            stream.drop()
            return
        if stream.protocol in offered:
            await self._serve_framed(stream, peer, offered[stream.protocol])
        else:
            await self._serve_standard(stream, names)

    async def _serve_framed(self, stream: MuxedStream, peer: str, task: StreamTask) -> None:
        framed = FramedStream(stream, peer, self._timeouts)
        try:
            await task(framed)
            await framed.close()
        except TransportError as error:  # the usual end of a stream that its peer left
            _LOG.debug("%s: %s", stream.protocol, error)
            stream.drop()

    async def _serve_standard(self, stream: MuxedStream, names: Collection[str]) -> None:
        if stream.protocol == standard.PING:
            await standard.serve_ping(stream)
        elif stream.protocol == standard.IDENTIFY:
            await standard.serve_identify(stream, self._identity, names)
        else:
            await self._gossip.serve(stream)
        await stream.close()


@asynccontextmanager
async def libp2p_transport(
    seed: bytes,
    listen: Sequence[str],
    admits: Callable[[str], bool],
    *,
    origins: Collection[str] = (),
    limits: Limits = LIMITS,
    timeouts: Timeouts = TIMEOUTS,
    connect: Connect = direct,
) -> AsyncIterator[Libp2pTransport]:
    """Run a node's transport for as long as the context lasts.

    `seed` is the 32-byte Ed25519 node key. `listen` are multiaddrs such as
    /ip4/0.0.0.0/tcp/4001 or /ip4/127.0.0.1/tcp/4002/ws; none means outbound only. `admits` says
    at any time whether a PeerId is one of ours; it must be quick. `origins` are the web pages
    (https://host) that may connect by WebSocket; `connect` is how TCP is dialled.
    Raises Unreachable if an address cannot be used.
    Leaving the context closes everything within `timeouts.stop` and a moment.
    """
    quiet()
    identity = Identity.from_seed(seed)
    failure: Unreachable | None = None
    async with trio.open_nursery() as tasks:
        links = Links(identity, admits, tasks, limits, timeouts, origins, connect)
        transport = Libp2pTransport(identity, admits, tasks, links, limits, timeouts, connect)
        try:
            await transport.start(listen)
        except Unreachable as error:
            failure = error
        else:
            try:
                yield transport
            finally:
                await links.say_goodbye()
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
