"""Tries to get out of the sandbox and reports the errno of each attempt, 0 where it succeeded."""

import importlib
import mmap
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def observe(tables: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Make every attempt that the process survives."""
    del tables, parameters
    return {"observed": {name: attempt(action) for name, action in ATTEMPTS.items()}}


def imports(tables: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Import packages and say their versions."""
    del tables
    found = {}
    for name in parameters["names"]:
        try:
            found[name] = str(importlib.import_module(name).__version__)
        except ImportError:
            found[name] = ""
    return {"imported": found}


def execute(tables: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Start another program: the filter must kill the process."""
    del tables, parameters
    os.execv(sys.executable or "/usr/bin/python3.11", ["python"])  # noqa: S606 that is the point


def attempt(action: Callable[[], object]) -> int:
    """Return the errno that the action met."""
    try:
        action()
    except OSError as error:
        return error.errno or -1
    return 0


def compute() -> None:
    """Do plain work: the positive control."""
    if int("6") * 7 != 42:
        raise OSError(1, "arithmetic")


def fork() -> None:
    """Make a second process."""
    if os.fork() == 0:
        os._exit(0)


def write(path: str) -> None:
    """Make a file."""
    Path(path).write_bytes(b"out")


def fill_with_files() -> None:
    """Make more files in /tmp than it may hold, all empty."""
    for number in range(FILES):
        os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))  # noqa: S108


def map_to_write() -> None:
    """Change an input in place."""
    mmap.mmap(INPUT, 1, prot=mmap.PROT_READ | mmap.PROT_WRITE)


INPUT = 4  # the first descriptor behind the output
FILES = 300  # more than a /tmp of one MiB holds

ATTEMPTS: dict[str, Callable[[], object]] = {
    "computes 6 * 7": compute,
    "socket": lambda: socket.socket(socket.AF_INET),
    "socket vsock": lambda: socket.socket(socket.AF_VSOCK),
    "socketpair": socket.socketpair,
    "write /": lambda: write("/escaped"),
    "write /tmp": lambda: write("/tmp/escaped"),  # noqa: S108 that is the point
    "fill /tmp with files": fill_with_files,
    "read an input": lambda: os.pread(INPUT, 1, 0),
    "write an input": lambda: os.pwrite(INPUT, b"x", 0),
    "map an input to write": map_to_write,
    "open an input again": lambda: os.open(f"/proc/self/fd/{INPUT}", os.O_RDWR),
    "read /etc/passwd": lambda: Path("/etc/passwd").read_bytes(),
    "list /proc": lambda: os.listdir("/proc"),
    "fork": fork,
    "kill": lambda: os.kill(1, 0),
}
