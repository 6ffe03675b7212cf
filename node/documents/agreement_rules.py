"""The tables `rules` and `noise` of an agreement file, and what one output is."""

import re
from decimal import Decimal
from typing import Any, Final, Literal, cast

from node.documents.fields import Table
from protocol.budget import MILLION, TRILLION
from protocol.kinds.agreement import Rules
from protocol.terms import NOISE, SMALL_CELLS

_MANY: Final = 2**31
_FORMATS: Final = ("json", "arrow", "state")

Format = Literal["json", "arrow", "state"]


def read_rules(top: Table) -> Rules:
    """Output rules: the table `rules`, and `noise` beside it."""
    table = top.table("rules")
    small_cells = table.choice("small_cells", SMALL_CELLS)
    return Rules(
        min_contributors=table.number("min_contributors", 1, _MANY),
        min_change=table.number("min_change", 0, _MANY),
        small_cells=cast("Literal['refuse', 'suppress']", small_cells),
        precision=table.number("precision", 0, 15),
        output_bytes=table.size("output"),
        output_rows=table.number("output_rows", 1, _MANY) if table.has("output_rows") else None,
        **(_noise(top.table("noise")) if top.has("noise") else {}),
    )


def read_format(table: Table) -> Format:
    """What an output is made of: json, where nothing is said."""
    return cast("Format", table.choice("format", _FORMATS, "json"))


def _noise(table: Table) -> dict[str, Any]:
    """As in `{ mechanism: laplace, epsilon: "0.5", in_all: "4" }`; gaussian has a `delta` too."""
    mechanism = table.choice("mechanism", NOISE)
    found: dict[str, Any] = {
        "noise": mechanism,
        "epsilon": read_parts(table, "epsilon", MILLION),
        "epsilon_total": read_parts(table, "in_all", MILLION),
    }
    if mechanism == "gaussian":
        found["delta"] = read_parts(table, "delta", TRILLION)
    return found


def read_parts(table: Table, key: str, unit: int) -> int:
    """A decimal number, written as text ("0.5"), in whole parts of 1/`unit`."""
    text = table.text(key)
    parts = _decimal(text)
    if parts is not None and (whole := parts * unit) <= 2**53 and whole == int(whole):
        return int(whole)
    table.problem(key, "This is not a decimal number in range.", f'As in "0.5"; parts of {unit}.')
    return 0


def _decimal(text: str) -> Decimal | None:
    """A number above or at 0 in plain digits: exponents could be of any size."""
    return Decimal(text) if re.fullmatch(r"[0-9]{1,16}(\.[0-9]{1,16})?", text) else None
