"""The demo, played once for the tests of test_demo.py; while it plays, its hosts are searched."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node.demo.cast import split
from node.demo.stage import ENVIRONMENTS, LUNG
from tests.e2e.plaintext import Needles, in_folder, in_memory, in_open_files

VILLAGE = Path(sys.executable).parent / "village"
LIMIT = 600
"""Seconds for the demo on a busy machine; bench/ says how long it takes on an idle one."""

LOOK_AT = {" 6 RUN 1": ("host-1", "host-2"), " 8 RUN 2": ("host-2",)}
"""After which line which hosts are searched: they have conveyed everything by then."""


@dataclass
class Search:
    """What was looked through at one host's node, and what was found."""

    host: str
    pid: int
    memory: int = 0
    files: int = 0
    found: set[str] = field(default_factory=set)
    forbidden: str = ""


@dataclass
class Told:
    """How the demo went."""

    out: Path
    code: int
    lines: list[dict[str, object]]
    most: int
    searches: list[Search]
    left: list[int]
    left_in_memory: set[str]

    @property
    def text(self) -> str:
        return "\n".join(str(line["text"]) for line in self.lines)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Play the whole demo."""
    if not LUNG.is_file() or not ENVIRONMENTS.is_dir():
        pytest.skip("needs make setup: demo data and environment")
    out = tmp_path_factory.mktemp("demo") / "out"
    needles = Needles(split(LUNG.read_text("utf-8")))
    before = files_in_memory()
    command = [str(VILLAGE), "demo", "--out", str(out), "--json"]
    with subprocess.Popen(  # noqa: S603 our own program
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"}
    ) as process:
        lines, searches, most, seen = [], [], 0, set[int]()
        deadline = time.monotonic() + LIMIT
        for line in _lines(process, deadline):
            lines.append(line)
            now = children_of(process.pid)
            most, seen = max(most, len(now)), seen | now
            for begin, hosts in LOOK_AT.items():
                if str(line["text"]).startswith(begin):
                    with _stopped(process):  # or it kills a host that is being searched
                        searches += [_search(host, out, needles) for host in hosts]
        code = process.wait(30)
    left = files_in_memory() - before
    alive = [pid for pid in seen if Path(f"/proc/{pid}").exists()]
    return Told(out, code, lines, most, searches, alive, left)


def files_in_memory() -> set[str]:
    """What lies on the memory file system that everybody may use."""
    return {path.name for path in Path("/dev/shm").iterdir()}  # noqa: S108 that is where to look


def _lines(process: "subprocess.Popen[str]", deadline: float) -> Iterator[dict[str, object]]:
    assert process.stdout is not None
    for text in process.stdout:
        yield json.loads(text)
        if time.monotonic() > deadline:
            process.terminate()


@contextmanager
def _stopped(process: "subprocess.Popen[str]") -> Iterator[None]:
    """The story stands still, its nodes go on."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def _search(host: str, out: Path, needles: Needles) -> Search:
    """Memory, open files without a name, and the whole folder of a host's node."""
    search = Search(host, _pid_of(host, out))
    try:
        search.memory, search.found = in_memory(search.pid, needles)
        search.files, found = in_open_files(search.pid, needles)
        search.found |= found
    except PermissionError as error:
        search.forbidden = str(error)
    search.found |= in_folder(out / "participants" / host, needles)
    return search


def children_of(parent: int) -> set[int]:
    """Ids of the processes that a process started and that run now."""
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            found.update(map(int, task.read_text().split()))
    return found


def _pid_of(host: str, out: Path) -> int:
    config = str(out / "participants" / host / "node.toml")
    return next(pid for pid, words in _command_lines() if config in words)


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            yield int(entry.name), words
