"""Data contracts (Open Data Contract Standard 3, YAML): what of them the datacage checks.

Read by the trusted process, since all parties agreed on the document by digest; data never is. What
this version does not understand is refused: a provider must not believe in a check nobody makes.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import yaml

from enclave_host.quality import quality_of, rows_of
from protocol import limits
from protocol.errors import Refused
from protocol.output_model import PERSON

TYPES: Final = ("string", "integer", "number", "boolean")
BINARY: Final = "binary"
"""What a string becomes whose logicalTypeOptions say format: binary; its lengths are in bytes."""
TEXT_BOUNDS: Final = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}
BINARY_BOUNDS: Final = {"minLength": "min_length", "maxLength": "max_length"}
BOUNDS: Final = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `pattern` is matched in full; `values` is empty where all are valid, `missing`
    are those that stand for none; numbers are `above` and `below` these bounds, never equal.
    """

    name: str
    type: str
    required: bool
    unique: bool
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    values: tuple[Any, ...] = ()
    missing: tuple[Any, ...] = ()


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
    contract, _ = read_table(blob)
    texts = {one.name for one in contract.columns if one.type == "string" and one.required}
    if person not in texts:
        detail = f"a data contract has no required text column {person!r}"
        raise Refused("agreement.document", detail)
    return contract


def read_table(blob: bytes) -> tuple[Contract, list[Any]]:
    """The one table of an ODCS file, and its properties as they stand there.

    Raises Refused (agreement.document).
    """
    if len(blob) > limits.CONTRACT:
        raise Refused("agreement.document", f"a data contract has {len(blob)} bytes")
    try:
        document = yaml.load(blob.decode(), Loader=_Loader)  # noqa: S506 a SafeLoader
        return _contract(document), document["schema"][0]["properties"]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("agreement.document", "a data contract is no YAML") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused("agreement.document", f"a data contract is off: {error!r:.200}") from error


def _contract(document: Any) -> Contract:  # noqa: ANN401 (parsed YAML)
    if document["kind"] != "DataContract" or not document["apiVersion"].startswith("v3."):
        raise ValueError("not a data contract of ODCS version 3")
    (table,) = document["schema"]
    columns = tuple(_column(one) for one in table["properties"])
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns with one name")
    return Contract(columns=columns, rows=rows_of(table))


def _column(one: Any) -> Column:  # noqa: ANN401
    name, type_ = str(one["name"]), one["logicalType"]
    if type_ not in TYPES:
        raise ValueError(f"column {name} has the type {type_}: there are {', '.join(TYPES)}")
    if name == PERSON:
        raise ValueError(f"{name} is no name for a column: the enclave adds one of that name")
    options = dict(one.get("logicalTypeOptions", {}))
    bounds = TEXT_BOUNDS if type_ == "string" else BOUNDS
    if type_ == "string" and options.get("format") == BINARY:
        del options["format"]
        type_, bounds = BINARY, BINARY_BOUNDS
    if options.keys() - bounds.keys():
        strange = ", ".join(sorted(options.keys() - bounds.keys()))
        raise ValueError(f"column {name} has {strange}: checked are {', '.join(bounds)}")
    quality = quality_of(one)
    if type_ == BINARY and (quality.values or quality.missing or quality.pattern):
        raise ValueError(f"column {name}: bytes have no values or pattern that could be named")
    found = {bounds[option]: value for option, value in options.items()}
    if quality.pattern is not None:
        if "pattern" in found or type_ != "string":
            raise ValueError(f"column {name}: one pattern, on a string")
        found["pattern"] = quality.pattern
    key = bool(one.get("primaryKey", False))
    return Column(
        name=name,
        type=type_,
        required=bool(one.get("required", False)) or key or quality.required,
        unique=bool(one.get("unique", False)) or key or quality.unique,
        values=quality.values,
        missing=quality.missing,
        **found,
    )
