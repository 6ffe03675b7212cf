"""Counts rows, as its name says, and then tries to take them out of the datacage.

For the demo and the tests of the sandbox: every attempt reports the name of the error that stopped
it, or "done". A socket is never connected, and a file that could be made is removed again, so that
running this outside a sandbox does no harm.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import pyarrow as pa

FILE_NAME = "village-probe"


def survey(tables: dict[str, pa.Table], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the output `summary`: the number of rows, and what came of each attempt."""
    attempts: dict[str, Callable[[], None]] = {
        "socket-internet": lambda: _open_socket(socket.AF_INET),
        "socket-local": lambda: _open_socket(socket.AF_UNIX),
        "write-root": lambda: _write("/"),
        "write-own-code": lambda: _write(os.path.dirname(os.path.abspath(__file__))),
    }
    tried = [{"attempt": name, "outcome": _outcome(act)} for name, act in attempts.items()]
    return {"summary": {"rows": sum(table.num_rows for table in tables.values()), "tried": tried}}


def _outcome(act: Callable[[], None]) -> str:
    try:
        act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "EUNKNOWN")
    return "done"


def _open_socket(family: int) -> None:
    socket.socket(family, socket.SOCK_STREAM).close()


def _write(folder: str) -> None:
    path = os.path.join(folder, FILE_NAME)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, b"a person's row could stand here")
    finally:
        os.close(descriptor)
        os.unlink(path)
