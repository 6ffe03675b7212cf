"""Arrow outputs: sent through the gate's worker, in a sandbox of its own, one table at a time.

The trusted process never parses Arrow. What it believes of the worker is a short report, whose
every field is checked; that the table is what the report says rests on the worker's code.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from enclave_host import outputs
from enclave_host.cage import Job, memory
from enclave_host.inputs import Datacage
from enclave_host.table_model import TableModel
from protocol import limits
from protocol.errors import Refused
from protocol.kinds.agreement import Rules

_FIELDS: Final = {"fault", "rows", "cells", "small", "left"}


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A table after the worker: its rows, how many cells it had and how many were small; `content`
    is None where small cells keep all of it back.
    """

    rows: int
    cells: int
    small: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Tables:
    """The Arrow outputs of one agreement, and where their worker runs."""

    datacage: Datacage
    models: Mapping[str, TableModel]

    def clean(self, name: str, content: bytes, rules: Rules) -> Cleaned:
        """Hold a table against its model, and build it anew. Raises Refused (gate.schema)."""
        plan = {
            **self.models[name].plain(),
            "precision": rules.precision,
            "bound": rules.min_contributors,
            "suppress": rules.small_cells == "suppress",
        }
        with memory.files({"plan": json.dumps(plan).encode(), "table": content}) as inputs:
            job = Job(
                environment=self.datacage.environment,
                inputs=inputs,
                entry="gate:answer",
                limits=replace(self.datacage.limits, output=limits.OUTPUT),
                kind="gate",
            )
            outcome = self.datacage.cage.run(job)
        if outcome.status != "ok":
            raise Refused("gate.schema", f"output {name} cannot be read")
        return _read(self.models[name], outcome.output)


def _read(model: TableModel, raw: bytes) -> Cleaned:
    """What the worker wrote. Raises Refused (gate.schema)."""
    found = outputs.parse(raw)
    report = outputs.read_json(found["report"].content) if "report" in found else None
    if not isinstance(report, dict) or report.keys() != _FIELDS:
        raise Refused("gate.schema", f"output {model.name} has no report")
    if report["fault"] is not None:
        # Not which column: that is the algorithm's choice, and the record is open to all.
        raise Refused("gate.schema", f"output {model.name}")
    rows, cells, small = (report[name] for name in ("rows", "cells", "small"))
    whole = all(type(one) is int and 0 <= one <= 2**40 for one in (rows, cells, small))
    if not whole or (report["left"] is True) != ("table" in found):
        raise Refused("gate.schema", f"output {model.name} has no report")
    table = found.get("table")
    return Cleaned(rows, cells, small, None if table is None else table.content)
