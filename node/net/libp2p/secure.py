"""From a bare pipe to an authenticated, encrypted one: Noise XX, then yamux, nothing else.

py-libp2p offers plaintext and SECIO by default; here the only proposals are /noise and yamux.
Source: libp2p specs, noise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import trio

from node.net.libp2p import multistream, yamux
from node.net.libp2p.stock import (
    ID,
    MAX_PLAINTEXT_LENGTH,
    KeyPair,
    NoiseTransportReadWriter,
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

_TURN: Final = 16
"""Noise messages that are opened before other tasks get their turn."""


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
    """An encrypted pipe to a peer whose identity the handshake has proven.

    The ciphers are those of the handshake; cutting into messages is done here, because libp2p reads
    and sends each message, and each length, on its own.
    """

    def __init__(self, session: SecureSession, bare: "_BarePipe") -> None:
        self._noise = _ciphers(session)
        self._bare = bare
        self._plain = Reader(self._open_next)
        self._opened = 0
        self.peer_id = session.get_remote_peer()
        self.remote = bare.remote

    async def exactly(self, count: int) -> bytes:
        """Return exactly `count` bytes; raises WireClosed."""
        return await self._plain.exactly(count)

    async def some(self, most: int) -> memoryview:
        """Return between 1 and `most` bytes; raises WireClosed."""
        return await self._plain.some(most)

    async def send(self, *pieces: bytes) -> None:
        """Encrypt and send, each piece from the start of a Noise message; raises WireClosed."""
        try:
            sealed = b"".join(self._seal(pieces))
        except Exception as error:
            raise WireClosed(f"cannot encrypt: {error}") from error
        await self._bare.write(sealed)

    async def close(self) -> None:
        """Close at once."""
        await self._bare.close()

    def _seal(self, pieces: tuple[bytes, ...]) -> Iterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), MAX_PLAINTEXT_LENGTH):
                sealed = self._noise.encrypt(piece[start : start + MAX_PLAINTEXT_LENGTH])
                yield len(sealed).to_bytes(2, "big")
                yield sealed

    async def _open_next(self) -> bytes:
        self._opened += 1
        if self._opened % _TURN == 0:
            await trio.lowlevel.checkpoint()
        size = int.from_bytes(await self._bare.exactly(2), "big")
        sealed = await self._bare.exactly(size)
        try:
            return self._noise.decrypt(sealed)
        except Exception as error:  # libp2p, noise and cryptography each have their own
            raise WireClosed("the peer sent what does not decrypt") from error


def _ciphers(session: SecureSession) -> NoiseTransportReadWriter:
    if not isinstance(session.conn, NoiseTransportReadWriter):
        raise Unreachable("the handshake did not end in Noise")
    return session.conn


async def outbound(pipe: Pipe, identity: Identity, peer: str) -> SecureWire:
    """Return the encrypted pipe to `peer`; raises Unreachable if anybody else answers."""
    bare = _BarePipe(pipe)
    try:
        await multistream.propose(bare, pipe.send, [_NOISE])
        session = await identity.pattern().handshake_outbound(bare, ID.from_base58(peer))
        wire = SecureWire(session, bare)
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
        wire = SecureWire(await identity.pattern().handshake_inbound(bare), bare)
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
        self.remote = pipe.remote

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
        return self.remote, 0
