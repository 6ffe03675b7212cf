"""The network port: what the node asks of any network. Nothing outside node/net/libp2p knows more.

A stream is ordered, authenticated and encrypted, and carries frames: a 4-byte big-endian length,
then that many bytes. The end of a stream proves nothing (a killed peer looks like one that
finished), so whatever must be complete carries its own length, digest and acknowledgement.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from node.net.proxy import Connect
from protocol.errors import ProtocolError

FRAME_LIMIT = 1024 * 1024 + 64 * 1024
"""Largest frame in bytes: a 1 MiB chunk of a share with its seal and envelope."""

GOSSIP_LIMIT = 64 * 1024
"""Largest gossip message in bytes: gossip is for small records, anti-entropy brings the rest."""

Bytes = bytes | memoryview
"""Bytes to send; those of a buffer must stay as they are until they are sent."""


class TransportError(ProtocolError):
    """Something between two nodes failed; ends at the session that met it."""

    code = "net"


class Unreachable(TransportError):
    """No connection could be made, or the address or the identity behind it is wrong."""

    code = "net.unreachable"


class Closed(TransportError):
    """The stream has ended, cleanly or not: the two look the same."""

    code = "net.closed"


class Stalled(TransportError):
    """The other end sent, or took, nothing for too long; the stream is reset."""

    code = "net.stalled"


class FrameTooLarge(TransportError):
    """A frame or message is larger than its reader allows; nothing of it was read or sent."""

    code = "net.frame-too-large"


class NotAdmitted(TransportError):
    """The other node does not offer this protocol to us."""

    code = "net.not-admitted"


class Stream(Protocol):
    """One ordered, authenticated, encrypted stream of frames between two peers."""

    @property
    def peer(self) -> str:
        """The libp2p PeerId of the other end, as text; proven by the handshake."""
        ...

    @property
    def host(self) -> str:
        """Where the other end is: the host that was dialled, or the address it came from."""
        ...

    async def send(self, *parts: Bytes) -> None:
        """Send one frame, given in one or more parts; waits while the other end does not read.

        Raises Closed, Stalled, or FrameTooLarge above FRAME_LIMIT. A cancelled send resets the
        stream, because half a frame may have left.
        """
        ...

    async def receive(self, limit: int = FRAME_LIMIT) -> bytes:
        """Return the next frame, at most `limit` bytes; safe to cancel and call again.

        Raises Closed at the end of the stream, Stalled, or FrameTooLarge before reading such a
        frame (the stream is then reset).
        """
        ...

    async def close(self) -> None:
        """Say that no more frames follow, and stop receiving; what was sent still arrives."""
        ...

    async def reset(self) -> None:
        """Drop the stream at once, both ways."""
        ...


StreamTask = Callable[[Stream], Awaitable[None]]
"""Serves one inbound stream; the transport closes it afterwards, or resets it on an error."""

Receive = Callable[[str, bytes], None]
"""Takes (publisher, message) from gossip; must return at once."""

Hears = Callable[[str], bool]
"""Whether a peer may hear a topic now; asked for each message that is sent or passed on to it."""


def everybody(_peer: str) -> bool:
    """A topic that every admitted peer may hear."""
    return True


class Transport(Protocol):
    """A node's place in the network."""

    @property
    def peer_id(self) -> str:
        """Our own PeerId, as text."""
        ...

    @property
    def connect(self) -> Connect:
        """How this node dials TCP, for the lanes beside its streams."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Return the multiaddrs we can be dialled at, each with /p2p/ID; () if outbound only."""
        ...

    async def dial(self, address: str) -> str:
        """Connect to a multiaddr that ends in /p2p/ID, remember it, and return the peer id.

        Bounded in time. Raises Unreachable, also if another identity answers.
        """
        ...

    async def open(self, peer: str, protocol: str) -> Stream:
        """Open a stream to a connected or earlier dialled peer, redialling if needed.

        Raises Unreachable, or NotAdmitted if the peer does not offer the protocol to us.
        """
        ...

    def serve(self, protocol: str, task: StreamTask, *, admit_all: bool = False) -> None:
        """Serve inbound streams of a protocol: for admitted peers, or for everybody."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip a message, best effort. Raises FrameTooLarge above GOSSIP_LIMIT."""
        ...

    def subscribe(self, topic: str, receive: Receive, hears: Hears = everybody) -> None:
        """Call `receive` once for each new message of other admitted peers on a topic.

        What is said or passed on there goes only to peers that `hears` names when it leaves.
        """
        ...
