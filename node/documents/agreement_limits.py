"""The table `limits` of an agreement file: what one run of the algorithm may use."""

from typing import Any

from node.documents.fields import Table
from protocol import ceilings
from protocol.kinds.agreement import RunLimits


def read_limits(top: Table) -> RunLimits:
    """As in `{ memory: 4 GiB, cpu: PT5M, processes: 64 }`; what is not said has its default.

    All of them go into the document, so that each party sees what holds.
    """
    table = top.table("limits", optional=True)
    found: dict[str, Any] = {}
    for name, most in ceilings.values(ceilings.MOST):
        if not table.has(name):
            continue
        if name in ceilings.BYTES:
            found[name] = table.size(name)
        elif name in ceilings.SECONDS:
            found[name] = table.duration(name)
        else:
            found[name] = table.number(name, 1, most)
    return RunLimits(**found)
