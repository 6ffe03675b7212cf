"""Runs one job in one sandbox: starts it, reads its two pipes, and ends it.

The shim gets its orders and the algorithm's code in a memory file as descriptor 0, the inputs as
descriptors of others; the process writes its output to one pipe and its log to another. Nothing of
a run has a path, and whatever happens, nothing of it is left when `run` returns.
"""

import itertools
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Final

from enclave_host import runners
from enclave_host.cage import memory, readable, seccomp, tiers
from enclave_host.cage.job import Broken, Job, Outcome, Status
from enclave_host.cage.tiers import Tier

READY: Final = b"\x06"  # what the shim writes first, see shim.py
CHUNK: Final = 64 << 10  # bytes read from a pipe at once: its default capacity
PAGE: Final = 4096  # bytes of /tmp for which one file may be there: an empty one takes memory too
PATIENCE: Final = 10.0  # seconds that the kernel may take to bury a killed process

_users = itertools.count(os.getpid())


@dataclass(slots=True)
class Sink:
    """Collects what comes out of one pipe, up to a number of bytes."""

    limit: int
    keep_last: bool  # beyond the limit: drop the oldest bytes, or refuse
    kept: bytearray = field(default_factory=bytearray)

    def take(self, chunk: bytes) -> bool:
        """Add a chunk; return False if that is more than may come."""
        self.kept += chunk
        if len(self.kept) <= self.limit:
            return True
        if self.keep_last:
            del self.kept[: -self.limit]
        return self.keep_last


def run(tier: Tier, job: Job) -> Outcome:
    """Run the job and return its outcome; blocks for at most the wall limit and a few seconds.

    Raises Broken if the sandbox cannot be built or taken down, UnknownKind for such a kind.
    """
    deadline = time.monotonic() + job.limits.wall
    output = Sink(job.limits.output + len(READY), keep_last=False)
    log = Sink(job.limits.log, keep_last=True)
    with ExitStack() as stack:
        try:
            process, pipes = _start(tier, job, stack)
        except OSError as error:
            raise Broken(f"tier {tier}: {error.strerror}: {error.filename or 'start'}") from error
        sinks = dict(zip(pipes, (output, log), strict=True))
        try:
            within = _collect(sinks, deadline) and _ended(process, deadline)
        finally:
            _bury(process)
    if not output.kept.startswith(READY) and within:
        raise Broken(f"tier {tier}: {_last_line(log.kept) or 'the sandbox did not start'}")
    status = verdict(process.returncode) if within else "limit"
    released = bytes(output.kept[len(READY) :]) if status == "ok" else b""
    return Outcome(status, released, bytes(log.kept))


def verdict(code: int) -> Status:
    """Translate how the process ended: an exit code, 128 + signal from bwrap, or -signal."""
    killed_by = -code if code < 0 else code - 128
    match code:
        case 0:
            return "ok"
        case runners.LIMIT_EXIT:
            return "limit"
        case _ if killed_by == signal.SIGSYS:
            return "policy"
        case _ if killed_by in (signal.SIGXCPU, signal.SIGKILL, signal.SIGXFSZ):
            return "limit"
        case _:
            return "failed"


