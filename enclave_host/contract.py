"""Data contracts (Open Data Contract Standard 3, YAML): what of them the datacage checks.

Read by the trusted process, since all parties agreed on the document by digest; data never is. What
this version does not understand is refused: a provider must not believe in a check nobody makes.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import yaml

from protocol import limits
from protocol.errors import Refused

TYPES: Final = frozenset({"string", "integer", "number", "boolean"})
BINARY: Final = "binary"
"""What a string becomes whose logicalTypeOptions say format: binary; its lengths are in bytes."""
TEXT_BOUNDS: Final = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}
BINARY_BOUNDS: Final = {"minLength": "min_length", "maxLength": "max_length"}
BOUNDS: Final = {"minimum": "minimum", "maximum": "maximum"}
MANY: Final = 2**53
"""The bound on rows where a contract names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `pattern` is matched in full; `values` is empty where all are valid."""

    name: str
    type: str
    required: bool
    unique: bool
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One table: its columns, and how many rows a share may have."""

    columns: tuple[Column, ...]
    rows: tuple[int, int]

    def plain(self) -> dict[str, Any]:
        """As JSON, for the code in the sandbox."""
        return asdict(self)


class _Loader(yaml.SafeLoader):
    """YAML without aliases: they can blow a small file up to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def read_contract(blob: bytes, person: str) -> Contract:
    """The contract in an ODCS file whose column `person` says who a row is about.

    Raises Refused (agreement.document).
    """
    if len(blob) > limits.CONTRACT:
        raise Refused("agreement.document", f"a data contract has {len(blob)} bytes")
    try:
        document = yaml.load(blob.decode(), Loader=_Loader)  # noqa: S506 a SafeLoader
        contract = _contract(document)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("agreement.document", "a data contract is no YAML") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused("agreement.document", f"a data contract is off: {error!r:.200}") from error
    texts = {one.name for one in contract.columns if one.type == "string" and one.required}
    if person not in texts:
        detail = f"a data contract has no required text column {person!r}"
        raise Refused("agreement.document", detail)
    return contract


def _contract(document: Any) -> Contract:  # noqa: ANN401 (parsed YAML)
    if document["kind"] != "DataContract" or not document["apiVersion"].startswith("v3."):
        raise ValueError("not a data contract of ODCS version 3")
    (table,) = document["schema"]
    low, high = 0, MANY
    for rule in _errors(table):
        if rule["rule"] != "rowCount":
            raise ValueError(f"rule {rule['rule']} of a table")
        low, high = _range(rule)
    columns = tuple(_column(one) for one in table["properties"])
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns with one name")
    return Contract(columns=columns, rows=(low, high))


def _column(one: Any) -> Column:  # noqa: ANN401
    if one["logicalType"] not in TYPES:
        raise ValueError(f"type {one['logicalType']}")
    options = dict(one.get("logicalTypeOptions", {}))
    type_, bounds = one["logicalType"], BOUNDS
    if type_ == "string" and options.get("format") == BINARY:
        del options["format"]
        type_, bounds = BINARY, BINARY_BOUNDS
    elif type_ == "string":
        bounds = TEXT_BOUNDS
    if options.keys() - bounds.keys():
        raise ValueError(f"options {sorted(options.keys() - bounds.keys())}")
    values: tuple[Any, ...] = ()
    unique = bool(one.get("unique", False) or one.get("primaryKey", False))
    for rule in _errors(one):
        match rule["rule"]:
            case "validValues" if type_ != BINARY:
                values = tuple(rule["validValues"])
            case "duplicateCount" if rule.get("mustBe") == 0:
                unique = True
            case other:
                raise ValueError(f"rule {other} of a column")
    return Column(
        name=str(one["name"]),
        type=type_,
        required=bool(one.get("required", False)),
        unique=unique,
        values=values,
        **{bounds[name]: value for name, value in options.items()},
    )


def _errors(one: Any) -> list[Any]:  # noqa: ANN401
    """The quality rules that refuse; a rule of severity info or warning only advises."""
    return [rule for rule in one.get("quality", ()) if rule.get("severity", "error") == "error"]


def _range(rule: Any) -> tuple[int, int]:  # noqa: ANN401
    match rule:
        case {"mustBeBetween": [int(low), int(high)]}:
            return low, high
        case {"mustBe": int(exact)}:
            return exact, exact
        case {"mustBeGreaterOrEqualTo": int(low)}:
            return low, MANY
        case {"mustBeLessOrEqualTo": int(high)}:
            return 0, high
        case _:
            raise ValueError("a rowCount needs mustBe, mustBeBetween or a bound")
