"""NATS JetStream: a stream is mirrored to a second server and persisted; a client verifies each.

Run by bench.records in NATS' own environment: FOLDER COUNT.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import nats  # type: ignore[import-not-found]
from nacl.signing import SigningKey
from nats.js.api import (  # type: ignore[import-not-found]
    AckPolicy,
    ConsumerConfig,
    ExternalStream,
    StreamConfig,
    StreamSource,
)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def start(folder: Path, name: str, port: int, leaf: str) -> subprocess.Popen[bytes]:
    """A server on loopback with its own store."""
    config = folder / f"{name}.conf"
    config.write_text(
        f"port: {port}\nhost: 127.0.0.1\nserver_name: {name}\n"
        f'jetstream {{store_dir: "{folder}/{name}", domain: {name}}}\nleafnodes {{{leaf}}}\n'
    )
    server = Path(os.environ["BENCH_PEERS"]) / "nats" / "bin" / "nats-server"
    process = subprocess.Popen([server, "-c", config], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise RuntimeError(f"{name} did not start")


async def move(ports: list[int], count: int) -> float:
    """Publish before the clock runs; then mirror, fetch and verify. Records per second."""
    key = SigningKey.generate()
    records = [bytes(key.sign(os.urandom(236))) for _ in range(count)]
    ours, theirs = [await nats.connect(f"nats://127.0.0.1:{port}") for port in ports]
    stream = ours.jetstream(publish_async_max_pending=4000)
    await stream.add_stream(StreamConfig(name="R", subjects=["r"]))
    for record in records:
        await stream.publish_async("r", record)
    await stream.publish_async_completed()
    started = time.perf_counter()
    mirror = theirs.jetstream()
    source = StreamSource(name="R", external=ExternalStream(api="$JS.a.API"))
    await mirror.add_stream(StreamConfig(name="R", mirror=source))
    options = ConsumerConfig(ack_policy=AckPolicy.NONE)
    fetched = await mirror.pull_subscribe("r", "d", stream="R", config=options)
    verified = 0
    while verified < count:
        for message in await fetched.fetch(5000, timeout=10):
            key.verify_key.verify(message.data)
            verified += 1
    seconds = time.perf_counter() - started
    await ours.close()
    await theirs.close()
    return count / seconds


def main() -> None:
    """Run two servers, and print the rate."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    one, other, leaf = free_port(), free_port(), free_port()
    servers = [
        start(folder, "a", one, f"host: 127.0.0.1, port: {leaf}"),
        start(folder, "b", other, f'remotes: [{{url: "nats-leaf://127.0.0.1:{leaf}"}}]'),
    ]
    try:
        time.sleep(1)
        print(json.dumps({"rate": asyncio.run(move([one, other], count))}))
    finally:
        for server in servers:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
