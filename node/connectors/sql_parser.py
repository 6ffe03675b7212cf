"""DuckDB as a parser, in its own process: python -m node.connectors.sql_parser < question > report.

Both are JSON, see protocol/sql_check.py. Nothing is run but the two queries of the question itself.
"""

import json
import sys
from typing import Any, Final

from node.connectors.bounds import bound

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

    def statements(query: str) -> list[str]:
        try:
            return [one.type.name for one in duckdb.extract_statements(query)]
        except duckdb.Error:
            return []  # the tree says why

    with duckdb.connect(":memory:", config=_DUCKDB) as database:
        database.execute("SET enable_external_access = false")
        database.execute("SET lock_configuration = true")
        functions = [row[0] for row in database.execute(asked["catalogue"]).fetchall()]
        queries: dict[str, Any] = {}
        room = asked["bytes"]
        for path, query in asked["queries"].items():
            (tree,) = database.execute(asked["parse"], {"query": query}).fetchall()[0]
            room -= len(tree)
            if room < 0:  # the queries that are left out are faults
                break
            queries[path] = {"statements": statements(query), "tree": json.loads(tree)}
    return {"functions": functions, "queries": queries}


if __name__ == "__main__":
    main()
