"""The datacage: how fast a sandbox starts, what its walls cost, and what the gate takes.

Run as `python -m bench.datacage [--quick] [--json FILE]`. The bare process is the same runner with
the same code, inputs and environment and no walls; rounds alternate between it and the tiers, so
that a noisy machine is noisy for both. Needs `make setup`: the environment `scientific`.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from bench.table import entry, options, report
from enclave_host import runners
from enclave_host.cage import Cage, Job, Limits, diagnose, memory, tiers
from enclave_host.contributors import Contributor
from enclave_host.gate import Gate
from enclave_host.inputs import Datacage
from enclave_host.lineage import Lineage, result
from enclave_host.output_model import OutputModel
from enclave_host.private import Room
from enclave_host.table_model import read_table_model
from enclave_host.tables import Tables

SCIENTIFIC = Path(__file__).parents[1] / ".cache/environments/scientific"
ROWS, COLUMNS, SITES = 1_000_000, 12, 20  # and a site and an outcome: 14 columns
GATE_ROWS = 100_000
START_BAR, OVERHEAD_BAR = 50.0, 1.05
LIMITS = Limits(memory=8 << 30, cpu=300, wall=300.0, processes=64)
MEANS = ", ".join(f"avg(x{n}) AS x{n}" for n in range(COLUMNS))

CODE = {
    "work.py": b'''
def nothing(tables, parameters):
    return {"x": 1}


def regression(tables, parameters):
    """Ten steps of Newton's method."""
    import numpy

    table = tables["rows"]
    names = [name for name in table.column_names if name.startswith("x")]
    values = numpy.column_stack([numpy.ones(len(table)), *(table[name] for name in names)])
    outcome, found = table["y"].to_numpy(), numpy.zeros(values.shape[1])
    for _ in range(10):
        chance = 1 / (1 + numpy.exp(-values @ found))
        weights = (chance * (1 - chance))[:, None]
        slope = values.T @ (outcome - chance)
        found += numpy.linalg.solve(values.T @ (values * weights), slope)
    return {"x": found.tolist()}


def imports(tables, parameters):
    """The largest package of the environment."""
    import sklearn.linear_model

    return {"x": 1}


def group_by(tables, parameters):
    table = tables["rows"]
    wanted = [(name, "mean") for name in table.column_names if name.startswith("x")]
    return {"x": table.group_by("site").aggregate([*wanted, ("y", "sum")]).to_pylist()}
