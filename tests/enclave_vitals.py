"""A small data contract, an algorithm and its output models, for tests of the enclave."""

from typing import Any

from protocol.kinds import algorithm

CONTRACT = b"""
apiVersion: v3.0.2
kind: DataContract
id: vitals-v1
schema:
  - name: vitals
    quality:
      - { rule: rowCount, mustBeBetween: [1, 1000], severity: error }
    properties:
      - name: person
        logicalType: string
        logicalTypeOptions: { minLength: 1, maxLength: 64, pattern: "^[A-Za-z0-9-]+$" }
        required: true
        unique: true
      - name: site
        logicalType: integer
        logicalTypeOptions: { minimum: 1, maximum: 99 }
      - name: value
        logicalType: number
        logicalTypeOptions: { minimum: 0, maximum: 1000 }
        required: true
"""

CODE = b'''
"""Mean of a column; rows by site; and what an algorithm must not get away with."""

import time


def fit(tables, parameters):
    values = tables["vitals-v1"].column("value").to_pylist()
    assert set(tables["vitals-v1"].column_names) == {"_person", "site", "value"}
    mean = sum(values) / len(values)
    parts = [{"row": row, "relative_risk": value / mean} for row, value in enumerate(values)]
    return {"model": {"n": len(values), "mean": mean}, "own-risk": parts}


def by_site(tables, parameters):
    sites = tables["vitals-v1"].column("site").to_pylist()
    cells = [{"site": site, "n": sites.count(site)} for site in sorted(set(sites))]
    return {"table": {"cells": cells}}


def leak(tables, parameters):
    values = tables["vitals-v1"].column("value").to_pylist()
    return {"model": {"n": len(values), "mean": values[0], "rows": values}, "own-risk": []}


def crash(tables, parameters):
    raise ValueError("row-001 has a secret")


def stuck(tables, parameters):
    held = tables["vitals-v1"].to_pylist()
    while held:
        time.sleep(1)
'''


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _number(kind: str, high: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "minimum": 0, "maximum": high, **more}


def _table(items: dict[str, Any], most: int = 1000) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": items}


SCHEMAS = {
    "model": _object(n=_number("integer", 10_000), mean=_number("number", 1000)),
    "own-risk": _table(
        _object(row=_number("integer", 10_000), relative_risk=_number("number", 10_000)),
        most=10_000,
    ),
    "table": _object(
        cells=_table(
            _object(
                site=_number("integer", 99),
                n=_number("integer", 10_000, **{"x-village-cell-count": True}),
            )
        )
    ),
}
ENTRIES = {
    "fit": ("model", "own-risk"),
    "by-site": ("table",),
    "leak": ("model", "own-risk"),
    "crash": ("model",),
    "stuck": ("model",),
}
COVARIATES = (algorithm.Parameter(name="covariates", type="any_of", choices=("age", "sex")),)
