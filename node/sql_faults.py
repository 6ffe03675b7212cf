"""The static check of SQL algorithms on a node: DuckDB parses in a process of its own."""

import subprocess
import sys
from functools import partial
from typing import Final

import trio

from protocol import sql_check
from protocol.errors import Refused
from protocol.kinds.algorithm import Bundle

PATIENCE: Final = 60.0
"""Seconds for all queries of a bundle."""

_COMMAND: Final = (sys.executable, "-I", "-m", "node.connectors.sql_parser")
_ENVIRONMENT: Final = {"LANG": "C.UTF-8"}


async def find(bundle: Bundle) -> tuple[sql_check.Fault, ...]:
    """Every fault of the queries of a bundle; none if it is of another kind.

    Raises Refused (algorithm.sql) if DuckDB itself broke over them.
    """
    if bundle.manifest.kind != "sql":
        return ()
    start = partial(
        trio.run_process,
        _COMMAND,
        stdin=sql_check.question(bundle),
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        check=False,
        env=_ENVIRONMENT,
        cwd="/",
    )
    with trio.move_on_after(PATIENCE) as scope:
        ended = await start()
    if scope.cancelled_caught:
        raise Refused("algorithm.sql", "DuckDB did not read it in time")
    return sql_check.faults(bundle, sql_check.read_report(ended.stdout))


async def check(bundle: Bundle) -> None:
    """Raise Refused (algorithm.sql) with every fault of the queries of a bundle."""
    found = await find(bundle)
    if found:
        raise sql_check.refusal(found)
