"""The table `runs` of an agreement file: who orders, how often, and what else gives cause."""

import json
from collections.abc import Callable
from typing import Any, Final, Literal, cast

from node.documents.fields import Table
from protocol.kinds.agreement import Runs, Trigger

_MANY: Final = 2**31
_MISSED: Final = ("once", "skip")

Dids = Callable[[Table, str], tuple[bytes, ...]]
"""The participants whom a key of a table names."""

File = Callable[[Table, str], bytes]
"""The digest of the file that a key of a table names."""


def read_runs(table: Table, dids: Dids, file: File) -> Runs:
    """As in `{ by: ["@sponsor"], at_most: 9, attempts: 3, triggers: { … } }`.

    Where only triggers order, `by` may be left out; `on: demand` may say what is so without it.
    """
    table.choice("on", ("demand",), "demand")
    triggers = table.tables("triggers", optional=True)
    by = dids(table, "by") if table.has("by") or not triggers else ()
    return Runs(
        by=by,
        at_most=table.number("at_most", 1, _MANY),
        attempts=table.number("attempts", 1, 1000),
        deadline=table.duration("deadline") if table.has("deadline") else None,
        within=table.duration("within") if table.has("within") else None,
        triggers=tuple(_trigger(name, one, dids, file) for name, one in triggers.items()),
    )


def _trigger(name: str, table: Table, dids: Dids, file: File) -> Trigger:
    """As in `{ cron: "0 6 * * 1", entry: fit, parameters: { k: 3 }, by: ["@sponsor"] }`, in UTC; or
    `{ event: batch, schema: batch.schema.json, entry: fit, by: ["@sponsor"] }`.
    """
    parameters: Any = table.plain("parameters", {})
    missed = table.choice("missed", _MISSED, "once")
    timed = table.has("cron") or not table.has("event")
    return Trigger(
        name=name,
        cron=table.text("cron") if timed else None,
        event=None if timed else table.text("event"),
        schema=None if timed else file(table, "schema"),
        entry=table.text("entry"),
        parameters=json.dumps(parameters, sort_keys=True, separators=(",", ":")),
        by=dids(table, "by"),
        missed=cast("Literal['once', 'skip']", missed),
    )