''',
    "query/x.sql": (
        f"SELECT site, sum(y) AS y, {MEANS} FROM rows GROUP BY site ORDER BY site"  # noqa: S608
    ).encode(),
}
WORK = {
    "logistic regression": ("python", "work:regression"),
    "group-by": ("python", "work:group_by"),
    "group-by in SQL": ("sql", "query"),
    "import of scikit-learn": ("python", "work:imports"),
}

BARE = """
import json, sys, types

def load(name, source):
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
    return module

order = json.load(sys.stdin)
code = {path: text.encode() for path, text in order["code"].items()}
runner = [load(name, source) for name, source in order["modules"]][-1]
runner.run({**order["job"], "code": code}, order["output"])
"""
"""The shim without its walls."""


def table() -> bytes:
    """1,000,000 rows of a site, an outcome and twelve numbers that it depends on."""
    numbers = [pc.random(ROWS, initializer=seed) for seed in range(COLUMNS + 2)]
    site = pc.cast(pc.floor(pc.multiply(numbers[-1], SITES)), pa.int64())
    raised = pc.greater(pc.add(numbers[0], numbers[-2]), 1.0)
    named = {"site": site, "y": pc.cast(raised, pa.int64())}
    named |= {f"x{n}": numbers[n] for n in range(COLUMNS)}
    return stream(pa.table(named))


def stream(content: pa.Table) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue().to_pybytes()


def milliseconds(work: Callable[[], object]) -> float:
    """The time that passes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


# --- sandboxes ------------------------------------------------------------------------------------


def caged(tier: tiers.Tier, job: Job) -> None:
    """One run, which must end well."""
    outcome = Cage(tier).run(job)
    if outcome.status != "ok":
        raise RuntimeError(f"tier {tier}: {outcome.status}: {outcome.log[-500:].decode()}")


def bare(job: Job) -> None:
    """The same without walls."""
    reading, writing = os.pipe()
    inputs = {name: memory.reader(one) for name, one in job.inputs.items()}
    order = {
        "code": {path: content.decode() for path, content in job.code.items()},
        "modules": runners.sources(job.kind),
        "output": writing,
        "job": {
            "inputs": inputs,
            "environment": str(job.environment) if job.environment else None,
            "entry": job.entry,
            "parameters": job.parameters.decode(),
        },
    }
    process = subprocess.Popen(
        [tiers.PYTHON, "-I", "-S", "-B", "-X", "utf8", "-c", BARE],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[writing, *inputs.values()],
        env=tiers.ENVIRON,
    )
    for one in (writing, *inputs.values()):
        os.close(one)
    with open(reading, "rb") as output:
        _, log = process.communicate(json.dumps(order).encode())
        output.read()
    if process.returncode:
        raise RuntimeError(f"bare: {log[-500:].decode()}")


def starts(held: list[tiers.Tier], rounds: int) -> dict[str, dict[str, Any]]:
    """Milliseconds from nothing to the end of an algorithm that does nothing."""
    job = Job(code=CODE, entry="work:nothing", limits=LIMITS)
    ways = {f"tier {tier}": partial(caged, tier, job) for tier in held}
    raw = alternating(ways | {"bare": partial(bare, job)}, rounds)
    return {
        name: {
            "start": entry(times, "ms", None if name == "bare" else START_BAR),
            "start, p95": entry([statistics.quantiles(times, n=20)[-1]], "ms"),
        }
        for name, times in raw.items()
    }


def work(
    names: list[str], held: list[tiers.Tier], rounds: int
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """System, what, figure: each piece of work bare and in each tier, and the ratio of the two."""
    plan = json.dumps({"task": "run", "outputs": {"x": "json"}}).encode()
    with memory.files({"tables/rows": table(), "plan": plan}) as inputs:
        for what in names:
            kind, name = WORK[what]
            given = inputs if kind == "sql" else {"tables/rows": inputs["tables/rows"]}
            job = Job(
                environment=SCIENTIFIC, code=CODE, inputs=given, entry=name, kind=kind,
                limits=LIMITS,
            )  # fmt: skip
            ways = {f"tier {tier}": partial(caged, tier, job) for tier in held}
            raw = alternating(ways | {"bare": partial(bare, job)}, rounds)
            yield "bare", what, entry(raw["bare"], "ms")
            for system in ways:
                yield system, what, entry(raw[system], "ms")
                ratios = [a / b for a, b in zip(raw[system], raw["bare"], strict=True)]
                yield system, f"{what}, to bare", entry(ratios, "times", OVERHEAD_BAR)


def alternating(ways: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each way, one after the other in each round; the first round is not kept."""
    kept: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, way in ways.items():
            kept[name].append(milliseconds(way))
    return {name: times[1:] for name, times in kept.items()}


# --- the gate -------------------------------------------------------------------------------------

NUMBER = {"type": "number", "minimum": 0, "maximum": 1}
COUNT = {"type": "integer", "minimum": 0, "maximum": ROWS, "x-village-cell-count": True}
MODEL = {
    "type": "array",
    "maxItems": GATE_ROWS,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["site", "n", "mean"],
        "properties": {
            "site": {"type": "integer", "minimum": 0, "maximum": GATE_ROWS},
            "n": COUNT,
            "mean": NUMBER,
        },
    },
}
TABLE_MODEL = f"""
apiVersion: v3.0.2
kind: DataContract
id: cells
schema:
  - name: cells
    quality:
      - {{ rule: rowCount, mustBeBetween: [1, {GATE_ROWS}], severity: error }}
    properties:
      - name: site
        logicalType: integer
        logicalTypeOptions: {{ minimum: 0, maximum: {GATE_ROWS} }}
      - name: n
        logicalType: integer
        required: true
        logicalTypeOptions: {{ minimum: 0, maximum: {ROWS} }}
        customProperties: [{{ property: x-village-cell-count, value: true }}]
      - name: mean
        logicalType: number
        logicalTypeOptions: {{ minimum: 0, maximum: 1 }}
""".encode()


@contextmanager
def datacage() -> Iterator[Datacage]:
    """The strongest tier, with a room for tables."""
    room = Room(1 << 30)
    try:
        yield Datacage(Cage.probe(), room, SCIENTIFIC, LIMITS)
    finally:
        room.close()


def gate(rounds: int) -> dict[str, Any]:
    """The gate with 100,000 rows as JSON, as a table, and 100,000 people beside two results."""
    from tests.framing import frames
    from tests.unit.test_gate import rig_parties

    _, parties = rig_parties(output_bytes=16 << 20)
    rows = [{"site": n, "n": 1000 + n % 7, "mean": n / GATE_ROWS} for n in range(GATE_ROWS)]
    raw = frames([("model", "json", json.dumps(rows).encode())])
    models = {"model": OutputModel("model", json.dumps(MODEL).encode())}
    people = {n.to_bytes(16, "big"): Contributor() for n in range(GATE_ROWS)}
    fewer = dict(list(people.items())[:-1000])
    lineage = Lineage(results=(result(1, "fit", "{}", people), result(2, "fit", "{}", fewer)))

    def judge() -> None:
        verdict = Gate(parties, models, ("model",), people, ROWS).judge(raw)
        if not hasattr(verdict, "whole"):
            raise RuntimeError(str(verdict))

    def judge_people() -> None:
        if Gate(parties, models, ("model",), people, ROWS).judge_people(lineage) is not None:
            raise RuntimeError("held")

    arrow = stream(pa.Table.from_pylist(rows))
    with datacage() as cage:
        tables = Tables(cage, {"cells": read_table_model("cells", TABLE_MODEL)})
        clean = partial(tables.clean, "cells", arrow, parties.document.rules)
        found = alternating({"json": judge, "people": judge_people, "table": clean}, rounds)
    return {
        "100,000 rows, JSON": entry(found["json"], "ms"),
        "100,000 rows, table": entry(found["table"], "ms"),
        "100,000 people": entry(found["people"], "ms"),
    }


def main() -> None:
    """Measure and report."""
    chosen = options(__doc__ or "")
    held = [one.tier for one in diagnose() if one.holds]
    figures = starts(held, 10 if chosen.quick else 200)
    rounds = 1 if chosen.quick else 15
    names, walls = (list(WORK)[:3], held[:1]) if chosen.quick else (list(WORK), held)
    for system, what, figure in work(names, walls, rounds):
        figures[system][what] = figure
    figures["gate"] = gate(rounds)
    report("The datacage", figures, chosen.json)


if __name__ == "__main__":
    main()
