"""SQL algorithms as the enclave sees them: checked before anything opens, and told what to make.

DuckDB is never in this process: it parses inside the sandbox (runners/sql.py), and
protocol/sql_check.py judges here what it read, as on every node.
"""

import json
from dataclasses import replace
from typing import Final

from enclave_host.cage import Job, memory
from enclave_host.inputs import Datacage
from protocol import sql_check
from protocol.errors import Refused
from protocol.kinds.agreement import Agreement
from protocol.kinds.algorithm import Bundle, Entry

CHECK: Final = "check"
"""The entry of a job that runs no query."""


def check(datacage: Datacage, bundle: Bundle) -> None:
    """Raise Refused (algorithm.sql) with every fault of a bundle's queries."""
    with memory.files({"plan": sql_check.question(bundle)}) as inputs:
        job = Job(
            environment=datacage.environment,
            inputs=inputs,
            entry=CHECK,
            limits=replace(datacage.limits, output=sql_check.REPORT),
            kind="sql",
        )
        outcome = datacage.cage.run(job)
    if outcome.status != "ok":
        raise Refused("algorithm.sql", f"reading the queries ended as {outcome.status}")
    found = sql_check.faults(bundle, sql_check.read_report(outcome.output))
    if found:
        raise sql_check.refusal(found)


def plan(document: Agreement, entry: Entry) -> bytes:
    """What the runner is told: the entry's outputs, and how each leaves."""
    formats = {output.name: output.format for output in document.outputs}
    outputs = {name: formats[name] for name in entry.outputs}
    return json.dumps({"task": "run", "outputs": outputs}).encode()
