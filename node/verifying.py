"""Signatures are checked where they hold up nobody: few here, more in a thread, a bulk elsewhere.

libsodium lets other threads run while it works, but Python hands its lock over so slowly that
threads verify no faster than one does (measured); processes do.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence

import trio

from node import verify_worker
from node.verify_worker import Verified

HERE = 8
"""Records parsed on the event loop: less time than a thread takes to start."""

BULK = 256
"""Records from which on a worker process is worth its pipe."""

WORKERS = min(2, os.cpu_count() or 1)
"""Worker processes at most, each with an interpreter of its own (about 25 MiB)."""

PATIENCE = 30.0
"""Seconds that a worker may take for a batch; then it is ended, and a thread does its work."""

IDLE = 20.0
"""Seconds after which workers that have nothing to do are ended."""

log = logging.getLogger("village.verifying")


class Verifier:
    """Parses batches; starts workers when there is much to do, and ends them when there is not."""

    def __init__(self) -> None:
        """Begin without workers."""
        self._limiter = trio.CapacityLimiter(2)
        self._workers: list[_Worker] = []
        self._used = 0.0

    async def parse(self, raws: Sequence[bytes]) -> list[Verified]:
        """Parse each; what is refused stands in its place."""
        if len(raws) <= HERE:
            return _parse_all(raws)
        if len(raws) < BULK:
            return await self._in_thread(raws)
        self._used = trio.current_time()
        while len(self._workers) < WORKERS:
            self._workers.append(_Worker())
        size = -(-len(raws) // len(self._workers))
        parts = [raws[at : at + size] for at in range(0, len(raws), size)]
        found: list[list[Verified]] = [[] for _ in parts]

        async def one(at: int) -> None:
            found[at] = await self._by_worker(self._workers[at], parts[at])

        async with trio.open_nursery() as nursery:
            for at in range(len(parts)):
                nursery.start_soon(one, at)
        return [each for part in found for each in part]

    async def _by_worker(self, worker: "_Worker", raws: Sequence[bytes]) -> list[Verified]:
        try:
            with trio.fail_after(PATIENCE):
                return await worker.parse(raws)
        except (OSError, EOFError, trio.TooSlowError, trio.BrokenResourceError) as error:
            log.warning("a verifying worker failed: %r", error)
            await worker.end()
            return await self._in_thread(raws)

    async def _in_thread(self, raws: Sequence[bytes]) -> list[Verified]:
        return await trio.to_thread.run_sync(_parse_all, raws, limiter=self._limiter)

    async def rest(self) -> None:
        """End workers that have had nothing to do for a while; called now and then."""
        if self._workers and trio.current_time() - self._used > IDLE:
            await self.close()

    async def close(self) -> None:
        """End all workers."""
        for worker in self._workers:
            await worker.end()
        self._workers.clear()


def _parse_all(raws: Sequence[bytes]) -> list[Verified]:
    return [verify_worker.parse(raw) for raw in raws]


class _Worker:
    """One process, started at its first question and again after it ended; one batch at a time."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._process: trio.Process | None = None

    async def parse(self, raws: Sequence[bytes]) -> list[Verified]:
        """Raises OSError, EOFError or trio.BrokenResourceError if the process is gone."""
        async with self._lock:
            if self._process is None:
                self._process = await trio.lowlevel.open_process(
                    [sys.executable, "-m", verify_worker.__name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            try:
                return await _ask(self._process, raws)
            except trio.Cancelled:
                await self.end()  # half a frame may be under way
                raise

    async def end(self) -> None:
        """End the process: it holds nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.CancelScope(shield=True):
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()
            await process.wait()


async def _ask(process: trio.Process, raws: Sequence[bytes]) -> list[Verified]:
    if process.stdin is None or process.stdout is None:
        raise EOFError("no pipe")
    await process.stdin.send_all(verify_worker.pack(raws))
    size = int.from_bytes(await _read(process.stdout, 4), "big")
    return verify_worker.unpack(await _read(process.stdout, size), raws)


async def _read(pipe: trio.abc.ReceiveStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await pipe.receive_some(min(2**20, size - len(data)))
        if not piece:
            raise EOFError("the worker ended")
        data += piece
    return bytes(data)
