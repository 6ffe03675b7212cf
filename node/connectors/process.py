"""Starts a connector and reads what it writes, in pieces of one sealed chunk each."""

import fcntl
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from node.connectors import SourceError, Summary
from protocol import limits

SILENCE: Final = 120.0
"""Seconds in which a connector must write something."""

SAID: Final = 64 * 1024
"""Bytes of standard error that are kept."""

_GUESS: Final = re.compile(rb'\{"whole": ([0-9]{1,18})\}')

_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # takes only what it needs of the bounded memory
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What to read: a file, or an SQL query over it; the exact bytes of its data contract; the list
    of people who objected; and the column that says who a row is about.
    """

    file: Path
    contract: bytes
    person: str
    exclude: Path | None = None
    query: str | None = None


@dataclass(slots=True)
class Reading:
    """A source that is being read. `summary` is there once all of it was; `whole` are about how
    many plain bytes it has, as soon as that can be guessed.
    """

    process: trio.Process
    said: bytearray
    ended: trio.Event
    whole: int | None = None
    summary: Summary | None = None

    def pieces(self) -> Iterator[tuple[memoryview, bool]]:
        """Yield (plain bytes, whether they are the last): limits.CHUNK each, the last may be less.
        Each is a view of a buffer that the piece after the next one writes over.

        For a worker thread of trio: it waits, and ends soon after the block of `reading` is
        cancelled. The last comes only after the connector said that all is well. Raises
        SourceError, trio.Cancelled.
        """
        held, spare = (memoryview(bytearray(limits.CHUNK)) for _ in range(2))
        size = self._fill(held)
        while size == len(held) and (more := self._fill(spare)):
            yield held, False
            held, spare, size = spare, held, more
        trio.from_thread.run(self._end)
        yield held[:size], True

    def _fill(self, buffer: memoryview) -> int:
        """Read until the buffer is full or the source ends; how many bytes are there."""
        descriptor, size = _output(self.process), 0
        while size < len(buffer):
            try:
                count = os.readv(descriptor, [buffer[size:]])
            except BlockingIOError:
                _wait(descriptor)
                continue
            if not count:
                break
            size += count
        return size

    async def _end(self) -> None:
        with trio.move_on_after(SILENCE) as scope:
            await self.process.wait()
            await self.ended.wait()
        if scope.cancelled_caught:
            raise _failed("it does not end")
        self.summary = _summary(self.process.returncode or 0, bytes(self.said))


@asynccontextmanager
async def reading(source: Source) -> AsyncIterator[Reading]:
    """Read a source in a process of its own, which ends with the block."""
    command = [sys.executable, "-I", "-m", "node.connectors", "--file", str(source.file)]
    command += ["--person", source.person]
    if source.exclude is not None:
        command += ["--exclude", str(source.exclude)]
    if source.query is not None:
        command += [f"--query={source.query}"]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
    )
    found = Reading(process, bytearray(), trio.Event())
    _widen(process)
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell_contract, process, source.contract)
        nursery.start_soon(_listen, found)
        nursery.start_soon(_end_with_block, process)
        try:
            yield found
        except Exception as error:  # a nursery would hand it on in a group
            fault = error
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    if pipe is not None:
                        await trio.aclose_forcefully(pipe)
    if fault is not None:
        raise fault


def _widen(process: trio.Process) -> None:
    """Let a whole chunk wait in the pipe; a kernel that refuses that is slower, no more."""
    with suppress(OSError):
        fcntl.fcntl(_output(process), fcntl.F_SETPIPE_SZ, limits.CHUNK)


def _output(process: trio.Process) -> int:
    """The descriptor from which its output comes; trio made it non-blocking."""
    if not isinstance(process.stdout, trio.lowlevel.FdStream):
        raise _failed("it has no output")
    return process.stdout.fileno()


def _wait(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if not poll.poll(SILENCE * 1000):
        raise SourceError(
            "source.limit", f"Reading stood still for {SILENCE:g} s.", "Is the disk reachable?"
        )


async def _end_with_block(process: trio.Process) -> None:
    """A thread that waits for the connector cannot be cancelled; the connector can be ended."""
    try:
        await trio.sleep_forever()
    finally:
        process.kill()


async def _tell_contract(process: trio.Process, contract: bytes) -> None:
    if process.stdin is not None:
        try:
            async with process.stdin as stdin:
                await stdin.send_all(contract)
        except trio.BrokenResourceError:
            return  # it ended early; its last words say why


async def _listen(found: Reading) -> None:
    if found.process.stderr is not None:
        async for data in found.process.stderr:
            found.said += data
            del found.said[:-SAID]
            found.whole = _guess(bytes(found.said)) or found.whole
    found.ended.set()


def _guess(said: bytes) -> int | None:
    """What the last whole line says of the size, if it does."""
    line = said.rpartition(b"\n")[0].rpartition(b"\n")[2]
    match = _GUESS.fullmatch(line)
    return int(match[1]) if match else None


def _summary(code: int, said: bytes) -> Summary:
    """What a connector that ended with `code` said last. Raises SourceError."""
    line = said.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise _failed(f"it ended with {code}") from error
    match code, answer:
        case 0, {"rows": int(rows), "excluded": int(excluded)}:
            return Summary(rows=rows, excluded=excluded)
        case _, {"code": str(name), "detail": str(detail), "fix": str(fix)}:
            raise SourceError(name, detail, fix)
        case _:
            raise _failed(f"it ended with {code}")


def _failed(why: str) -> SourceError:
    return SourceError(
        "source.limit", f"The connector failed: {why}.", "The file may be too large, or hostile."
    )
