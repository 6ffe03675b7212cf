"""One part of bench.records in a process of its own; the last line it prints is its finding."""

import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import trio

from bench import rig
from node.happenings import Happenings
from node.keyring import Keyring
from node.pipeline import Pipeline
from node.store.journal import Journal
from node.world import World
from protocol.identity import open_identity
from protocol.kinds.common import Vote
from protocol.kinds.space import Commitment
from protocol.machines.membership import CHARTER_SLOT
from protocol.topic import read_opening

FEEDS = 16
"""Authors of many records: one key writes at most limits.FEED into one topic."""


def save(path: Path, ring: Keyring) -> None:
    """Keep an author for another process of this benchmark."""
    names = ("node", "record", "sealing", "store")
    seeds = {name: getattr(ring, name).hex() for name in names}
    path.write_text(json.dumps({**seeds, "me": ring.me.raw.hex()}))


def load(path: Path) -> Keyring:
    """The author that `save` kept."""
    data = {name: bytes.fromhex(text) for name, text in json.loads(path.read_text()).items()}
    me = open_identity(data.pop("me"))
    return Keyring(me=me, **data)


def fill(folder: Path, count: int) -> tuple[bytes, list[Keyring]]:
    """A journal with `count` records of FEEDS authors."""
    authors = [rig.new_author(f"author-{number}") for number in range(FEEDS)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sender").mkdir(mode=0o700)
    opening = rig.charter_of(authors)
    journal = Journal.open(folder / "sender" / "journal.db")
    rig.fill(journal, opening, authors, count)
    journal.close()
    save(folder / "sender.json", authors[0])
    save(folder / "receiver.json", authors[1])
    (folder / "opening").write_bytes(opening)
    return opening, authors


async def serve(folder: Path) -> None:
    """The sender: answers until its input ends."""
    async with rig.node(folder / "sender", load(folder / "sender.json")) as one:
        print(one.address, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def receive(folder: Path, address: str, count: int, cores: int) -> dict[str, Any]:
    """The receiver: pulls everything, and says how fast and in how much memory."""
    if cores == 1:
        os.sched_setaffinity(0, {0})
    ring = load(folder / "receiver.json")
    async with rig.node(folder / "receiver", ring) as one:
        before = rig.memory()
        started = time.perf_counter()
        room = await one.pipeline.open((folder / "opening").read_bytes())
        await one.spread.transport.dial(address)
        peer = address.rpartition("/p2p/")[2]
        while room.feeds.count() < count:
            await one.spread.pull(peer)
        seconds = time.perf_counter() - started
        return {
            "rate": count / seconds,
            "growth": rig.memory("VmHWM") - before,
            "kept": room.feeds.count(),
        }


def transfer(folder: Path, count: int, cores: int) -> dict[str, Any]:
    """Fill a sender and move all of its records to a receiver; the sender is on the other core."""
    fill(folder, count)
    command = [sys.executable, "-m", "bench.records_part", "serve", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as sender:
        if sender.stdout is None or sender.stdin is None:
            raise RuntimeError("no pipe")
        if cores == 1:
            os.sched_setaffinity(sender.pid, {max(os.sched_getaffinity(0))})
        address = sender.stdout.readline().strip()
        found = trio.run(receive, folder, address, count, cores)
        sender.stdin.close()
    return found


async def start(folder: Path) -> dict[str, Any]:
    """Restore a node from its journal: seconds until it could serve."""
    started = time.perf_counter()
    ring = load(folder / "sender.json")
    journal = Journal.open(folder / "sender" / "journal.db")
    pipeline = Pipeline(journal, ring, World(ring.me), Happenings())
    pipeline.restore()
    seconds = time.perf_counter() - started
    count = sum(room.feeds.count() for room in pipeline.world.rooms.values())
    await pipeline.close()
    return {"seconds": seconds, "records": count, "memory": rig.memory()}


async def propagation(folder: Path, nodes: int, seconds: int) -> dict[str, Any]:
    """Twenty records a second from changing authors: how long each takes to reach every node."""
    authors = [rig.new_author(f"author-{number}") for number in range(nodes)]
    opening = rig.charter_of(authors)
    topic = read_opening(opening).topic
    sent: dict[str, float] = {}
    heard: list[float] = []
    async with AsyncExitStack() as stack:
        running: list[rig.BenchNode] = []
        for number, ring in enumerate(authors):
            known = tuple(one.address for one in running)
            one = await stack.enter_async_context(rig.node(folder / str(number), ring, known))
            room = await one.pipeline.open(opening)
            one.spread.listen(room)
            running.append(one)
        for one, ring in zip(running, authors, strict=True):
            vote = Vote(slot=CHARTER_SLOT, subject=topic, choice="yes", identity=ring.me.id)
            await one.pipeline.publish(topic, "vote", vote)
        with trio.fail_after(120):
            while not all(next(one.pipeline.world.spaces()).founded for one in running):  # noqa: ASYNC110
                await trio.sleep(0.2)
        await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            for one in running:
                nursery.start_soon(listen, one, sent, heard)
            for turn in range(seconds * 20):
                one = running[turn % nodes]
                body = Commitment(digest=turn.to_bytes(32, "big"))
                made = await one.pipeline.publish(topic, "commitment", body)
                sent.setdefault(made.id.hex(), time.perf_counter())
                await trio.sleep(0.05)
            with trio.move_on_after(20):
                while len(heard) < len(sent) * (nodes - 1):  # noqa: ASYNC110
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
    return {
        "median": statistics.median(heard),
        "slowest": max(heard),
        "lost": len(sent) * (nodes - 1) - len(heard),
    }


async def listen(one: rig.BenchNode, sent: dict[str, float], heard: list[float]) -> None:
    """Note when each record of the others arrives."""
    own = one.pipeline.world.name(one.pipeline.keyring.did)
    async for line in one.pipeline.happenings.follow(one.pipeline.happenings.count):
        if line.event == "commitment" and line.details.get("author") != own:
            now = time.perf_counter()
            heard.append(now - sent.get(line.id, now))


def main() -> None:
    """Run the part that is named."""
    part, folder, *rest = sys.argv[1:]
    path, numbers = Path(folder), [int(text) for text in rest]
    found: Any = None
    match part:
        case "fill":
            fill(path, *numbers)
        case "serve":
            trio.run(serve, path)
            return
        case "transfer":
            found = transfer(path, *numbers)
        case "start":
            found = trio.run(start, path)
        case "propagation":
            found = trio.run(propagation, path, *numbers)
        case _:
            raise SystemExit(f"no part {part}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
