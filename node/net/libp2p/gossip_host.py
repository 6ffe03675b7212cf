"""What libp2p's gossipsub asks of its host, answered from our connections."""

from collections.abc import Awaitable, Callable, Sequence

from node.net.libp2p.secure import Identity
from node.net.libp2p.stock import ID, Envelope, PrivateKey, PublicKey, SwarmException
from node.net.libp2p.yamux import Connection
from node.net.libp2p.yamux_stream import MuxedStream
from node.net.transport import TransportError

Open = Callable[[str, Sequence[str]], Awaitable[MuxedStream]]
Connections = Callable[[str], list[Connection]]


class GossipHost:
    """Host, network and peer store in one, as small as gossipsub allows."""

    def __init__(self, identity: Identity, connections: Connections, open_stream: Open) -> None:
        self._identity = identity
        self._connections = connections
        self._open = open_stream
        self._record: Envelope | None = None

    def get_id(self) -> ID:
        """Return our PeerId."""
        return self._identity.peer

    def get_private_key(self) -> PrivateKey:
        """Return the key that signs our messages."""
        return self._identity.keys.private_key

    def get_public_key(self) -> PublicKey:
        """Return the key that our messages verify with."""
        return self._identity.keys.public_key

    def get_network(self) -> "GossipHost":
        """Return itself."""
        return self

    def get_peerstore(self) -> "GossipHost":
        """Return itself."""
        return self

    def get_addrs(self) -> list[object]:
        """Return none: our addresses travel in signed records, not with gossip."""
        return []

    def get_connections(self, peer_id: ID) -> list[Connection]:
        """Return the live connections of a peer."""
        return self._connections(str(peer_id))

    async def new_stream(self, peer_id: ID, protocols: Sequence[str]) -> MuxedStream:
        """Open a gossip stream; raises SwarmException, which gossipsub retries."""
        try:
            return await self._open(str(peer_id), protocols)
        except TransportError as error:
            raise SwarmException(str(error)) from error

    def register_notifee(self, notifee: object) -> None:
        """Ignore: Gossip.add_peer and remove_peer tell it who comes and goes."""

    def set_stream_handler(self, protocol: str, handler: object) -> None:
        """Ignore: gossip streams come through the doors of the transport."""

    # --- peer store: our own empty address record, nothing about others -----------------------

    def get_local_record(self) -> Envelope | None:
        """Return our signed record without addresses."""
        return self._record

    def set_local_record(self, envelope: Envelope) -> None:
        """Keep the record that libp2p made."""
        self._record = envelope

    def get_peer_record(self, peer_id: ID) -> None:
        """Return no record of others."""
