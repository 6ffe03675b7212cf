"""Asking a process of its own about a document that others wrote: one question, one answer."""

import subprocess
from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

PATIENCE: Final = 60.0
"""Seconds for an answer."""

_ENVIRONMENT: Final = {"LANG": "C.UTF-8"}


async def ask(command: Sequence[str], question: bytes) -> bytes | None:
    """What the process writes, whatever its exit code; None if it takes too long, and is ended."""
    start = partial(
        trio.run_process,
        list(command),
        stdin=question,
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        check=False,
        env=_ENVIRONMENT,
        cwd="/",
    )
    with trio.move_on_after(PATIENCE) as scope:
        ended = await start()
    return None if scope.cancelled_caught else ended.stdout
