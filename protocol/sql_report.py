"""What DuckDB makes of queries: the half of protocol/sql_check.py that runs where DuckDB is.

That is a connector's process on a node, and the sandbox in an enclave, where this file is loaded by
itself: it imports the standard library only, and is given DuckDB.
"""

import json
from collections.abc import Mapping
from typing import Any


def report(duckdb: Any, database: Any, asked: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """What DuckDB makes of each query, and the functions that it vouches for. `asked` is the
    question of sql_check; `database` is an open connection, locked down.
    """
    functions = [row[0] for row in database.execute(asked["catalogue"]).fetchall()]
    queries: dict[str, Any] = {}
    room = asked["bytes"]
    for path, text in asked["queries"].items():
        (tree,) = database.execute(asked["parse"], {"query": text}).fetchall()[0]
        room -= len(tree)
        if room < 0:  # the queries that are left out are faults
            break
        queries[path] = {"statements": _statements(duckdb, text), "tree": json.loads(tree)}
    return {"functions": functions, "queries": queries}


def _statements(duckdb: Any, text: str) -> list[str]:  # noqa: ANN401
    """The kind of each statement; none where DuckDB cannot read it: then the tree says why."""
    try:
        return [one.type.name for one in duckdb.extract_statements(text)]
    except duckdb.Error:
        return []
