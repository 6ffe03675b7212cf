"""One libp2p stream alone: ours, with shares' frames in it, beside stock py-libp2p.

python -m bench.stream_ways [--quick] [--json FILE]

In each round both ways bring one file of random data to another process, over TCP, Noise and yamux,
and their digests are compared; then 2000 small frames go there and back, one after the other.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from bench import rivals
from bench.table import entry, options, report
from node import wire
from node.net.libp2p.host import Libp2pTransport, libp2p_transport
from node.net.transport import Stream
from node.share_message import read_message
from node.share_way import Inside

BULK: Final = "/bench/bulk"
ECHO: Final = "/bench/echo"
CHUNK: Final = 1 << 20
TURNS: Final = 2000
END: Final = b"\x03"


def main() -> None:
    """Measure both ways, or be one end of ours."""
    match sys.argv[1:]:
        case ["receive", out]:
            trio.run(_receive, Path(out))
        case ["send", address, file]:
            trio.run(_send, address, Path(file))
        case _:
            _measure()


def _measure() -> None:
    chosen = options(__doc__ or "")
    size, rounds = (256 << 20, 3) if chosen.quick else (1 << 30, 5)
    raw: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="v-") as folder:
        source = Path(folder) / "source"
        _write(source, size)
        for _ in range(rounds):
            for name, figure in _round(Path(folder), source, size):
                raw.setdefault(name, []).append(figure)
                print(f"  {name}: {figure:.4g}", file=sys.stderr)
    rows = {name: entry(figures, name.rpartition(", ")[2]) for name, figures in raw.items()}
    report(f"{size >> 20} MiB, {rounds} rounds", {"one stream": rows}, chosen.json)


def _round(folder: Path, source: Path, size: int) -> Iterator[tuple[str, float]]:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        stock = rivals.libp2p(Path(place), source)
        _compare(source, Path(place) / "out")
    with tempfile.TemporaryDirectory(dir=folder) as place:
        ours = _ours(Path(place), source)
        _compare(source, Path(place) / "out")
    yield "stock, MiB/s", size / 2**20 / stock
    yield "ours, MiB/s", size / 2**20 / ours["seconds"]
    yield "ours to stock, x", stock / ours["seconds"]
    yield "ours: sender's processor time, s per GiB", ours["sender"] * 2**30 / size
    yield "ours: receiver's processor time, s per GiB", ours["receiver"] * 2**30 / size
    yield "ours: there and back, µs", ours["turn"] * 1e6


def _ours(folder: Path, source: Path) -> dict[str, float]:
    program = [sys.executable, "-m", "bench.stream_ways"]
    with _reading([*program, "receive", str(folder / "out")]) as receiver:
        address = receiver.readline().strip()
        said = subprocess.run(
            [*program, "send", address, str(source)], check=True, capture_output=True
        )
        return {**json.loads(said.stdout), **json.loads(receiver.readline())}


@contextmanager
def _reading(command: list[str]) -> Iterator[Any]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout
    finally:
        process.wait(10)


def _write(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(size // CHUNK):
            file.write(os.urandom(CHUNK))


def _compare(source: Path, out: Path) -> None:
    digests = set()
    for path in (source, out):
        with path.open("rb") as file:
            digests.add(hashlib.file_digest(file, "sha256").digest())
    if len(digests) != 1:
        raise RuntimeError("something else arrived")


# --- the receiving process ------------------------------------------------------------------------


async def _receive(out: Path) -> None:
    done = trio.Event()

    async def take(stream: Stream) -> None:
        begun, frame = time.process_time(), b""
        with out.open("wb") as file:
            while frame != END:
                file.write(frame)
                frame = read_message(wire.SHARE_WIRE, await stream.receive())
        await stream.send(b"k")
        print(json.dumps({"receiver": time.process_time() - begun}), flush=True)
        done.set()

    async with libp2p_transport(bytes([1]) * 32, ["/ip4/127.0.0.1/tcp/0"], _everybody) as node:
        node.serve(BULK, take)
        node.serve(ECHO, _echo)
        print(node.addresses()[0], flush=True)
        await done.wait()
        await trio.sleep(0.1)


async def _echo(stream: Stream) -> None:
    for _ in range(TURNS):
        await stream.send(await stream.receive())


def _everybody(_peer: str) -> bool:
    return True


# --- the sending process --------------------------------------------------------------------------


async def _send(address: str, file: Path) -> None:
    async with libp2p_transport(bytes([2]) * 32, [], _everybody) as node:
        await node.dial(address)
        figures = {"turn": await _turns(node, address)} | await _bulk(node, address, file)
        print(json.dumps(figures), flush=True)


async def _turns(node: Libp2pTransport, address: str) -> float:
    stream = await node.open(address.rpartition("/")[2], ECHO)
    begun = time.monotonic()
    for _ in range(TURNS):
        await stream.send(bytes(100))
        await stream.receive()
    spent = time.monotonic() - begun
    await stream.close()
    return spent / TURNS


async def _bulk(node: Libp2pTransport, address: str, file: Path) -> dict[str, float]:
    stream = await node.open(address.rpartition("/")[2], BULK)
    begun, busy = time.monotonic(), time.process_time()
    await trio.to_thread.run_sync(_put_all, stream, file)
    await stream.receive()
    return {"seconds": time.monotonic() - begun, "sender": time.process_time() - busy}


def _put_all(stream: Stream, file: Path) -> None:
    """As share_upload does it: a thread that waits for each frame."""
    put, left = Inside(stream, wire.SHARE_WIRE, None).put, file.stat().st_size
    buffer = memoryview(bytearray(CHUNK))
    with file.open("rb") as source:
        while left:
            left -= source.readinto(buffer)
            put(buffer)
    put(END)


if __name__ == "__main__":
    main()
