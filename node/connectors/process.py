"""Starts a connector and reads what it writes, in pieces of one sealed chunk each."""

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
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

_READ: Final = 256 * 1024
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
    """A source that is being read. `summary` is there once all of it was."""

    process: trio.Process
    said: bytearray
    ended: trio.Event
    summary: Summary | None = None

    async def pieces(self) -> AsyncGenerator[tuple[bytes, bool], None]:
        """Yield (plain bytes, whether they are the last): limits.CHUNK each, the last may be less.

        The last comes only after the connector said that all is well. Raises SourceError.
        """
        held = bytearray()
        while data := await self._read():
            held += data
            while len(held) > limits.CHUNK:
                piece = bytes(held[: limits.CHUNK])
                del held[: limits.CHUNK]
                yield piece, False
        await self._end()
        yield bytes(held), True

    async def _read(self) -> bytes:
        if self.process.stdout is None:
            raise _failed("it has no output")
        with trio.move_on_after(SILENCE):
            return bytes(await self.process.stdout.receive_some(_READ))
        raise SourceError(
            "source.limit", f"Reading stood still for {SILENCE:g} s.", "Is the disk reachable?"
        )

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
    fault: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell_contract, process, source.contract)
        nursery.start_soon(_listen, found)
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
    found.ended.set()


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
