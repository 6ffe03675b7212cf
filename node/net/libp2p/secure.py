"""From a bare pipe to an authenticated, encrypted one: Noise XX, then yamux, nothing else.

py-libp2p offers plaintext and SECIO by default; here the only proposals are /noise and yamux.
Source: libp2p specs, noise.
"""

from dataclasses import dataclass

from node.net.libp2p import multistream, yamux
from node.net.libp2p.stock import (
    ID,
    KeyPair,
    PatternXX,
    PrivateKey,
    SecureSession,
    node_key_pair,
    noise_key_pair,
)
from node.net.libp2p.wire import Pipe, Reader, WireClosed
from node.net.peer_id import public_key_of
from node.net.transport import Unreachable

_NOISE = "/noise"


@dataclass(frozen=True)
class Identity:
    """Our node key, and the Noise key of this process that it vouches for."""

    keys: KeyPair
    noise: PrivateKey
    peer: ID

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """Return the identity of a 32-byte Ed25519 seed."""
        keys = node_key_pair(seed)
        return cls(keys, noise_key_pair().private_key, ID.from_pubkey(keys.public_key))

    def pattern(self) -> PatternXX:
        """Return a fresh Noise XX handshake."""
        return PatternXX(self.peer, self.keys.private_key, self.noise)


class SecureWire:
    """An encrypted pipe to a peer whose identity the handshake has proven."""

    def __init__(self, session: SecureSession, pipe: Pipe) -> None:
        self._session = session
        self._pipe = pipe
        self._reader = Reader(self._receive)
        self.peer_id = session.get_remote_peer()
        self.remote = pipe.remote

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed."""
        return await self._reader.exactly(count)

    async def send(self, data: bytes) -> None:
        """Encrypt and send; raises WireClosed."""
        try:
            await self._session.write(data)
        except WireClosed:
            raise
        except Exception as error:
            raise WireClosed(f"cannot encrypt: {error}") from error

    async def close(self) -> None:
        """Close at once."""
        await self._pipe.close()

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._session.read())
        except WireClosed:
            raise
        except Exception as error:  # libp2p, noise and cryptography each have their own
            raise WireClosed("the peer sent what does not decrypt") from error


async def outbound(pipe: Pipe, identity: Identity, peer: str) -> SecureWire:
    """Return the encrypted pipe to `peer`; raises Unreachable if anybody else answers."""
    bare = _BarePipe(pipe)
    try:
        await multistream.propose(bare, pipe.send, [_NOISE])
        session = await identity.pattern().handshake_outbound(bare, ID.from_base58(peer))
        wire = SecureWire(session, pipe)
        await multistream.propose(wire, wire.send, [yamux.PROTOCOL])
    except Unreachable:
        raise
    except Exception as error:  # what a hostile answer makes libp2p raise is not listed anywhere
        raise Unreachable(f"no handshake with {peer}: {type(error).__name__} {error}") from error
    if str(wire.peer_id) != peer:
        raise Unreachable(f"{wire.peer_id} answered instead of {peer}")
    return wire


async def inbound(pipe: Pipe, identity: Identity) -> SecureWire:
    """Return the encrypted pipe to whoever dialled us; raises Unreachable."""
    bare = _BarePipe(pipe)
    try:
        await multistream.accept(bare, pipe.send, [_NOISE])
        wire = SecureWire(await identity.pattern().handshake_inbound(bare), pipe)
        public_key_of(str(wire.peer_id))
        await multistream.accept(wire, wire.send, [yamux.PROTOCOL])
    except Unreachable:
        raise
    except Exception as error:
        raise Unreachable(f"no handshake from {pipe.remote}: {type(error).__name__}") from error
    return wire


class _BarePipe:
    """What libp2p's Noise reads from and writes to; reads the socket in large pieces."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._reader = Reader(pipe.receive)

    async def exactly(self, count: int) -> bytes:
        return await self._reader.exactly(count)

    async def read(self, most: int | None = None) -> bytes:
        # Whole pieces: libp2p gives up after a hundred short reads of one message.
        return await self._reader.exactly(most) if most else b""

    async def write(self, data: bytes) -> None:
        await self._pipe.send(data)

    async def close(self) -> None:
        await self._pipe.close()

    def get_remote_address(self) -> tuple[str, int]:
        return self._pipe.remote, 0
