"""The two protocols that every libp2p peer expects: ping and identify.

Source: libp2p specs, ping and identify. We answer identify and never ask it: what a peer says
about itself decides nothing here.
"""

from collections.abc import Collection

import trio

from node.net.libp2p.secure import Identity
from node.net.libp2p.stock import Identify
from node.net.libp2p.wire import WireClosed
from node.net.libp2p.yamux_stream import MuxedStream

PING = "/ipfs/ping/1.0.0"
IDENTIFY = "/ipfs/id/1.0.0"
_PING_SIZE = 32
_PING_IDLE = 60.0


async def serve_ping(stream: MuxedStream) -> None:
    """Echo 32 bytes at a time until the peer stops."""
    while True:
        with trio.move_on_after(_PING_IDLE) as idle:
            try:
                await stream.write(await stream.exactly(_PING_SIZE))
            except WireClosed:
                return
        if idle.cancelled_caught:
            stream.drop()
            return


async def serve_identify(
    stream: MuxedStream, identity: Identity, protocols: Collection[str]
) -> None:
    """Say who we are and what we offer this peer; no addresses."""
    answer = Identify(
        protocol_version="ipfs/0.1.0",
        agent_version="village",
        public_key=identity.keys.public_key.serialize(),
        protocols=sorted(protocols),
    ).SerializeToString()
    size = len(answer)
    prefix = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    await stream.write(prefix + answer)
