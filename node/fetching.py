"""Blobs from peers, in whole pieces, checked by digest."""

import logging
from collections.abc import Sequence

import trio

from node import wire
from node.net.transport import Transport
from node.pulling import FAULTS
from node.store.blobs import Blobs
from node.talk import ask
from protocol import limits
from protocol.errors import Refused

log = logging.getLogger("village.fetching")


class Fetcher:
    """Fetches blobs into the own store."""

    def __init__(self, blobs: Blobs, transport: Transport) -> None:
        """Keep what is fetched in `blobs`."""
        self.blobs = blobs
        self.transport = transport

    async def blob(self, digest: bytes, peers: Sequence[str]) -> bytes:
        """A blob by digest, from here or from one of the peers. Raises Refused (topic.unknown)."""
        if self.blobs.has(digest):
            return await trio.to_thread.run_sync(self.blobs.get, digest)
        for peer in peers:
            try:
                data = await self._from(peer, digest)
            except FAULTS as error:
                log.debug("blob from %s: %s", peer, error)
                continue
            if await trio.to_thread.run_sync(self.blobs.put, data) == digest:
                return data
        raise Refused("topic.unknown", f"nobody reachable has blob {digest.hex()[:16]}")

    async def named(self, name: bytes, peers: Sequence[str]) -> bytes:
        """What peers give for a name that is not its digest; the caller checks it."""
        for peer in peers:
            try:
                return await self._from(peer, name)
            except FAULTS as error:
                log.debug("%s from %s: %s", name.hex()[:16], peer, error)
        raise Refused("topic.unknown", f"nobody reachable has {name.hex()[:16]}")

    async def _from(self, peer: str, digest: bytes) -> bytes:
        data = bytearray()
        while True:
            question = wire.GetBlob(digest=digest, offset=len(data))
            piece = await ask(
                self.transport, peer, wire.SESSION, wire.SESSION_WIRE, question, wire.BlobPiece
            )
            left = piece.size - len(data)
            if piece.size > limits.BLOB or left <= 0 or len(piece.data) != min(left, wire.PIECE):
                # Whole pieces only: one byte at a time a peer could keep us asking for days.
                raise Refused("codec.too-large", "a blob of another size than it claims")
            data += piece.data
            if len(data) == piece.size:
                return bytes(data)
