"""The model of an Arrow output: a data contract (ODCS) that is closed.

Every column is bounded, so that nothing leaves but what all parties could read in the contract. A
column that counts people says so in its customProperties: x-village-cell-count.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from enclave_host.contract import Column, Contract, read_table
from enclave_host.quality import MANY
from protocol import limits
from protocol.errors import Refused
from protocol.output_model import CELL, PERSON


@dataclass(frozen=True, slots=True)
class TableModel:
    """One Arrow output: its columns, its rows, and the columns that count people."""

    name: str
    contract: Contract
    cells: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON, for the gate's worker."""
        return {**self.contract.plain(), "cells": list(self.cells)}


def read_table_model(name: str, blob: bytes) -> TableModel:
    """The model in `blob`. Raises Refused (gate.schema) unless it is closed."""
    try:
        contract, properties = read_table(blob)
    except Refused as refused:
        raise Refused("gate.schema", f"the output model of {name}: {refused.detail}") from refused
    for column in contract.columns:
        fault = _open(column)
        if fault is not None:
            detail = f"the output model of {name} is open at {column.name}: {fault}"
            raise Refused("gate.schema", detail)
    if not 0 < contract.rows[1] < MANY:
        raise Refused("gate.schema", f"the output model of {name} is open: rowCount needs a bound")
    return TableModel(name, contract, tuple(_cells(name, contract, properties)))


def _open(column: Column) -> str | None:
    """Why a column lets out more than the contract says."""
    if column.name == PERSON:
        return "it stands for a person"
    if len(column.name.encode()) > limits.NAME:
        return "its name is too long"
    if column.values:
        return None
    match column.type:
        case "integer" | "number" if not (_number(column.minimum) and _number(column.maximum)):
            return f"{column.type} needs minimum and maximum"
        case "string" | "binary" if not 0 < (column.max_length or 0) <= limits.TEXT:
            return f"{column.type} needs validValues, or a maxLength up to {limits.TEXT}"
        case _:
            return None


def _number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def _cells(name: str, contract: Contract, properties: list[Any]) -> list[str]:
    """The columns that are marked as counts of people."""
    found = []
    for column, one in zip(contract.columns, properties, strict=True):
        custom = one.get("customProperties", [])
        if not isinstance(custom, list) or not all(isinstance(each, dict) for each in custom):
            raise Refused("gate.schema", f"the output model of {name}: {column.name} is off")
        marks = [each.get("value") for each in custom if each.get("property") == CELL]
        marked = len(marks) == 1 and marks[0] is True
        if marks and (not marked or column.type != "integer" or not column.required):
            detail = f"{CELL} stands on a required integer, and is true"
            raise Refused("gate.schema", f"the output model of {name}: {column.name}: {detail}")
        found += [column.name] if marks else []
    return found
