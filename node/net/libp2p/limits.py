"""What a peer may take from us: connections, streams, memory and time."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Limits:
    """Counts and bytes; each bound exists because its absence was an attack that worked."""

    connections: int = 320
    """All connections. Strangers get at most their own part, so members always find room."""
    strangers: int = 128
    """Connections of peers that are not admitted (light peers, those who ask to join)."""
    per_address: int = 64
    """Connections from one IP address; peers behind one NAT share it."""
    per_peer: int = 4
    """Connections of one PeerId; a newer one closes the oldest."""
    handshakes: int = 64
    """Handshakes under way; a newer one ends the oldest, so half-open ones lock nobody out."""
    streams: int = 128
    """Inbound streams on one connection of an admitted peer."""
    stranger_streams: int = 16
    """Inbound streams on one connection of a stranger."""
    unread: int = 16 * 1024 * 1024
    """Bytes received on one connection that nobody has read yet; above, it is closed."""
    stranger_unread: int = 2 * 1024 * 1024
    """The same for a stranger."""
    known_addresses: int = 4096
    """Peers whose address we remember for redialling."""
    topics: int = 256
    """Gossip topics that one peer may name to us."""
    gossip_messages: float = 200.0
    """Gossip messages per second taken from one forwarder, bursts of five seconds' worth."""
    gossip_bytes: float = 512 * 1024.0
    """Gossip bytes per second taken from one forwarder, bursts of five seconds' worth."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds that we wait for the other end before giving up."""

    dial: float = 10.0
    """From the first packet to the end of the handshake; also for an inbound handshake."""
    open: float = 10.0
    """Until the protocol of a new stream is agreed."""
    idle: float = 600.0
    """Until the next frame begins."""
    frame: float = 60.0
    """For one frame, from its first byte to its last, either way."""
    ping: float = 15.0
    """Between two pings, and until a silent connection is closed after one."""
    backoff: float = 0.5
    """Least pause between two dials of one peer: faster redials fail 3-5 % of the time."""
    backoff_most: float = 5.0
    """Longest pause between two dials; it doubles with each failure."""
    stop: float = 1.0
    """For saying goodbye to all peers when we stop."""


LIMITS: Final = Limits()
TIMEOUTS: Final = Timeouts()