def _start(tier: Tier, job: Job, stack: ExitStack) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start the sandbox; return its process and the reading ends of output and log."""
    is_root = os.geteuid() == 0
    user = tiers.FIRST_USER + next(_users) % tiers.USERS if is_root else None
    outside = user if tier != "B" else None  # in tier B the shim drops to it
    readable.require(job.environment, outside)
    output_end, output = _pipe(stack)
    log_end, log = _pipe(stack)
    inputs = {name: _reader(number, stack) for name, number in job.inputs.items()} | dict(job.made)
    orders = _orders(tier, job, user, output.fileno(), inputs)
    passed = [output.fileno(), *inputs.values(), *([] if job.feed is None else [job.feed])]
    letter = _letter(orders, job.code, stack)
    with output, log:
        process = subprocess.Popen(  # noqa: S603 our own command line
            tiers.command(tier, job),
            stdin=letter,
            stdout=log,
            stderr=log,
            pass_fds=passed,
            cwd="/",
            env=tiers.ENVIRON,
            start_new_session=True,  # a process group to kill, and no terminal
            user=outside,
            group=tiers.GROUP if outside else None,
            extra_groups=[] if outside else None,
        )
    return process, [output_end.fileno(), log_end.fileno()]


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return (
        stack.enter_context(open(reading, "rb", buffering=0)),
        stack.enter_context(open(writing, "wb", buffering=0)),
    )


def _reader(number: int, stack: ExitStack) -> int:
    opened = memory.reader(number)
    stack.callback(os.close, opened)
    return opened


def _letter(orders: dict[str, Any], code: Mapping[str, bytes], stack: ExitStack) -> int:
    """The shim's orders and the algorithm's code: an 8-byte length, JSON, the files' bytes."""
    head = json.dumps(orders).encode()
    letter = memory.create(len(head).to_bytes(8, "big") + head)
    stack.callback(memory.wipe, letter)
    for content in code.values():
        memory.append(letter, content)
    os.lseek(letter, 0, os.SEEK_SET)
    return letter


def _orders(
    tier: Tier, job: Job, user: int | None, output: int, inputs: Mapping[str, int]
) -> dict[str, Any]:
    """Say to the shim what to build and what to run."""
    seen = tiers.view(tier, job)
    return {
        "output": output,
        "feed": job.feed,
        "scratch": [job.limits.tmp, job.limits.tmp // PAGE] if tier != "C" else None,
        "identity": [user, tiers.GROUP] if tier == "B" else None,
        "parent": os.getpid() if tier == "C" else None,
        "limits": _resource_limits(job, _neighbours() if tier == "C" and not user else 0),
        "filter": seccomp.program().hex(),
        "readable": seen.readable,
        "writable": seen.writable,
        "landlock_required": tier == "C",
        "modules": runners.sources(job.kind),
        "code": [[path, len(content)] for path, content in job.code.items()],
        "inputs": inputs,
        "job": {
            "environment": seen.environment,
            "entry": job.entry,
            "parameters": job.parameters.decode(),
        },
    }


def _resource_limits(job: Job, neighbours: int) -> dict[str, list[int]]:
    """Return name of the RLIMIT -> (soft, hard); `neighbours` share the count of processes."""
    limits = job.limits
    hard = {
        "AS": limits.memory,
        "DATA": limits.memory,
        "FSIZE": limits.tmp,
        "NPROC": limits.processes + neighbours,
        "NOFILE": limits.files + len(job.inputs) + len(job.made),
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "SIGPENDING": 64,
    }
    # SIGXCPU at the soft limit can be caught, SIGKILL one second later cannot.
    return {name: [value, value] for name, value in hard.items()} | {
        "CPU": [limits.cpu, limits.cpu + 1]
    }


def _neighbours() -> int:
    """Count the threads of this process's user: without namespaces they are counted together."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid == os.getuid():
                count += len(list((process / "task").iterdir()))
        except OSError:
            continue  # it has just ended
    return count


def _collect(sinks: dict[int, Sink], deadline: float) -> bool:
    """Read all pipes to their ends; return False if time or bytes ran out first."""
    with selectors.DefaultSelector() as selector:
        for pipe, sink in sinks.items():
            selector.register(pipe, selectors.EVENT_READ, sink)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    selector.unregister(key.fd)
                elif not key.data.take(chunk):
                    return False
    return True


def _ended(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the end of a process that has closed its pipes; False if time runs out first."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, and wait until it is gone."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise Broken("the kernel has not ended the sandbox's process after SIGKILL") from error


def _last_line(log: bytearray) -> str:
    return log.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
