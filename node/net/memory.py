"""A network in memory: the same port as libp2p's, for tests and simulations under trio.

Deterministic but for trio's own scheduling; with MockClock, hours pass in milliseconds. `Weather`
says what goes wrong: latency, lost gossip, broken streams, partitions.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import trio

from node.net.address import parse
from node.net.proxy import Connect, direct
from node.net.transport import (
    FRAME_LIMIT,
    GOSSIP_LIMIT,
    Bytes,
    Closed,
    FrameTooLarge,
    Hears,
    NotAdmitted,
    Receive,
    Stalled,
    StreamTask,
    Unreachable,
    everybody,
)

_FRAMES_UNDER_WAY = 8
_PATIENCE = 600.0

Admits = Callable[[str], bool]
Pair = Callable[[str, str], bool]


@dataclass
class Weather:
    """What goes wrong between a sender and a receiver; change it while the network runs."""

    latency: Callable[[str, str], float] = lambda _sender, _receiver: 0.0
    """Seconds that a frame or message is under way."""
    loses: Pair = lambda _sender, _receiver: False
    """Whether this gossip message is lost."""
    breaks: Pair = lambda _sender, _receiver: False
    """Whether the stream breaks at this frame."""
    reaches: Pair = lambda _sender, _receiver: True
    """Whether the two are in one partition."""


class MemoryStream:
    """One end of a stream of frames."""

    def __init__(self, own: str, peer: str, weather: Weather) -> None:
        self.peer = peer
        self.host = "127.0.0.1"
        self._own = own
        self._weather = weather
        self._out, self._arriving = trio.open_memory_channel[tuple[float, bytes]](_FRAMES_UNDER_WAY)
        self._other: MemoryStream | None = None
        self._next: tuple[float, bytes] | None = None
        self._broken = False

    def join(self, other: "MemoryStream") -> None:
        """Make the two the ends of one stream."""
        self._other, other._other = other, self  # noqa: SLF001 - two ends of one stream
        ours, theirs = self._arriving, other._arriving  # noqa: SLF001
        self._arriving, other._arriving = theirs, ours  # noqa: SLF001

    async def send(self, *parts: Bytes) -> None:
        """Send one frame; raises Closed, Stalled or FrameTooLarge."""
        frame = b"".join(parts)
        if len(frame) > FRAME_LIMIT:
            raise FrameTooLarge(f"a frame of {len(frame)} bytes; at most {FRAME_LIMIT}")
        self._endure_weather()
        due = trio.current_time() + self._weather.latency(self._own, self.peer)
        sent = False
        try:
            with self._patient():
                await self._out.send((due, frame))
            sent = True
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Closed(f"stream with {self.peer} has ended") from error
        finally:
            if not sent:
                self.drop()

    async def receive(self, limit: int = FRAME_LIMIT) -> bytes:
        """Return the next frame; raises Closed, Stalled or FrameTooLarge."""
        if self._next is None:
            try:
                with self._patient():
                    self._next = await self._arriving.receive()
            except (trio.EndOfChannel, trio.ClosedResourceError) as error:
                raise Closed(f"stream with {self.peer} has ended") from error
        due, frame = self._next
        await trio.sleep_until(due)
        if self._broken or not self._weather.reaches(self.peer, self._own):
            self.drop()
            raise Closed(f"stream with {self.peer} is broken")
        if len(frame) > limit:
            self.drop()
            raise FrameTooLarge(f"{self.peer} sends a frame of {len(frame)} bytes; at most {limit}")
        self._next = None
        return frame

    async def close(self) -> None:
        """Say that no more frames follow; what was sent still arrives."""
        self._out.close()
        self._arriving.close()
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        """Drop the stream at once, both ways."""
        self.drop()
        await trio.lowlevel.checkpoint()

    def drop(self) -> None:
        """Reset without waiting."""
        for end in (self, self._other):
            if end is not None:
                end._broken = True  # noqa: SLF001 - the other end of the same stream
                end._out.close()  # noqa: SLF001
                end._arriving.close()  # noqa: SLF001

    def _endure_weather(self) -> None:
        weather, ends = self._weather, (self._own, self.peer)
        if self._broken or not weather.reaches(*ends) or weather.breaks(*ends):
            self.drop()
            raise Closed(f"stream with {self.peer} is broken")

    @contextmanager
    def _patient(self) -> Iterator[None]:
        with trio.move_on_after(_PATIENCE) as scope:
            yield
        if scope.cancelled_caught:
            self.drop()
            raise Stalled(f"{self.peer} is silent for {_PATIENCE:g} s")


class MemoryTransport:
    """A node's place in a network in memory."""

    def __init__(self, network: "MemoryNetwork", peer_id: str, port: int, admits: Admits) -> None:
        self.peer_id = peer_id
        self.connect: Connect = direct
        self.admits = admits
        self.port = port
        self.served: dict[str, tuple[StreamTask, bool]] = {}
        self.topics: dict[str, Receive] = {}
        self.hears: dict[str, Hears] = {}
        self._network = network

    def addresses(self) -> tuple[str, ...]:
        """Return the one address; () if outbound only."""
        return (f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{self.peer_id}",) if self.port else ()

    async def dial(self, address: str) -> str:
        """Connect to an address; raises Unreachable."""
        target = parse(address)
        await self._network.connect(self.peer_id, target.peer, target.port)
        return target.peer

    async def open(self, peer: str, protocol: str) -> MemoryStream:
        """Open a stream; raises Unreachable or NotAdmitted."""
        return await self._network.open(self.peer_id, peer, protocol)

    def serve(self, protocol: str, task: StreamTask, *, admit_all: bool = False) -> None:
        """Serve inbound streams of a protocol: for admitted peers, or for everybody."""
        self.served[protocol] = (task, admit_all)

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message, best effort; raises FrameTooLarge."""
        if len(data) > GOSSIP_LIMIT:
            raise FrameTooLarge(f"a message of {len(data)} bytes; gossip takes {GOSSIP_LIMIT}")
        self._network.spread(self.peer_id, topic, bytes(data))
        await trio.lowlevel.checkpoint()

    def subscribe(self, topic: str, receive: Receive, hears: Hears = everybody) -> None:
        """Call `receive` once for each message of other admitted peers on a topic; what is said
        there goes only to those that `hears` names.
        """
        self.topics[topic], self.hears[topic] = receive, hears


class MemoryNetwork:
    """All nodes of one network, and the weather between them; made by `memory_network`."""

    def __init__(self, tasks: trio.Nursery, weather: Weather) -> None:
        self.weather = weather
        self._tasks = tasks
        self._nodes: dict[str, MemoryTransport] = {}
        self._links: set[frozenset[str]] = set()
        self._streams: dict[str, list[MemoryStream]] = {}
        self._ports = 0

    def join(
        self, peer_id: str, admits: Admits = lambda _peer: True, *, listens: bool = True
    ) -> MemoryTransport:
        """Return the transport of a new node; one that does not listen is outbound only."""
        self._ports += 1
        node = MemoryTransport(self, peer_id, self._ports if listens else 0, admits)
        self._nodes[peer_id] = node
        return node

    def leave(self, peer_id: str) -> None:
        """Take a node away as a crash does: its streams break, its links are gone."""
        self._nodes.pop(peer_id, None)
        self._links = {link for link in self._links if peer_id not in link}
        for stream in self._streams.pop(peer_id, []):
            stream.drop()

    async def connect(self, own: str, peer: str, port: int) -> None:
        """Link two nodes; raises Unreachable."""
        await trio.sleep(self.weather.latency(own, peer))
        node = self._nodes.get(peer)
        if node is None or not node.port or node.port != port or peer == own:
            raise Unreachable(f"{peer or 'nobody'} does not listen at port {port}")
        self._refuse_partition(own, peer)
        self._links.add(frozenset((own, peer)))

    async def open(self, own: str, peer: str, protocol: str) -> MemoryStream:
        """Open a stream over a link; raises Unreachable or NotAdmitted."""
        await trio.sleep(self.weather.latency(own, peer))
        node = self._nodes.get(peer)
        if node is None or frozenset((own, peer)) not in self._links:
            raise Unreachable(f"no connection to {peer}, and no address of it")
        self._refuse_partition(own, peer)
        task, admit_all = node.served.get(protocol, (None, False))
        if task is None or not (admit_all or node.admits(own)):
            raise NotAdmitted(f"{peer} does not offer {protocol} to us")
        ours, theirs = MemoryStream(own, peer, self.weather), MemoryStream(peer, own, self.weather)
        ours.join(theirs)
        self._tasks.start_soon(self._serve, task, ours, theirs)
        return ours

    def spread(self, own: str, topic: str, data: bytes) -> None:
        """Bring a message to all subscribers that admit its publisher, and that it lets hear it."""
        sender = self._nodes.get(own)
        hears = everybody if sender is None else sender.hears.get(topic, everybody)
        for node in tuple(self._nodes.values()):
            ends = (own, node.peer_id)
            welcome = node.peer_id != own and node.admits(own) and topic in node.topics
            if (
                welcome
                and hears(node.peer_id)
                and self.weather.reaches(*ends)
                and not self.weather.loses(*ends)
            ):
                self._tasks.start_soon(self._deliver, node, topic, own, data)

    async def _deliver(self, node: MemoryTransport, topic: str, own: str, data: bytes) -> None:
        await trio.sleep(self.weather.latency(own, node.peer_id))
        if self._nodes.get(node.peer_id) is node:
            node.topics[topic](own, data)

    async def _serve(self, task: StreamTask, ours: MemoryStream, theirs: MemoryStream) -> None:
        ends = ((theirs.peer, ours), (ours.peer, theirs))
        for owner, stream in ends:
            self._streams.setdefault(owner, []).append(stream)
        try:
            await task(theirs)
            await theirs.close()
        except Closed:
            theirs.drop()
        finally:
            for owner, stream in ends:
                if stream in self._streams.get(owner, []):
                    self._streams[owner].remove(stream)

    def _refuse_partition(self, own: str, peer: str) -> None:
        if not self.weather.reaches(own, peer):
            raise Unreachable(f"{peer} is beyond a partition")


@asynccontextmanager
async def memory_network(weather: Weather | None = None) -> AsyncIterator[MemoryNetwork]:
    """Run a network in memory for as long as the context lasts."""
    async with trio.open_nursery() as tasks:
        yield MemoryNetwork(tasks, weather or Weather())
        tasks.cancel_scope.cancel()
