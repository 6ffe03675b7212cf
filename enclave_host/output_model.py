"""Output models: closed JSON Schemas (draft 2020-12) that say all that may leave.

What a schema leaves open is a channel out of the datacage. So each object names its properties,
each list, text and number is bounded; a model that is open is refused before anything starts.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from protocol.errors import Refused

CELL: Final = "x-village-cell-count"
"""Marks an integer property that counts people: the object around it is one cell of a table."""

Path = tuple[str, ...]
"""Where a value stands: property names, "*" for any item of a list."""

_NO_NAMES: Final = ("", "*")
"""They mean something else in a Path."""

_DEPTH: Final = 16
_STEPS: Final = 10_000
"""Places of one model, references followed: some hundred bytes can unfold to more than can be read.
"""
_UNDERSTOOD: Final = {
    "$schema", "$id", "$defs", "$ref", "$comment", "title", "description", "type",
    "properties", "required", "additionalProperties", "minProperties", "maxProperties",
    "items", "minItems", "maxItems", "uniqueItems", "enum", "const", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    CELL,
}  # fmt: skip
"""Keywords whose meaning for openness is known. Others (anyOf, patternProperties) are refused."""


class OutputModel:
    """One output's schema. Raises Refused (gate.schema) unless it is closed."""

    def __init__(self, name: str, blob: bytes) -> None:
        """Read, check and compile the schema in `blob`."""
        self.name = name
        self._left = _STEPS
        try:
            self._schema = json.loads(blob)
        except (ValueError, RecursionError) as error:
            raise Refused("gate.schema", f"the output model of {name} is no JSON") from error
        self.cells = frozenset(self._walk(self._schema, ()))
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                self._schema,
                offline=True,
                pattern_options=jsonschema_rs.RegexOptions(),  # linear time, whatever the text
            )
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise Refused("gate.schema", f"the output model of {name} is no schema") from error

    def check(self, value: Any) -> None:  # noqa: ANN401 (parsed JSON)
        """Refuse (gate.schema) a value that the model does not describe; no value is told."""
        try:
            valid = self._validator.is_valid(value)
        except ValueError as error:  # such as a regular expression's limit
            raise Refused("gate.schema", f"output {self.name} cannot be compared") from error
        if not valid:
            raise Refused("gate.schema", f"output {self.name}")

    def _walk(self, schema: Any, path: Path) -> Iterator[Path]:  # noqa: ANN401
        """Yield the path of each cell count below; refuse what is open."""
        self._understand(schema, path)
        if CELL in schema:
            yield tuple(step for step in path if step)
        if "$ref" in schema:
            yield from self._walk(self._resolve(schema["$ref"], path), (*path, ""))
            return
        if "enum" in schema or "const" in schema:
            return
        kind = schema.get("type")
        if kind == "object":
            yield from self._walk_object(schema, path)
        elif kind == "array":
            self._require(schema, path, "items", "maxItems")
            yield from self._walk(schema["items"], (*path, "*"))
        else:
            self._check_scalar(schema, path)

    def _check_scalar(self, schema: dict[str, Any], path: Path) -> None:
        match schema.get("type"):
            case "string":
                if "maxLength" not in schema:  # a pattern is looked for anywhere in the text
                    raise self._open(path, "a text needs enum or maxLength")
            case "integer" | "number":
                self._require(schema, path, "minimum", "maximum")
            case "boolean" | "null":
                return
            case _:
                raise self._open(path, "needs one type")

    def _require(self, schema: dict[str, Any], path: Path, *keywords: str) -> None:
        if not schema.keys() >= set(keywords):
            raise self._open(path, f"{schema['type']} needs {' and '.join(keywords)}")

    def _understand(self, schema: Any, path: Path) -> None:  # noqa: ANN401
        """Refuse a schema that says something whose meaning for openness is not known."""
        self._left -= 1
        if len(path) > _DEPTH or self._left < 0 or not isinstance(schema, dict):
            raise self._open(path, "nested too deep, recursive, too large, or true")
        strange = schema.keys() - _UNDERSTOOD
        if strange:
            raise self._open(path, f"keyword {min(strange)}")
        if CELL in schema and (schema.get("type") != "integer" or schema[CELL] is not True):
            raise self._open(path, f"{CELL} stands on an integer, and is true")

    def _walk_object(self, schema: dict[str, Any], path: Path) -> Iterator[Path]:
        if schema.get("additionalProperties") is not False:
            raise self._open(path, "an object needs additionalProperties: false")
        for name, inner in schema.get("properties", {}).items():
            if name in _NO_NAMES:
                raise self._open(path, f"a property {name!r}, which hides cells below it")
            yield from self._walk(inner, (*path, name))

    def _resolve(self, reference: str, path: Path) -> Any:  # noqa: ANN401
        name = reference.removeprefix("#/$defs/")
        if name == reference or name not in self._schema.get("$defs", {}):
            raise self._open(path, "a $ref must be to #/$defs")
        return self._schema["$defs"][name]

    def _open(self, path: Path, why: str) -> Refused:
        place = "/".join(step for step in path if step) or "the whole"
        return Refused("gate.schema", f"the output model of {self.name} is open at {place}: {why}")
