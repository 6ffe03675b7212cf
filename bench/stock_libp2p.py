"""One file over a stream of py-libp2p as it is installed (TCP, Noise, yamux): for comparison.

python -m bench.stock_libp2p receive PORT OUT    prints its peer id
python -m bench.stock_libp2p send PORT FILE PEER   prints seconds, without its own start
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import trio

from node.net.libp2p import fastecdsa_stand_in  # isort: skip

fastecdsa_stand_in.install()

from libp2p import new_host  # noqa: E402
from libp2p.crypto.ed25519 import create_new_key_pair  # noqa: E402
from libp2p.crypto.x25519 import create_new_key_pair as new_x25519  # noqa: E402
from libp2p.custom_types import TProtocol  # noqa: E402
from libp2p.peer.peerinfo import info_from_p2p_addr  # noqa: E402
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE  # noqa: E402
from libp2p.security.noise.transport import Transport  # noqa: E402
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX  # noqa: E402
from libp2p.stream_muxer.yamux.yamux import Yamux  # noqa: E402
from multiaddr import Multiaddr  # noqa: E402

PROTOCOL = TProtocol("/bench/1")
BLOCK = 64 * 1024


def _host() -> Any:  # noqa: ANN401 (libp2p has no types)
    pair = create_new_key_pair()
    return new_host(
        key_pair=pair,
        sec_opt={NOISE: Transport(pair, noise_privkey=new_x25519().private_key)},
        muxer_opt={TProtocol(YAMUX): Yamux},
    )


async def _receive(port: int, out: Path) -> None:
    host, done = _host(), trio.Event()

    async def take(stream: Any) -> None:  # noqa: ANN401
        with out.open("wb") as file:
            size = int.from_bytes(await stream.read(8), "big")
            while size and (data := await stream.read(min(size, BLOCK))):
                file.write(data)
                size -= len(data)
        await stream.write(b"k")
        await stream.close()
        done.set()

    host.set_stream_handler(PROTOCOL, take)
    async with host.run(listen_addrs=[Multiaddr(f"/ip4/127.0.0.1/tcp/{port}")]):
        print(host.get_id(), flush=True)
        await done.wait()
        await trio.sleep(0.2)


async def _send(port: int, file: Path, peer: str) -> None:
    host = _host()
    async with host.run(listen_addrs=[]):
        await host.connect(info_from_p2p_addr(Multiaddr(f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer}")))
        stream = await host.new_stream(host_peer(peer), [PROTOCOL])
        begun = time.monotonic()
        with file.open("rb") as source:
            await stream.write(os.fstat(source.fileno()).st_size.to_bytes(8, "big"))
            while data := source.read(BLOCK):
                await stream.write(data)
        await stream.read(1)
        print(time.monotonic() - begun, flush=True)


def host_peer(peer: str) -> Any:  # noqa: ANN401
    """The peer's id as libp2p wants it."""
    from libp2p.peer.id import ID

    return ID.from_base58(peer)


def main() -> None:
    """Receive or send."""
    match sys.argv[1:]:
        case ["receive", port, out]:
            trio.run(_receive, int(port), Path(out))
        case ["send", port, file, peer]:
            trio.run(_send, int(port), Path(file), peer)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
