"""The processes of the demo: each participant is one, and all end with us, however we end.

A child dies with its parent (PR_SET_PDEATHSIG), has a process group and a log file of its own, and
is only ever ended by its own process id.
"""

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

PR_SET_PDEATHSIG: Final = 1
STOP_TIME: Final = 5.0
"""Seconds that a process may take to stop by itself before it is killed."""

READY_TIME: Final = 90.0
"""Seconds from start to ready; a node takes about two on an idle machine."""

_PRCTL: Final = ctypes.CDLL(None).prctl


class ProcessFailed(RuntimeError):
    """A process ended, or did not become ready; the text names its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """One running program, the leader of its own process group."""

    name: str
    program: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.program.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.program.poll() is None

    def kill(self) -> None:
        """`kill -9`, to it and what it started; returns when it is gone."""
        self._signal(signal.SIGKILL)
        self.program.wait()

    def stop(self) -> None:
        """Ask it to stop; kill it if it does not within STOP_TIME."""
        self._signal(signal.SIGTERM)
        try:
            self.program.wait(STOP_TIME)
        except subprocess.TimeoutExpired:
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        # A child that we have not waited for keeps its id, so this can hit nobody else.
        if self.alive:
            os.killpg(self.pid, number)


@dataclass(slots=True)
class Troupe:
    """All processes of one demo, by name. Use it as a context manager."""

    folder: Path
    environment: Mapping[str, str]
    running: dict[str, Process] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Logs go into `folder`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all: first ask everybody, then wait for each."""
        for process in self.running.values():
            process._signal(signal.SIGTERM)  # noqa: SLF001 (one class in two parts)
        for process in self.running.values():
            process.stop()

    def start(self, name: str, command: Sequence[str], folder: Path | None = None) -> Process:
        """Start a program in `folder`; call it from the main thread, with which the child ends."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as file:
            program = subprocess.Popen(  # noqa: S603 (our own programs, no shell)
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=folder,
                env=dict(self.environment),
                process_group=0,
                preexec_fn=_die_with_parent,
            )
        process = self.running[name] = Process(name, program, log)
        return process

    def check(self) -> None:
        """Raise ProcessFailed if one ended that should run."""
        for process in self.running.values():
            if not process.alive:
                code = process.program.returncode
                raise ProcessFailed(f"{process.name} ended with {code}: {process.log}")

    def kill(self, *names: str) -> None:
        """`kill -9` some of them at once; they are expected to be gone then."""
        doomed = [self.running.pop(name) for name in names]
        for process in doomed:
            process._signal(signal.SIGKILL)  # noqa: SLF001
        for process in doomed:
            process.program.wait()

    def stop(self, name: str) -> None:
        """Stop one of them, as an operator would; blocks until it is gone."""
        self.running.pop(name).stop()

    def count(self) -> int:
        """How many run now."""
        return sum(process.alive for process in self.running.values())


def wait_until(ready: Callable[[], bool], process: Process, seconds: float = READY_TIME) -> None:
    """Wait until `ready`. Raises ProcessFailed. Blocks: call it in a thread."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not process.alive:
            code = process.program.returncode
            raise ProcessFailed(f"{process.name} ended with {code}: {process.log}")
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{process.name} is not ready after {seconds:.0f} s: {process.log}")
        time.sleep(0.05)


def listens(path: Path) -> bool:
    """Whether somebody takes connections at this socket; its file alone may be that of the dead."""
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(str(path))
        except OSError:
            return False
    return True


def _die_with_parent() -> None:
    """In the child, before it becomes the program: the kernel kills it when our thread ends."""
    _PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
