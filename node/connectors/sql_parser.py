"""DuckDB as a parser, in its own process: python -m node.connectors.sql_parser < question > report.

Both are JSON, see protocol/sql_check.py. Nothing is run but the two queries of the question itself.
"""

import json
import sys
from typing import Any, Final

from node.connectors.bounds import bound
from protocol import sql_report

CPU: Final = 30
"""Seconds of processor time for all queries of a bundle."""

_DUCKDB: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "temp_directory": "",
    "threads": "1",
}


def main() -> None:
    """Answer one question."""
    bound(CPU)
    json.dump(report(json.load(sys.stdin)), sys.stdout)


def report(asked: dict[str, Any]) -> dict[str, Any]:
    """What DuckDB makes of each query, and the functions that it vouches for."""
    import duckdb  # late: the bounds must stand before

    with duckdb.connect(":memory:", config=_DUCKDB) as database:
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        return sql_report.report(duckdb, database, asked)


if __name__ == "__main__":
    main()
