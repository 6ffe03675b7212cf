"""The story of the demo: its scenes in order, what they know of each other, and how it ends."""

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from node.demo.actor import Actor
from node.demo.processes import Troupe
from node.demo.record import Chronicle
from node.demo.screen import Screen
from node.demo.stage import PROJECT, Stage
from node.demo.watch import Watch

AT_ONCE: Final = max(2, len(os.sched_getaffinity(0)))
"""Programs started side by side: more only wait for each other."""

BIN: Final = Path(sys.executable).parent


@dataclass(slots=True)
class Story:
    """Everything that scenes share. `known` is what one scene found out and another needs."""

    stage: Stage
    troupe: Troupe
    tale: Chronicle
    screen: Screen
    nursery: trio.Nursery
    watch: Watch
    nodes: dict[str, Actor] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    commands: bool = False

    def line(self, text: str, record: str = "") -> None:
        """A line that stays, with the id of the record behind it."""
        self.tale.say(text, record)

    def command(self, actor: str, text: str) -> None:
        """The command that does by hand what the demo does by the API."""
        if self.commands:
            self.tale.say(f"   {actor} $ village {text}", kind="command")

    def progress(self, text: str) -> None:
        """What goes on now."""
        self.screen.progress(f"   … {text}")

    def node(self, name: str) -> Actor:
        """A participant's node."""
        return self.nodes[name]


Scene = Callable[[Story], Awaitable[None]]


def village(*arguments: str) -> list[str]:
    """The command line of `village`."""
    return [str(BIN / "village"), *arguments]


def enclave(*arguments: str) -> list[str]:
    """The command line of `village-enclave`."""
    return [str(BIN / "village-enclave"), *arguments]


def verifier(*arguments: str) -> list[str]:
    """The offline verifier, which needs no node."""
    return [sys.executable, "-m", "protocol.audit", *arguments]


def environment() -> dict[str, str]:
    """What our programs see: no variable of the user's but where to find programs and modules."""
    kept = ("PATH", "PYTHONPATH", "LANG", "TMPDIR", "TZ")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    return {**found, "PYTHONDONTWRITEBYTECODE": os.environ.get("PYTHONDONTWRITEBYTECODE", "")}


async def output_of(command: Sequence[str], codes: Iterable[int] = (0,)) -> str:
    """What a short program prints. Raises ProgramFailed for another exit code."""
    done = await trio.run_process(
        list(command),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env=environment(),
        cwd=PROJECT,
    )
    if done.returncode not in codes:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()[-600:]
        raise ProgramFailed(f"{' '.join(command[:3])} ended with {done.returncode}: {said}")
    return done.stdout.decode()


class ProgramFailed(RuntimeError):
    """A short program ended otherwise than expected."""


async def together(jobs: Iterable[Callable[[], Awaitable[object]]], at_once: int = 0) -> None:
    """Do jobs side by side, at most `at_once` of them (0: all)."""
    limit = trio.CapacityLimiter(at_once or 1_000)

    async def one(job: Callable[[], Awaitable[object]]) -> None:
        async with limit:
            await job()

    async with trio.open_nursery() as nursery:
        for job in jobs:
            nursery.start_soon(one, job)


async def results(jobs: Mapping[str, Callable[[], Awaitable[Any]]]) -> dict[str, Any]:
    """What each job returns, by its name; all at once."""
    found: dict[str, Any] = {}

    async def one(name: str, job: Callable[[], Awaitable[Any]]) -> None:
        found[name] = await job()

    async with trio.open_nursery() as nursery:
        for name, job in jobs.items():
            nursery.start_soon(one, name, job)
    return {name: found[name] for name in jobs}


def title(name: str) -> str:
    """A participant as people call it: hospital-b is Hospital B; the others go by their name."""
    kind, _, letter = name.partition("-")
    return f"Hospital {letter.upper()}" if kind == "hospital" and letter else name


def clock(seconds: float) -> str:
    """Seconds as on a stopwatch: 0:04."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
