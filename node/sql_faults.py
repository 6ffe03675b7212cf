"""The static check of SQL algorithms on a node: DuckDB parses in a process of its own."""

import sys
from typing import Final

from node.asking import ask
from protocol import sql_check
from protocol.errors import Refused
from protocol.kinds.algorithm import Bundle

_COMMAND: Final = (sys.executable, "-I", "-m", "node.connectors.sql_parser")


async def find(bundle: Bundle) -> tuple[sql_check.Fault, ...]:
    """Every fault of the queries of a bundle; none if it is of another kind.

    Raises Refused (algorithm.sql) if DuckDB itself broke over them.
    """
    if bundle.manifest.kind != "sql":
        return ()
    report = await ask(_COMMAND, sql_check.question(bundle))
    if report is None:
        raise Refused("algorithm.sql", "DuckDB did not read it in time")
    return sql_check.faults(bundle, sql_check.read_report(report))


async def check(bundle: Bundle) -> None:
    """Raise Refused (algorithm.sql) with every fault of the queries of a bundle."""
    found = await find(bundle)
    if found:
        raise sql_check.refusal(found)
