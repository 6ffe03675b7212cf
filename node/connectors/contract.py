"""What a connector needs of a data contract (Open Data Contract Standard 3): columns and types.

The values themselves are checked in the enclave; here a wrong file is found before it is sealed.
"""

from dataclasses import dataclass
from typing import Any, Final

import yaml

from node.connectors import CONTRACT_BYTES, SourceError

TYPES: Final = ("string", "integer", "number", "boolean")
"""The logical types that a share can carry; the enclave knows the same."""

BINARY: Final = "binary"
"""What a string becomes whose logicalTypeOptions say format: binary: bytes, not text."""

COLUMNS: Final = 4096
"""Columns of one table."""

_FIX: Final = "Use the contract file that the agreement names."


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, its ODCS logical type or BINARY, and whether a value must be there."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Contract:
    """The columns of the contract's one table, in its order."""

    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """The column with this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


class _Loader(yaml.SafeLoader):
    """YAML without aliases: they can blow a small file up to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 (as in yaml)
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def read_contract(data: bytes) -> Contract:
    """The contract in an ODCS file. Raises SourceError ("source.contract")."""
    if len(data) > CONTRACT_BYTES:
        raise _refused(f"The contract is larger than {CONTRACT_BYTES} bytes.")
    try:
        document = yaml.load(data.decode(), Loader=_Loader)  # noqa: S506 (a SafeLoader)
        return _contract(document)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _refused("The contract is no YAML that is used here.") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refused(f"The contract is off: {error!r:.200}.") from error


def _refused(detail: str) -> SourceError:
    return SourceError("source.contract", detail, _FIX)


def _contract(document: Any) -> Contract:  # noqa: ANN401 (parsed YAML)
    if document["kind"] != "DataContract" or not document["apiVersion"].startswith("v3."):
        raise ValueError("not a data contract of ODCS version 3")
    (table,) = document["schema"]
    columns = tuple(_column(one) for one in table["properties"])
    if len({column.name for column in columns}) < len(columns):
        raise ValueError("two columns with one name")
    if not 0 < len(columns) <= COLUMNS:
        raise ValueError(f"{len(columns)} columns")
    return Contract(columns)


def _column(one: Any) -> Column:  # noqa: ANN401 (parsed YAML)
    name, type_, required = one["name"], one["logicalType"], one.get("required", False)
    if type_ not in TYPES:
        raise ValueError(f"the logical type {type_}")
    if not isinstance(name, str) or not isinstance(required, bool):
        raise TypeError("name or required")
    if type_ == "string" and one.get("logicalTypeOptions", {}).get("format") == BINARY:
        type_ = BINARY
    # ODCS: a primary key is required, whether or not it says so.
    return Column(name, type_, required or bool(one.get("primaryKey", False)))
